// Opens the namespace `fused` inside of an instruction set's: `a * b + c` becomes one instruction there, rounded once. All else is
// compiled with -ffp-contract=off. SPDX-License-Identifier: Apache-2.0
#if defined(__clang__)
#pragma clang fp contract(fast)
#else
#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")
#endif
namespace fused {
