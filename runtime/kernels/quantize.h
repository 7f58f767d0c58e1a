// Quantised numbers: q = round(x / scale) + zero point, kept within the type. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <math.h>

#include "shape_rules.h"

namespace penlight {

constexpr uint32_t kQuantizedTypes =
    dtype_bit(DType::kI8) | dtype_bit(DType::kU8) | dtype_bit(DType::kI16) | dtype_bit(DType::kU16);

template <typename Function>
void with_quantized_type(DType dtype, Function&& function) {
  switch (dtype) {
    case DType::kI8:
      return function(TypeTag<int8_t>{});
    case DType::kU8:
      return function(TypeTag<uint8_t>{});
    case DType::kI16:
      return function(TypeTag<int16_t>{});
    case DType::kU16:
      return function(TypeTag<uint16_t>{});
    default:
      return;
  }
}

/// Element i of a tensor of float32, float16 or bfloat16.
inline float scale_value(const Tensor& tensor, int64_t i) {
  if (tensor.dtype == DType::kF32) return tensor.as<float>()[i];
  return tensor.dtype == DType::kF16 ? static_cast<float>(tensor.as<Half>()[i]) : static_cast<float>(tensor.as<BFloat>()[i]);
}

inline void store_scale(Tensor& tensor, int64_t i, float value) {
  if (tensor.dtype == DType::kF32)
    tensor.as<float>()[i] = value;
  else if (tensor.dtype == DType::kF16)
    tensor.as<Half>()[i] = Half(value);
  else
    tensor.as<BFloat>()[i] = BFloat(value);
}

/// Rounds to even and saturates; NaN becomes the smallest number.
template <typename Q>
Q quantized(float value, float zero_point) {
  constexpr bool is_signed = Q(-1) < Q(0);
  constexpr int bits = 8 * static_cast<int>(sizeof(Q));
  constexpr float low = is_signed ? -static_cast<float>(1 << (bits - 1)) : 0.0f;
  constexpr float high = static_cast<float>((1 << (is_signed ? bits - 1 : bits)) - 1);
  const float whole = rintf(value) + zero_point;
  if (!(whole > low)) return static_cast<Q>(low);
  return static_cast<Q>(whole < high ? whole : high);
}

}  // namespace penlight
