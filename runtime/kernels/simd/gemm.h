// The tile of the matrix product; included inside the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0

#if PENLIGHT_SMALL
constexpr int kTileRows = 2, kTileVectors = 2, kWideVectors = 2;  // the scalar registers of a small processor
#elif PENLIGHT_LEAN_TILES
constexpr int kTileRows = 4, kTileVectors = 2, kWideVectors = 4;
#elif PENLIGHT_LANES == 16
constexpr int kTileRows = 6, kTileVectors = 4, kWideVectors = 4;
#elif PENLIGHT_LANES == 8
constexpr int kTileRows = 6, kTileVectors = 2, kWideVectors = 8;
#elif defined(__aarch64__)
constexpr int kTileRows = 6, kTileVectors = 4, kWideVectors = 8;
#else  // 16 registers of four floats
constexpr int kTileRows = 4, kTileVectors = 2, kWideVectors = 8;
#endif

/// Keeps kRows x kVectors sums in registers while k runs.
template <int kRows, int kVectors, bool kIndirect>
PENLIGHT_INLINE void gemm_sums(const GemmTile& t, Vf (&sums)[kRows][kVectors]) {
  const float* b[kVectors];
  int64_t place = t.place;
  const float* panel = t.b;
#pragma GCC unroll 8
  for (int j = 0; j < kVectors; ++j) {
    b[j] = panel + place;
    place += kLanes;
    if (place == t.b_width) {
      place = 0;
      panel += t.b_panel;
    }
  }
  const float* a[kRows];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) a[i] = t.a + i * t.a_row;
  int64_t ka = 0, kb = 0;
#pragma GCC unroll 4
  for (int64_t k = 0; k < t.depth; ++k) {
    if (kIndirect) kb = t.offsets[k];
    Vf row[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) row[j] = load(b[j] + kb);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Vf left = splat(a[i][ka]);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) sums[i][j] += left * row[j];
    }
    ka += t.a_depth;
    if (!kIndirect) kb += t.b_depth;
  }
}

/// The sums of a tile as C holds them, one row of vectors after the other; lanes beyond C are zero.
inline __attribute__((noinline)) void gemm_begin(const GemmTile& t, int rows, int vectors, float* sums) {
  const size_t tail = static_cast<size_t>(t.columns - (vectors - 1) * kLanes);  // lanes of the last vector
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < vectors; ++j, sums += kLanes) {
      const float* c = t.c + i * t.c_row + j * kLanes;
      store(sums, j + 1 < vectors || tail == static_cast<size_t>(kLanes) ? load(c) : load_first(c, tail));
    }
}

PENLIGHT_INLINE Vf gemm_result(const GemmTile& t, Vf sum, Vf bias) {
  const Vf v = sum * t.alpha + t.beta * bias;
  return at_most(at_least(v, splat(t.low)), splat(t.high));
}

/// Scales, adds the bias and clamps after the last k, and stores into C.
inline __attribute__((noinline)) void gemm_end(const GemmTile& t, int rows, int vectors, const float* sums) {
  const size_t tail = static_cast<size_t>(t.columns - (vectors - 1) * kLanes);
  for (int i = 0; i < rows; ++i) {
    const float* bias = t.bias == nullptr ? nullptr : t.bias + i * t.bias_row;
    float* c = t.c + i * t.c_row;
    for (int j = 0; j < vectors; ++j, sums += kLanes) {
      const size_t n = j + 1 < vectors ? static_cast<size_t>(kLanes) : tail;
      const bool full = n == static_cast<size_t>(kLanes);
      Vf v = load(sums);
      if (t.last) {
        const Vf added = bias == nullptr      ? Vf{}
                         : t.bias_column == 0 ? splat(*bias)
                         : full               ? load(bias + j * kLanes)
                                              : load_first(bias + j * kLanes, n);
        v = gemm_result(t, v, added);
      }
      if (full)
        store(c + j * kLanes, v);
      else
        store_first(c + j * kLanes, v, n);
    }
  }
}

/// As gemm_end for whole vectors: nothing leaves the registers but the result. What `t` holds is read before the first store, after
/// which the compiler would have to read it again.
template <int kRows, int kVectors>
PENLIGHT_INLINE void gemm_end_whole(const GemmTile& t, const Vf (&sums)[kRows][kVectors]) {
  float* c = t.c;
  const int64_t c_row = t.c_row;
  if (!t.last) {
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) store(c + i * c_row + j * kLanes, sums[i][j]);
    return;
  }
  const float* bias = t.bias;
  const int64_t bias_row = t.bias_row;
  const bool each = bias != nullptr && t.bias_column != 0;
  const Vf alpha = splat(t.alpha), low = splat(t.low), high = splat(t.high);
  const float beta = t.beta;
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    const Vf same = splat(bias == nullptr || each ? 0.0f : bias[i * bias_row]);
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      const Vf added = each ? load(bias + i * bias_row + j * kLanes) : same;
      store(c + i * c_row + j * kLanes, at_most(at_least(sums[i][j] * alpha + beta * added, low), high));
    }
  }
}

template <int kRows, int kVectors>
__attribute__((noinline)) void gemm_tile(const GemmTile& t) {
  float buffer[kRows * kVectors * kLanes];
  Vf sums[kRows][kVectors];
  const bool whole = t.columns == kVectors * kLanes;
#pragma GCC unroll 8
  for (int i = kRows; i < 2 * kRows; ++i) __builtin_prefetch(t.c + i * t.c_row, 1);  // the next tile's part of C
  if (t.load_c && !whole) gemm_begin(t, kRows, kVectors, buffer);
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j)
      sums[i][j] = !t.load_c ? Vf{} : load(whole ? t.c + i * t.c_row + j * kLanes : buffer + (i * kVectors + j) * kLanes);
  if (t.offsets != nullptr)
    gemm_sums<kRows, kVectors, true>(t, sums);
  else
    gemm_sums<kRows, kVectors, false>(t, sums);
  if (whole) {
    gemm_end_whole<kRows, kVectors>(t, sums);
    return;
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) store(buffer + (i * kVectors + j) * kLanes, sums[i][j]);
  gemm_end(t, kRows, kVectors, buffer);
}

/// One panel of columns that are contiguous in k; depth is a multiple of kPanel.
inline __attribute__((noinline)) void gemm_pack_transposed(const float* b, int64_t b_column, int64_t depth, float* panel) {
  for (int64_t k = 0; k < depth; k += kLanes)
    for (int64_t j = 0; j < kPanel; j += kLanes) {
      Vf lanes[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) lanes[i] = load(b + (j + i) * b_column + k);
      transpose(lanes);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(panel + (k + i) * kPanel + j, lanes[i]);
    }
}

/// sums[j] = a . b(:, j) for `count` columns that lie b_column apart, contiguous in k.
inline __attribute__((noinline)) void gemm_dot(const float* a, const float* b, int64_t b_column, int64_t depth, int64_t count,
                                               float* sums) {
  for (int64_t j = 0; j < count; ++j) sums[j] = sum_of_terms(DotTerm{a, b + j * b_column}, depth);
}

/// Adds the sums of neighbouring lanes until each lane of `sums[0]` holds the sum of one of kLanes vectors.
PENLIGHT_INLINE void dot_reduce(Vf* sums) {
#pragma GCC unroll 4
  for (int width = kLanes / 2; width > 0; width /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < width; ++i) sums[i] = even_lanes(sums[2 * i], sums[2 * i + 1]) + odd_lanes(sums[2 * i], sums[2 * i + 1]);
}

template <int kRows, int kColumns>
__attribute__((noinline)) void dot_tile(const DotBlock& t) {
  constexpr int kSums = kRows * kColumns, kGroups = (kSums + kLanes - 1) / kLanes;
  Vf sums[kRows][kColumns];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 9
    for (int j = 0; j < kColumns; ++j) sums[i][j] = Vf{};
  const int64_t vectors = t.run_floats / kLanes;
  for (int64_t image = 0; image < t.images; ++image)
    for (int64_t run = 0; run < t.runs; ++run) {
      const float* a = t.a + image * t.a_image + run * t.a_run;
      const float* start = t.b + image * t.b_image + run * t.b_run;
      const float* b[kColumns];
#pragma GCC unroll 9
      for (int j = 0; j < kColumns; ++j) b[j] = start + t.offsets[j];
      for (int64_t x = 0; x < vectors * kLanes; x += kLanes) {
        Vf right[kColumns];
#pragma GCC unroll 9
        for (int j = 0; j < kColumns; ++j) right[j] = load(b[j] + x);
#pragma GCC unroll 4
        for (int i = 0; i < kRows; ++i) {
          const Vf left = load(a + i * t.a_row + x);
#pragma GCC unroll 9
          for (int j = 0; j < kColumns; ++j) sums[i][j] += left * right[j];
        }
      }
    }
  float totals[kGroups * kLanes];
#pragma GCC unroll 9
  for (int group = 0; group < kGroups; ++group) {
    Vf some[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      const int at = group * kLanes + i;
      some[i] = at < kSums ? sums[at / kColumns][at % kColumns] : Vf{};
    }
    dot_reduce(some);
    store(totals + group * kLanes, some[0]);
  }
  for (int i = 0; i < kRows; ++i)
    for (int j = 0; j < kColumns; ++j) t.c[i * t.c_row + j] += totals[i * kColumns + j];
}

#if (PENLIGHT_LANES == 16 || defined(__aarch64__)) && !PENLIGHT_SMALL && !PENLIGHT_LEAN_TILES
#define PENLIGHT_TILE_ROW(rows) \
  { nullptr, gemm_tile<rows, 1>, gemm_tile<rows, 2>, gemm_tile<rows, 3>, gemm_tile<rows, 4> }
#else
#define PENLIGHT_TILE_ROW(rows) \
  { nullptr, gemm_tile<rows, 1>, gemm_tile<rows, 2> }
#endif
#if PENLIGHT_LANES == 16 || PENLIGHT_SMALL
#define PENLIGHT_TILE_WIDE PENLIGHT_TILE_ROW(1)
#elif PENLIGHT_LEAN_TILES
#define PENLIGHT_TILE_WIDE \
  { nullptr, gemm_tile<1, 1>, gemm_tile<1, 2>, gemm_tile<1, 3>, gemm_tile<1, 4> }
#else
#define PENLIGHT_TILE_WIDE                                                                                         \
  {                                                                                                                \
    nullptr, gemm_tile<1, 1>, gemm_tile<1, 2>, gemm_tile<1, 3>, gemm_tile<1, 4>, gemm_tile<1, 5>, gemm_tile<1, 6>, \
        gemm_tile<1, 7>, gemm_tile<1, 8>                                                                           \
  }
#endif

#define PENLIGHT_DOT_ROW(rows) \
  { nullptr, dot_tile<rows, 1>, dot_tile<rows, 2>, dot_tile<rows, 3> }

constexpr GemmTable kGemmTable = {kTileRows,
                                  kTileVectors,
                                  kWideVectors,
                                  kLanes,
                                  {{},
                                   PENLIGHT_TILE_WIDE,
                                   PENLIGHT_TILE_ROW(2),
#if !PENLIGHT_SMALL
                                   PENLIGHT_TILE_ROW(3),
                                   PENLIGHT_TILE_ROW(4),
#if (PENLIGHT_LANES > 4 || defined(__aarch64__)) && !PENLIGHT_LEAN_TILES
                                   PENLIGHT_TILE_ROW(5),
                                   PENLIGHT_TILE_ROW(6)
#endif
#endif
                                  },
                                  gemm_pack_transposed,
                                  gemm_dot};

constexpr DotTable kDotTable = {kLanes,
                                {{},
                                 {nullptr, dot_tile<1, 1>, dot_tile<1, 2>, dot_tile<1, 3>, dot_tile<1, 4>, dot_tile<1, 5>,
                                  dot_tile<1, 6>, dot_tile<1, 7>, dot_tile<1, 8>, dot_tile<1, 9>},
                                 PENLIGHT_DOT_ROW(2),
                                 PENLIGHT_DOT_ROW(3),
                                 PENLIGHT_DOT_ROW(4)}};

#undef PENLIGHT_DOT_ROW
#undef PENLIGHT_TILE_ROW
#undef PENLIGHT_TILE_WIDE
