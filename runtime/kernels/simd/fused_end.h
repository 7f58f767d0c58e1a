// Closes fused_begin.h. SPDX-License-Identifier: Apache-2.0
}  // namespace fused
#if defined(__clang__)
#pragma clang fp contract(off)
#else
#pragma GCC pop_options
#endif
