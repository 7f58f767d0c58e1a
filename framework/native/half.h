// Numbers of 16 bits as floats and back, vectorised. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace penlight {

enum class HalfType : int { kFloat16 = 0, kBFloat16 = 1 };

/// Conversions of `n` elements. Rounding is to the nearest even; NaN stays NaN, overflow becomes infinity.
struct HalfConversion {
  void (*widen)(const uint16_t* x, float* y, size_t n);
  void (*round)(const float* x, uint16_t* y, size_t n);
};

/// The conversions for this processor.
const HalfConversion& half_conversion(HalfType type);

}  // namespace penlight
