// Which instruction sets the vector kernels of this build have, and which one this processor runs. SPDX-License-Identifier:
// Apache-2.0
#pragma once

/// 1: code size before speed, for small devices: one instruction set, small tiles.
#if !defined(PENLIGHT_SMALL)
#define PENLIGHT_SMALL 0
#endif

/// A function that small builds have once, instead of in every loop that uses it.
#if PENLIGHT_SMALL
#define PENLIGHT_SHARED __attribute__((noinline)) inline
#else
#define PENLIGHT_SHARED inline
#endif

#if defined(__x86_64__) && !defined(PENLIGHT_BASELINE_ONLY) && !PENLIGHT_SMALL
#define PENLIGHT_X86 1
#else
#define PENLIGHT_X86 0
#endif

/// 1: the baseline can multiply and add in one instruction, so that products have a fused form there too.
#if defined(__i386__) || defined(__x86_64__) || defined(__wasm__) || PENLIGHT_SMALL
#define PENLIGHT_BASELINE_FUSES 0
#else
#define PENLIGHT_BASELINE_FUSES 1
#endif

namespace penlight {

enum class Isa : int { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

#if defined(PENLIGHT_ISA_HOOK)
Isa current_isa();  // a test decides
#else
/// The widest set that the processor and the operating system support; a few loads, so nothing is cached.
inline Isa current_isa() {
#if PENLIGHT_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return Isa::kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::kAvx2;
#endif
  return Isa::kBaseline;
}
#endif

/// The entry of `tables` (baseline, AVX2, AVX-512; other machines have the baseline alone) for this processor.
template <typename Table, int kCount>
const Table& table_for_isa(const Table (&tables)[kCount]) {
  const int isa = static_cast<int>(current_isa());
  return tables[isa < kCount ? isa : kCount - 1];
}

}  // namespace penlight
