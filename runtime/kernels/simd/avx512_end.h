// Closes avx512_begin.h. SPDX-License-Identifier: Apache-2.0
}  // namespace avx512
}  // namespace penlight
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef PENLIGHT_LANES
