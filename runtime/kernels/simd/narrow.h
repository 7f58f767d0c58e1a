// Whole numbers as bytes; included inside the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0

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
