// What a build is for: everything. tools/amalgamate.py writes another one for a model. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

namespace penlight {

constexpr uint32_t kSelectedTypes = ~uint32_t{0};      // bit i: the DType of that number
constexpr uint64_t kSelectedFunctions = ~uint64_t{0};  // bit i: the Unary of that number
constexpr uint32_t kSelectedBinaries = ~uint32_t{0};   // bit i: the Binary of that number
constexpr bool kSelectedDepthwise = true;              // convolutions of single channels have loops of their own

}  // namespace penlight
