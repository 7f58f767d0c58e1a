// Loops of integer products; included inside the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0

typedef uint32_t Vu __attribute__((vector_size(PENLIGHT_LANES * 4)));
typedef uint8_t Bytes __attribute__((vector_size(16)));
typedef int16_t Words __attribute__((vector_size(32)));

/// The sum of the two products in each lane of 32 bits.
PENLIGHT_INLINE Vu multiply_pairs(Vi a, Vi b) {
#if PENLIGHT_LANES == 16
  return reinterpret_cast<Vu>(__builtin_ia32_pmaddwd512_mask(reinterpret_cast<Vh>(a), reinterpret_cast<Vh>(b), Vi{}, -1));
#elif PENLIGHT_LANES == 8
  return reinterpret_cast<Vu>(__builtin_ia32_pmaddwd256(reinterpret_cast<Vh>(a), reinterpret_cast<Vh>(b)));
#elif PENLIGHT_LANES == 4 && defined(__SSE2__)
  return reinterpret_cast<Vu>(__builtin_ia32_pmaddwd128(reinterpret_cast<Vh>(a), reinterpret_cast<Vh>(b)));
#else
  const Vi low_a = reinterpret_cast<Vi>(reinterpret_cast<Vu>(a) << 16) >> 16, high_a = a >> 16;
  const Vi low_b = reinterpret_cast<Vi>(reinterpret_cast<Vu>(b) << 16) >> 16, high_b = b >> 16;
  return reinterpret_cast<Vu>(low_a * low_b + high_a * high_b);
#endif
}

PENLIGHT_INLINE Vi load_pairs(const int16_t* p) {
  Vi v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

PENLIGHT_INLINE int32_t load_pair(const int16_t* p) {
  int32_t pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return pair;
}

/// kColumns of the panel: all, or the first ones alone where there are no more.
template <int kRows, int kColumns>
__attribute__((noinline)) void integer_tile(const int16_t* a, int64_t a_row, const int16_t* panel, int64_t pairs, int32_t* sums,
                                            int64_t sums_row) {
  constexpr int kVectors = kColumns > 2 * kLanes ? 2 : kColumns > kLanes ? kColumns / kLanes : 1;
  for (int64_t first = 0; first < kColumns; first += kVectors * kLanes) {
    Vu total[kRows][kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) total[i][j] = Vu{};
    const int16_t* right = panel + 2 * first;
    for (int64_t k = 0; k < pairs; ++k, right += 2 * kIntegerPanel) {
      Vi row[kVectors];
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) row[j] = load_pairs(right + 2 * j * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        const Vi left = splat_bits(load_pair(a + i * a_row + 2 * k));
#pragma GCC unroll 8
        for (int j = 0; j < kVectors; ++j) total[i][j] += multiply_pairs(left, row[j]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) __builtin_memcpy(sums + i * sums_row + first + j * kLanes, &total[i][j], sizeof(Vu));
  }
}

#if PENLIGHT_SMALL
inline void interleave_bytes(const uint8_t* a, const uint8_t* b, int64_t count, ByteZero zero, int16_t* pairs, int64_t step) {
  for (int64_t i = 0; i < count; ++i) {
    int16_t* to = pairs + i / kIntegerPanel * step + i % kIntegerPanel * 2;
    to[0] = static_cast<int16_t>(a != nullptr ? (a[i] ^ zero.flip) - zero.point : 0);
    to[1] = static_cast<int16_t>(b != nullptr ? (b[i] ^ zero.flip) - zero.point : 0);
  }
}

inline void widen_bytes(const uint8_t* x, int64_t count, ByteZero zero, int16_t* wide) {
  for (int64_t i = 0; i < count; ++i) wide[i] = static_cast<int16_t>((x[i] ^ zero.flip) - zero.point);
}

inline int32_t dot_bytes(const uint8_t* x, ByteZero zero, const int16_t* y, int64_t count) {
  uint32_t total = 0;
  for (int64_t i = 0; i < count; ++i) total += static_cast<uint32_t>(((x[i] ^ zero.flip) - zero.point) * y[i]);
  return static_cast<int32_t>(total);
}
#else
PENLIGHT_INLINE Bytes load_bytes(const uint8_t* p) {
  Bytes v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

/// 16 bytes as what they mean.
PENLIGHT_INLINE void store_meant(Bytes bytes, ByteZero zero, int16_t* to) {
  const Words v = __builtin_convertvector(bytes ^ zero.flip, Words) - zero.point;
  __builtin_memcpy(to, &v, sizeof v);
}

PENLIGHT_INLINE void interleave_panel(Bytes a, Bytes b, ByteZero zero, int16_t* pairs) {
#if defined(__clang__)
  const Bytes low = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const Bytes high = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#else
  const Bytes low = __builtin_shuffle(a, b, Bytes{0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23});
  const Bytes high = __builtin_shuffle(a, b, Bytes{8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31});
#endif
  store_meant(low, zero, pairs);
  store_meant(high, zero, pairs + 16);
}

/// Pair i is (a[i], b[i]), both without the zero point; a row that is null is zero. Panels of kIntegerPanel pairs lie `step`
/// numbers apart.
inline void interleave_bytes(const uint8_t* a, const uint8_t* b, int64_t count, ByteZero zero, int16_t* pairs, int64_t step) {
  const Bytes none = static_cast<uint8_t>(zero.point ^ zero.flip) - Bytes{};
  int64_t i = 0;
  for (; i + kIntegerPanel <= count; i += kIntegerPanel, pairs += step)
    interleave_panel(a != nullptr ? load_bytes(a + i) : none, b != nullptr ? load_bytes(b + i) : none, zero, pairs);
  if (i == count) return;
  if (step == 2 * kIntegerPanel && count >= kIntegerPanel) {  // panels lie side by side: some of them again
    const int64_t last = count - kIntegerPanel;
    return interleave_panel(a != nullptr ? load_bytes(a + last) : none, b != nullptr ? load_bytes(b + last) : none, zero,
                            pairs - 2 * (i - last));
  }
  Bytes rest[2] = {none, none};
  int16_t last[2 * kIntegerPanel];
  if (a != nullptr) __builtin_memcpy(&rest[0], a + i, static_cast<size_t>(count - i));
  if (b != nullptr) __builtin_memcpy(&rest[1], b + i, static_cast<size_t>(count - i));
  interleave_panel(rest[0], rest[1], zero, last);
  __builtin_memcpy(pairs, last, static_cast<size_t>(count - i) * 4);
}

inline void widen_bytes(const uint8_t* x, int64_t count, ByteZero zero, int16_t* wide) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) store_meant(load_bytes(x + i), zero, wide + i);
  for (; i < count; ++i) wide[i] = static_cast<int16_t>((x[i] ^ zero.flip) - zero.point);
}

/// Sum of products of bytes without their zero point and 16-bit numbers.
inline int32_t dot_bytes(const uint8_t* x, ByteZero zero, const int16_t* y, int64_t count) {
  constexpr int kParts = 16 / kLanes;  // vectors of pairs in two times 16 numbers
  Vu sums[kParts] = {};
  int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    int16_t wide[32];
    widen_bytes(x + i, 32, zero, wide);
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part)
      sums[part] += multiply_pairs(load_pairs(wide + 2 * part * kLanes), load_pairs(y + i + 2 * part * kLanes));
  }
  uint32_t total = 0;
  for (int part = 0; part < kParts; ++part)
    for (int lane = 0; lane < kLanes; ++lane) total += sums[part][lane];
  for (; i < count; ++i) total += static_cast<uint32_t>(((x[i] ^ zero.flip) - zero.point) * y[i]);
  return static_cast<int32_t>(total);
}

/// sums[i] = the products of all taps' pairs, each read at first + i; sums has room for whole vectors.
inline void integer_taps(const ByteTap* taps, int64_t tap_count, int64_t count, int64_t first, int32_t* sums) {
  for (int64_t i = 0; i < count; i += kLanes) {
    Vu total = {};
    for (int64_t t = 0; t < tap_count; ++t)
      total += multiply_pairs(load_pairs(taps[t].pairs + 2 * (first + i)), splat_bits(taps[t].weight));
    __builtin_memcpy(sums + i, &total, sizeof total);
  }
}

/// Numbers 0, 2, 4 ... and 1, 3, 5 ... of 2 * count; all have room for whole vectors.
inline void split_pairs(const int32_t* from, int64_t count, int32_t* even, int32_t* odd) {
  for (int64_t i = 0; i < count; i += kLanes) {
    Vi low, high;
    __builtin_memcpy(&low, from + 2 * i, sizeof low);
    __builtin_memcpy(&high, from + 2 * i + kLanes, sizeof high);
    const Vi first = bits_of(even_lanes(float_of(low), float_of(high))), second = bits_of(odd_lanes(float_of(low), float_of(high)));
    __builtin_memcpy(even + i, &first, sizeof first);
    __builtin_memcpy(odd + i, &second, sizeof second);
  }
}

/// Six taps: three columns of pairs, and the same `next` numbers further; the second six weights are those of `odd`.
template <bool kBoth>
__attribute__((noinline)) void three_rows(const int16_t* const* columns, int64_t next, const int32_t* weights, int64_t count,
                                          int32_t* even, int32_t* odd) {
  Vi w[12];
  for (int t = 0; t < (kBoth ? 12 : 6); ++t) w[t] = splat_bits(weights[t]);
  const int16_t *first = columns[0], *second = columns[1], *third = columns[2];
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vi rows[6] = {load_pairs(first + 2 * i),        load_pairs(second + 2 * i),        load_pairs(third + 2 * i),
                        load_pairs(first + next + 2 * i), load_pairs(second + next + 2 * i), load_pairs(third + next + 2 * i)};
    Vu total[2] = {};
#pragma GCC unroll 8
    for (int t = 0; t < 6; ++t) {
      total[0] += multiply_pairs(rows[t], w[t]);
      if (kBoth) total[1] += multiply_pairs(rows[t], w[6 + t]);
    }
    __builtin_memcpy(even + i, &total[0], sizeof(Vu));
    if (kBoth) __builtin_memcpy(odd + i, &total[1], sizeof(Vu));
  }
}

inline void integer_three(const int16_t* const* columns, int64_t next, const int32_t* weights, int64_t count, int32_t* even,
                          int32_t* odd) {
  if (odd != nullptr)
    three_rows<true>(columns, next, weights, count, even, odd);
  else
    three_rows<false>(columns, next, weights, count, even, odd);
}

/// As `quantized`, 4 * kLanes at once: bounds before rounding are the same as after it, since they are whole numbers.
PENLIGHT_INLINE void requantize_once(const int32_t* sums, const Requantize& r, Vi whole, uint8_t* y) {
  const Vf low = splat(r.low - r.zero), high = splat(r.high - r.zero);
  Vi rounded[4];
#pragma GCC unroll 4
  for (int part = 0; part < 4; ++part) {
    Vi v;
    __builtin_memcpy(&v, sums + part * kLanes, sizeof v);
    Vf value = __builtin_convertvector(v + r.bias, Vf) * r.scale * r.own;
    value = value > low ? value : low;
    value = value < high ? value : high;
    rounded[part] = bits_of(value + kQuantizedWhole) - whole;
  }
  store_narrow(rounded, y);
}

inline void requantize_sums(const int32_t* sums, int64_t count, const Requantize& requantize, uint8_t* y) {
  constexpr int64_t kOnce = 4 * kLanes;
  const Requantize r = requantize;
  const bool is_signed = r.low < 0;
  const Vi whole = bits_of(splat(kQuantizedWhole)) - static_cast<int32_t>(r.zero + (is_signed ? 128 : 0));
  const uint64_t flip = is_signed ? 0x8080808080808080u : 0;
  int64_t i = 0;
  for (; i + kOnce <= count; i += kOnce) requantize_once(sums + i, r, whole, y + i);
  if (i < count && count >= kOnce) {
    requantize_once(sums + (count - kOnce), r, whole, y + (count - kOnce));  // some of them again
  } else if (i < count) {
    int32_t some[kOnce] = {};
    uint8_t bytes[kOnce];
    __builtin_memcpy(some, sums + i, static_cast<size_t>(count - i) * sizeof(int32_t));
    requantize_once(some, r, whole, bytes);
    __builtin_memcpy(y + i, bytes, static_cast<size_t>(count - i));
  }
  if (!is_signed) return;
  for (i = 0; i + 8 <= count; i += 8) {
    uint64_t bytes;
    __builtin_memcpy(&bytes, y + i, sizeof bytes);
    bytes ^= flip;
    __builtin_memcpy(y + i, &bytes, sizeof bytes);
  }
  for (; i < count; ++i) y[i] = static_cast<uint8_t>(y[i] ^ 0x80);
}

#endif

/// Sums of dynamically quantized products as floats: sums * scales + bias, each a rounding of its own.
inline void scale_sums(const int32_t* sums, int64_t count, float scale, const float* own, const float* bias, float* y) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Vi v;
    __builtin_memcpy(&v, sums + i, sizeof v);
    Vf value = __builtin_convertvector(v, Vf) * (own != nullptr ? load(own + i) * scale : splat(scale));
    store(y + i, bias != nullptr ? value + load(bias + i) : value);
  }
  for (; i < count; ++i) {
    const float value = static_cast<float>(sums[i]) * (own != nullptr ? own[i] * scale : scale);
    y[i] = bias != nullptr ? value + bias[i] : value;
  }
}

#if PENLIGHT_SMALL
constexpr IntegerGemmTable kIntegerGemmTable = {{nullptr, integer_tile<1, kIntegerPanel>, integer_tile<2, kIntegerPanel>},
                                                {nullptr, integer_tile<1, kIntegerPanel>, integer_tile<2, kIntegerPanel>},
                                                interleave_bytes,
                                                widen_bytes,
                                                dot_bytes,
                                                nullptr,
                                                nullptr,
                                                nullptr,
                                                nullptr,
                                                scale_sums};
#else
#define PENLIGHT_INTEGER_TILES(columns)                                                                              \
  {                                                                                                                  \
    nullptr, integer_tile<1, columns>, integer_tile<2, columns>, integer_tile<3, columns>, integer_tile<4, columns>, \
        integer_tile<5, columns>, integer_tile<6, columns>                                                           \
  }

constexpr IntegerGemmTable kIntegerGemmTable = {PENLIGHT_INTEGER_TILES(kIntegerPanel),
                                                PENLIGHT_INTEGER_TILES(kIntegerHalf),
                                                interleave_bytes,
                                                widen_bytes,
                                                dot_bytes,
                                                integer_taps,
                                                split_pairs,
                                                integer_three,
                                                requantize_sums,
                                                scale_sums};
#undef PENLIGHT_INTEGER_TILES
#endif
