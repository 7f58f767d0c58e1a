// Closes avx2_begin.h. SPDX-License-Identifier: Apache-2.0
}  // namespace avx2
}  // namespace penlight
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef PENLIGHT_LANES
