// Whole numbers as bytes, and bytes as whole numbers; included inside the namespace of each instruction set.
// SPDX-License-Identifier: Apache-2.0

typedef int16_t Vh __attribute__((vector_size(PENLIGHT_LANES * 4)));

/// Numbers of 0 to 255 as bytes.
PENLIGHT_INLINE void store_narrow(const Vi (&v)[4], uint8_t* y) {
#if PENLIGHT_LANES == 8
  typedef char Chars __attribute__((vector_size(32)));
  const Vh low = __builtin_ia32_packusdw256(v[0], v[1]), high = __builtin_ia32_packusdw256(v[2], v[3]);
  const Chars mixed = __builtin_ia32_packuswb256(low, high);  // by halves: four of each, twice
  const Vi order = {0, 4, 1, 5, 2, 6, 3, 7};
  const Vi bytes = __builtin_ia32_permvarsi256(reinterpret_cast<Vi>(mixed), order);
  __builtin_memcpy(y, &bytes, sizeof bytes);
#elif PENLIGHT_LANES == 4 && defined(__SSE2__)
  const Vh low = __builtin_ia32_packssdw128(v[0], v[1]), high = __builtin_ia32_packssdw128(v[2], v[3]);
  const auto bytes = __builtin_ia32_packuswb128(low, high);
  __builtin_memcpy(y, &bytes, sizeof bytes);
#else
  for (int part = 0; part < 4; ++part)
    for (int lane = 0; lane < kLanes; ++lane) y[part * kLanes + lane] = static_cast<uint8_t>(v[part][lane]);
#endif
}

/// kLanes bytes. GCC widens so few of them one by one unless it is told how.
PENLIGHT_INLINE Vi unsigned_bytes(const uint8_t* p) {
#if PENLIGHT_LANES == 8 && !defined(__clang__)
  typedef char Chars __attribute__((vector_size(16)));
  typedef int64_t Halves __attribute__((vector_size(16)));
  Halves bytes = {};
  __builtin_memcpy(&bytes, p, kLanes);
  return __builtin_ia32_pmovzxbd256(reinterpret_cast<Chars>(bytes));
#else
  typedef uint8_t Few __attribute__((vector_size(PENLIGHT_LANES)));
  Few bytes;
  __builtin_memcpy(&bytes, p, sizeof bytes);
  return __builtin_convertvector(bytes, Vi);
#endif
}

PENLIGHT_INLINE Vi signed_bytes(const uint8_t* p) {
#if PENLIGHT_LANES == 8 && !defined(__clang__)
  typedef char Chars __attribute__((vector_size(16)));
  typedef int64_t Halves __attribute__((vector_size(16)));
  Halves bytes = {};
  __builtin_memcpy(&bytes, p, kLanes);
  return __builtin_ia32_pmovsxbd256(reinterpret_cast<Chars>(bytes));
#else
  typedef int8_t Few __attribute__((vector_size(PENLIGHT_LANES)));
  Few bytes;
  __builtin_memcpy(&bytes, p, sizeof bytes);
  return __builtin_convertvector(bytes, Vi);
#endif
}
