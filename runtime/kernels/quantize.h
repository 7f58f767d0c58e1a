// Quantised numbers: q = round(x / scale) + zero point, kept within the type. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "shape_rules.h"

namespace penlight {

constexpr uint32_t kQuantizedTypes =
    dtype_bit(DType::kI8) | dtype_bit(DType::kU8) | dtype_bit(DType::kI16) | dtype_bit(DType::kU16);

template <typename Function>
void with_quantized_type(DType dtype, Function&& function) {
  TypeList<int8_t, uint8_t, int16_t, uint16_t>::call(dtype, function);
}

/// Element i of a tensor of float32, float16 or bfloat16.
PENLIGHT_SHARED float scale_value(const Tensor& tensor, int64_t i) {
  if (tensor.dtype == DType::kF32) return tensor.as<float>()[i];
  return tensor.dtype == DType::kF16 ? static_cast<float>(tensor.as<Half>()[i]) : static_cast<float>(tensor.as<BFloat>()[i]);
}

PENLIGHT_SHARED void store_scale(Tensor& tensor, int64_t i, float value) {
  if (tensor.dtype == DType::kF32)
    tensor.as<float>()[i] = value;
  else if (tensor.dtype == DType::kF16)
    tensor.as<Half>()[i] = Half(value);
  else
    tensor.as<BFloat>()[i] = BFloat(value);
}

/// The numbers of a quantised type.
template <typename Q>
struct QuantizedRange {
  static constexpr int kBits = 8 * static_cast<int>(sizeof(Q)) - (Q(-1) < Q(0) ? 1 : 0);
  static constexpr float kLow = Q(-1) < Q(0) ? -static_cast<float>(1 << kBits) : 0.0f;
  static constexpr float kHigh = static_cast<float>((1 << kBits) - 1);
};

constexpr float kQuantizedLimit = 1e6f;        // beyond it every type is at its end
constexpr float kQuantizedWhole = 12582912.f;  // 3 * 2 ** 22: added to less, it leaves no fraction

/// Rounds to even and keeps within [low, high]; NaN becomes the smallest number.
inline int32_t quantized_within(float value, float zero_point, float low, float high) {
  value = value > -kQuantizedLimit ? value : -kQuantizedLimit;
  value = value < kQuantizedLimit ? value : kQuantizedLimit;
  float whole = ((value + kQuantizedWhole) - kQuantizedWhole) + zero_point;
  whole = whole > low ? whole : low;
  whole = whole < high ? whole : high;
  return static_cast<int32_t>(whole);
}

template <typename Q>
Q quantized(float value, float zero_point) {
  return static_cast<Q>(quantized_within(value, zero_point, QuantizedRange<Q>::kLow, QuantizedRange<Q>::kHigh));
}

}  // namespace penlight
