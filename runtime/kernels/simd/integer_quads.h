// Loops of products of unsigned and signed bytes, four numbers of a column side by side; included inside the namespace of AVX2.
// SPDX-License-Identifier: Apache-2.0

typedef char QuadBytes __attribute__((vector_size(32)));
typedef int16_t QuadWords __attribute__((vector_size(32)));
typedef uint32_t QuadSums __attribute__((vector_size(32)));  // which wrap
typedef uint8_t QuadHalf __attribute__((vector_size(16)));

PENLIGHT_INLINE Vi load_quads(const void* p) {
  Vi v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

PENLIGHT_INLINE int32_t load_quad(const int8_t* p) {
  int32_t quad;
  __builtin_memcpy(&quad, p, sizeof quad);
  return quad;
}

/// Sums of two products each in 16 bits: the instruction saturates them, but those of cut weights are small enough.
PENLIGHT_INLINE QuadWords byte_pairs(Vi bytes, Vi weights) {
  return reinterpret_cast<QuadWords>(
      __builtin_ia32_pmaddubsw256(reinterpret_cast<QuadBytes>(bytes), reinterpret_cast<QuadBytes>(weights)));
}

/// `ones` is an argument so that a compiler may leave it in memory: all registers hold sums.
PENLIGHT_INLINE QuadSums word_pairs(QuadWords words, QuadWords ones) {
  return reinterpret_cast<QuadSums>(__builtin_ia32_pmaddwd256(words, ones));
}

PENLIGHT_INLINE QuadWords unknown_ones() {
  QuadWords ones = QuadWords{} + 1;
  asm("" : "+x"(ones));  // else it is thought to be worth a register, and a sum goes to memory
  return ones;
}

/// Columns of kVectors * 8. Few instructions count here: where another thread shares the core, it takes every second start.
template <int kRows, int kVectors>
__attribute__((noinline)) void quad_tile(const QuadRow* rows, int64_t row_bytes, const uint8_t* panel, int64_t quads, int32_t* sums,
                                         int64_t sums_row) {
  const QuadWords ones = unknown_ones();
  QuadSums total[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) total[i][j] = reinterpret_cast<QuadSums>(splat_bits(rows[i].start));
  const int8_t* left = rows->weights;
  for (int64_t k = 0; k < quads; ++k, panel += kQuadPanelBytes, left += 4) {
    Vi column[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) column[j] = load_quads(panel + 32 * j);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Vi weights = splat_bits(load_quad(left + i * row_bytes));
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) total[i][j] += word_pairs(byte_pairs(column[j], weights), ones);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) __builtin_memcpy(sums + i * sums_row + 8 * j, &total[i][j], sizeof(QuadSums));
}

/// Adds what was cut off two quads of a row, times the columns of `panels` panels.
PENLIGHT_INLINE void add_two_cuts(const uint8_t* first, const uint8_t* second, Vi first_weights, Vi second_weights, int64_t panels,
                                  int64_t step, QuadWords ones, int32_t* sums) {
  for (int64_t i = 0; i < panels; ++i, first += step, second += step, sums += kQuadPanel)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      QuadSums total;
      __builtin_memcpy(&total, sums + 8 * j, sizeof total);
      total += word_pairs(byte_pairs(load_quads(first + 32 * j), first_weights), ones);
      total += word_pairs(byte_pairs(load_quads(second + 32 * j), second_weights), ones);
      __builtin_memcpy(sums + 8 * j, &total, sizeof total);
    }
}

/// Adds what was cut off a row; panels are `step` bytes apart. There is room for one more cut.
inline void quad_cuts(const QuadRow& row, const uint8_t* panel, int64_t panels, int64_t step, int32_t* sums) {
  row.cut_quads[row.cut_count] = row.cut_weights[row.cut_count] = 0;
  for (int64_t c = 0; c < row.cut_count; c += 2)
    add_two_cuts(panel + int64_t{row.cut_quads[c]} * kQuadPanelBytes, panel + int64_t{row.cut_quads[c + 1]} * kQuadPanelBytes,
                 splat_bits(row.cut_weights[c]), splat_bits(row.cut_weights[c + 1]), panels, step, QuadWords{} + 1, sums);
}

/// For each set of eight lanes: which ones they are, the others behind.
struct LaneLists {
  uint8_t lanes[256][8];
};

constexpr LaneLists lane_lists() {
  LaneLists lists = {};
  for (int set = 0; set < 256; ++set)
    for (int lane = 0, count = 0; lane < 8; ++lane)
      if (set >> lane & 1) lists.lanes[set][count++] = static_cast<uint8_t>(lane);
  return lists;
}

constexpr LaneLists kLaneLists = lane_lists();

/// Appends the quads that are not 0, the first of which is `quad`; writes eight in any case.
PENLIGHT_INLINE int64_t append_cuts(Vi cut, int32_t quad, const QuadRow& row, int64_t count) {
  const int set = ~__builtin_ia32_movmskps256(reinterpret_cast<Vf>(cut == 0)) & 0xff;
  uint64_t bytes;
  __builtin_memcpy(&bytes, kLaneLists.lanes[set], sizeof bytes);
  typedef uint8_t Eight __attribute__((vector_size(8)));
  const Vi lanes = __builtin_convertvector(reinterpret_cast<Eight>(bytes), Vi);
  const Vi weights = __builtin_ia32_permvarsi256(cut, lanes), quads = lanes + quad;
  __builtin_memcpy(row.cut_weights + count, &weights, sizeof weights);
  __builtin_memcpy(row.cut_quads + count, &quads, sizeof quads);
  return count + __builtin_popcount(static_cast<unsigned>(set));
}

/// The last bytes of a row, and zeros (once flipped) behind them.
PENLIGHT_INLINE Vi last_weights(const uint8_t* from, uint8_t flip, int64_t count) {
  uint8_t last[32];
  __builtin_memset(last, flip, sizeof last);
  __builtin_memcpy(last, from, static_cast<size_t>(count));
  return load_quads(last);
}

/// Writes a row of weights (whose bytes are flipped first) with zeros behind it, as whole vectors; returns its sum. A pair whose
/// sum is beyond kQuadPairMost loses what is too much to the row's cuts, which have room for eight more.
inline int32_t quad_row(const uint8_t* from, uint8_t flip, int64_t count, int8_t* to, QuadRow* row) {
  const QuadBytes flips = static_cast<char>(flip) - QuadBytes{};
  const QuadWords ones = QuadWords{} + 1, most = QuadWords{} + kQuadPairMost;
  QuadSums total = {};
  row->weights = to;
  row->cut_count = 0;
  for (int64_t i = 0; i < count; i += 32) {
    const Vi bytes = count - i < 32 ? last_weights(from + i, flip, count - i) : load_quads(from + i);
    const Vi weights = bytes ^ reinterpret_cast<Vi>(flips);
    const QuadWords pairs = byte_pairs(splat_bits(0x01010101), weights);
    total += word_pairs(pairs, ones);
    QuadWords within = pairs < most ? pairs : most;
    within = within > -most ? within : -most;
    const Vi cut = reinterpret_cast<Vi>((pairs - within) & 0xff);
    const Vi rest = reinterpret_cast<Vi>(reinterpret_cast<QuadBytes>(weights) - reinterpret_cast<QuadBytes>(cut));
    __builtin_memcpy(to + i, &rest, sizeof rest);
    row->cut_count = append_cuts(cut, static_cast<int32_t>(i / 4), *row, row->cut_count);
  }
  uint32_t sum = 0;
  for (int lane = 0; lane < 8; ++lane) sum += total[lane];
  return static_cast<int32_t>(sum);
}

PENLIGHT_INLINE void quads_of_sixteen(const QuadHalf (&rows)[4], uint8_t* panel) {
#if defined(__clang__)
#define PENLIGHT_QUADS(type, a, b, ...) __builtin_shufflevector(reinterpret_cast<type>(a), reinterpret_cast<type>(b), __VA_ARGS__)
#else
#define PENLIGHT_QUADS(type, a, b, ...) __builtin_shuffle(reinterpret_cast<type>(a), reinterpret_cast<type>(b), type{__VA_ARGS__})
#endif
  typedef uint16_t Shorts __attribute__((vector_size(16)));
  QuadHalf pairs[4];
  for (int i = 0; i < 2; ++i) {
    const QuadHalf a = rows[2 * i], b = rows[2 * i + 1];
    pairs[i] = PENLIGHT_QUADS(QuadHalf, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    pairs[2 + i] = PENLIGHT_QUADS(QuadHalf, a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }
  for (int i = 0; i < 2; ++i) {
    const Shorts low = PENLIGHT_QUADS(Shorts, pairs[2 * i], pairs[2 * i + 1], 0, 8, 1, 9, 2, 10, 3, 11);
    const Shorts high = PENLIGHT_QUADS(Shorts, pairs[2 * i], pairs[2 * i + 1], 4, 12, 5, 13, 6, 14, 7, 15);
    __builtin_memcpy(panel + 32 * i, &low, sizeof low);
    __builtin_memcpy(panel + 32 * i + 16, &high, sizeof high);
  }
#undef PENLIGHT_QUADS
}

/// Quads of `count` columns of four rows (null: zeros), their bytes flipped; panels of 16 columns are `step` bytes apart.
inline void pack_quads(const uint8_t* const* rows, int64_t count, uint8_t flip, uint8_t* panel, int64_t step) {
  for (int64_t first = 0; first < count; first += kQuadPanel, panel += step) {
    QuadHalf columns[4] = {};
    const int64_t rest = count - first;
    for (int i = 0; i < 4; ++i) {
      if (rows[i] == nullptr) continue;
      if (rest >= kQuadPanel)
        __builtin_memcpy(&columns[i], rows[i] + first, kQuadPanel);
      else
        __builtin_memcpy(&columns[i], rows[i] + first, static_cast<size_t>(rest));
      columns[i] ^= flip;
    }
    quads_of_sixteen(columns, panel);
  }
}

#define PENLIGHT_QUAD_TILES(vectors)                                                                                            \
  {                                                                                                                             \
    nullptr, quad_tile<1, vectors>, quad_tile<2, vectors>, quad_tile<3, vectors>, quad_tile<4, vectors>, quad_tile<5, vectors>, \
        quad_tile<6, vectors>                                                                                                   \
  }
constexpr QuadTable kQuadTable = {PENLIGHT_QUAD_TILES(2), PENLIGHT_QUAD_TILES(1), quad_row, quad_cuts, pack_quads};
#undef PENLIGHT_QUAD_TILES
