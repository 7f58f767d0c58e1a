// Numbers of 16 bits as floats and back, vectorised. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace penlight {

enum class HalfType : int { kFloat16 = 0, kBFloat16 = 1 };

/// z = f(x, y) of `n` elements, computed in float.
using HalfBinary = void (*)(const uint16_t* x, const uint16_t* y, uint16_t* z, size_t n);
/// The same, y one number for all.
using HalfByNumber = void (*)(const uint16_t* x, float y, uint16_t* z, size_t n);

constexpr int kHalfBinaries = 6;  // add, subtract, multiply, divide, minimum, maximum; NaN wins over numbers

/// Conversions of `n` elements. Rounding is to the nearest even; NaN stays NaN, overflow becomes infinity.
struct HalfConversion {
  void (*widen)(const uint16_t* x, float* y, size_t n);
  void (*round)(const float* x, uint16_t* y, size_t n);
  HalfBinary binary[kHalfBinaries];       // null where there is no faster way than to widen, compute and round blocks
  HalfByNumber by_number[kHalfBinaries];  // f(x, y)
  HalfByNumber of_number[kHalfBinaries];  // f(y, x)
  /// The largest of n > 0 numbers (sign 1) or the smallest (sign -1); NaN if there is one. May be null.
  float (*extreme)(const uint16_t* x, size_t n, float sign);
};

/// The conversions for this processor.
const HalfConversion& half_conversion(HalfType type);

}  // namespace penlight
