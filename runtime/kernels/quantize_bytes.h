// Bare kernels from floats to 8 bits. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "isa.h"
#include "quantize.h"

namespace penlight {

/// The zero point and the ends of a type of 8 bits.
struct ByteRange {
  float zero = 0, low = 0, high = 0;
};

template <typename Q>
ByteRange byte_range(Q zero) {
  return {static_cast<float>(zero), QuantizedRange<Q>::kLow, QuantizedRange<Q>::kHigh};
}

/// Numbers ((byte ^ flip) - point) * scale.
struct QuantizedTerm {
  const uint8_t* bytes = nullptr;
  uint8_t flip = 0;
  float point = 0, scale = 0;
};

struct QuantizeTable {
  /// y = x / scale, rounded to even and saturated as `quantized` does.
  void (*quantize)(const float* x, int64_t count, float scale, const ByteRange& range, uint8_t* y);
  /// Widens [*lowest, *highest] so that it holds all of x; NaN when x has one.
  void (*range)(const float* x, int64_t count, float* lowest, float* highest);
  void (*add)(const QuantizedTerm& a, const QuantizedTerm& b, int64_t count, float scale, const ByteRange& range, uint8_t* y);
};

const QuantizeTable& quantize_table();

}  // namespace penlight
