// Tiles of integer products; included inside the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0

typedef int16_t Vh __attribute__((vector_size(PENLIGHT_LANES * 4)));
typedef uint32_t Vu __attribute__((vector_size(PENLIGHT_LANES * 4)));

/// The sum of the two products in each lane of 32 bits.
PENLIGHT_INLINE Vu multiply_pairs(Vi a, Vi b) {
#if PENLIGHT_LANES == 8
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

template <int kRows>
__attribute__((noinline)) void integer_tile(const int16_t* a, int64_t a_row, const int16_t* panel, int64_t pairs, int32_t* sums) {
  constexpr int kVectors = kIntegerPanel > 2 * kLanes ? 2 : static_cast<int>(kIntegerPanel) / kLanes;
  for (int64_t first = 0; first < kIntegerPanel; first += kVectors * kLanes) {
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
        int32_t pair;
        __builtin_memcpy(&pair, a + i * a_row + 2 * k, sizeof pair);
        const Vi left = splat_bits(pair);
#pragma GCC unroll 8
        for (int j = 0; j < kVectors; ++j) total[i][j] += multiply_pairs(left, row[j]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) __builtin_memcpy(sums + i * kIntegerPanel + first + j * kLanes, &total[i][j], sizeof(Vu));
  }
}

constexpr IntegerGemmTable kIntegerGemmTable = {{nullptr, integer_tile<1>, integer_tile<2>,
#if !PENLIGHT_SMALL
                                                 integer_tile<3>, integer_tile<4>, integer_tile<5>, integer_tile<6>
#endif
}};
