// Opens the namespace of the AVX-512 kernels and lets the compiler use its instructions. SPDX-License-Identifier: Apache-2.0
#define PENLIGHT_LANES 16
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma")
#endif
namespace penlight {
namespace avx512 {
