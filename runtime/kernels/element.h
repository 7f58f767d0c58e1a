// Element types: half precision, and one switch from a DType to a C++ type. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "isa.h"
#include "kernel.h"
#include "selection.h"

namespace penlight {

/// Nearest even; overflow becomes infinity.
PENLIGHT_SHARED uint16_t half_bits(float value) {
  uint32_t x;
  __builtin_memcpy(&x, &value, 4);
  const uint32_t sign = (x >> 16) & 0x8000u;
  x &= 0x7fffffffu;
  if (x > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (x >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (x < 0x38800000u) {  // subnormal: adding 0.5 lines the bits up and rounds them
    float size;
    __builtin_memcpy(&size, &x, 4);
    size += 0.5f;
    __builtin_memcpy(&x, &size, 4);
    return static_cast<uint16_t>(sign | (x - 0x3f000000u));
  }
  x += 0xfffu + ((x >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((x - 0x38000000u) >> 13));
}

PENLIGHT_SHARED float half_value(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t rest = bits & 0x7fffu;
  uint32_t x;
  if (rest >= 0x7c00u) {
    x = sign | 0x7f800000u | (rest & 0x3ffu) << 13;
  } else if (rest >= 0x400u) {
    x = sign | ((rest << 13) + 0x38000000u);
  } else {
    const float size = static_cast<float>(rest) * 5.9604644775390625e-8f;  // 2^-24
    __builtin_memcpy(&x, &size, 4);
    x |= sign;
  }
  float value;
  __builtin_memcpy(&value, &x, 4);
  return value;
}

PENLIGHT_SHARED uint16_t bfloat_bits(float value) {
  uint32_t x;
  __builtin_memcpy(&x, &value, 4);
  if ((x & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((x >> 16) | 0x40u);
  x += 0x7fffu + ((x >> 16) & 1u);
  return static_cast<uint16_t>(x >> 16);
}

inline float bfloat_value(uint16_t bits) {
  const uint32_t x = static_cast<uint32_t>(bits) << 16;
  float value;
  __builtin_memcpy(&value, &x, 4);
  return value;
}

/// Stored in 16 bits, computed in float.
struct Half {
  uint16_t bits = 0;
  Half() = default;
  explicit Half(float value) : bits(half_bits(value)) {}
  operator float() const { return half_value(bits); }
};

struct BFloat {
  uint16_t bits = 0;
  BFloat() = default;
  explicit BFloat(float value) : bits(bfloat_bits(value)) {}
  operator float() const { return bfloat_value(bits); }
};

/// What arithmetic on T is done in, and what kind of number T is.
template <typename T>
struct Element {
  using Compute = T;
  using Sum = uint64_t;  // integers wrap
  static constexpr bool kIsFloat = false;
};
template <>
struct Element<float> {
  using Compute = float;
  using Sum = float;
  static constexpr bool kIsFloat = true;
};
template <>
struct Element<double> {
  using Compute = double;
  using Sum = double;
  static constexpr bool kIsFloat = true;
};
template <>
struct Element<Half> {
  using Compute = float;
  using Sum = float;
  static constexpr bool kIsFloat = true;
};
template <>
struct Element<BFloat> {
  using Compute = float;
  using Sum = float;
  static constexpr bool kIsFloat = true;
};

template <typename T>
struct TypeTag {
  using Type = T;
};

template <typename T>
inline constexpr DType kDTypeOf = DType::kNone;
template <>
inline constexpr DType kDTypeOf<float> = DType::kF32;
template <>
inline constexpr DType kDTypeOf<double> = DType::kF64;
template <>
inline constexpr DType kDTypeOf<Half> = DType::kF16;
template <>
inline constexpr DType kDTypeOf<BFloat> = DType::kBF16;
template <>
inline constexpr DType kDTypeOf<int8_t> = DType::kI8;
template <>
inline constexpr DType kDTypeOf<int16_t> = DType::kI16;
template <>
inline constexpr DType kDTypeOf<int32_t> = DType::kI32;
template <>
inline constexpr DType kDTypeOf<int64_t> = DType::kI64;
template <>
inline constexpr DType kDTypeOf<uint8_t> = DType::kU8;
template <>
inline constexpr DType kDTypeOf<uint16_t> = DType::kU16;
template <>
inline constexpr DType kDTypeOf<uint32_t> = DType::kU32;
template <>
inline constexpr DType kDTypeOf<uint64_t> = DType::kU64;

constexpr uint32_t dtype_bit(DType dtype) { return uint32_t{1} << static_cast<int>(dtype); }

/// Whether this build has kernels for elements of a type (`kSelectedTypes`); code for the others is never instantiated.
constexpr bool dtype_selected(DType dtype) { return (kSelectedTypes & dtype_bit(dtype)) != 0; }

/// The element types that a kernel takes: as bits for `check_dtype`, and as the switch from a DType to a C++ type.
template <typename... Types>
struct TypeList {
  static constexpr uint32_t kBits = (dtype_bit(kDTypeOf<Types>) | ...);

  /// Calls function(TypeTag<T>{}) for the T of `dtype`; `infer` has refused the dtypes that are not in the list.
  template <typename Function>
  static void call(DType dtype, Function&& function) {
    static_cast<void>((call_one<Types>(dtype, function) || ...));
  }

  template <typename T, typename Function>
  static bool call_one(DType dtype, Function& function) {
    if constexpr (dtype_selected(kDTypeOf<T>)) {
      if (dtype == kDTypeOf<T>) return function(TypeTag<T>{}), true;
    }
    static_cast<void>(function);
    return false;
  }

  template <typename... More>
  using And = TypeList<Types..., More...>;
};

using FloatTypes = TypeList<float, double, Half, BFloat>;
using SignedTypes = TypeList<int8_t, int16_t, int32_t, int64_t>;
using UnsignedTypes = TypeList<uint8_t, uint16_t, uint32_t, uint64_t>;
using NumericTypes = FloatTypes::And<int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t>;

constexpr uint32_t kFloatTypes = FloatTypes::kBits;
constexpr uint32_t kSignedTypes = SignedTypes::kBits;
constexpr uint32_t kUnsignedTypes = UnsignedTypes::kBits;
constexpr uint32_t kNumericTypes = NumericTypes::kBits;
constexpr uint32_t kAllTypes = kNumericTypes | dtype_bit(DType::kBool);

/// Calls function(TypeTag<T>{}) for a numeric dtype.
template <typename Function>
void with_numeric_type(DType dtype, Function&& function) {
  NumericTypes::call(dtype, function);
}

/// As above with uint8_t for bool.
template <typename Function>
void with_any_type(DType dtype, Function&& function) {
  if constexpr (dtype_selected(DType::kBool)) {
    if (dtype == DType::kBool) return function(TypeTag<uint8_t>{});
  }
  with_numeric_type(dtype, function);
}

/// Whether a selected type has elements of this size.
constexpr bool element_size_selected(size_t size) {
  constexpr uint32_t kBits[] = {dtype_bit(DType::kI8) | dtype_bit(DType::kU8) | dtype_bit(DType::kBool),
                                dtype_bit(DType::kI16) | dtype_bit(DType::kU16) | dtype_bit(DType::kF16) | dtype_bit(DType::kBF16),
                                dtype_bit(DType::kI32) | dtype_bit(DType::kU32) | dtype_bit(DType::kF32)};
  return (kSelectedTypes & (size == 1   ? kBits[0]
                            : size == 2 ? kBits[1]
                            : size == 4 ? kBits[2]
                                        : ~(kBits[0] | kBits[1] | kBits[2]))) != 0;
}

/// By element size alone, for operators that only move data: function(TypeTag<uint8_t / 16 / 32 / 64>{}).
template <typename Function>
void with_element_size(size_t size, Function&& function) {
  if constexpr (element_size_selected(1)) {
    if (size == 1) return function(TypeTag<uint8_t>{});
  }
  if constexpr (element_size_selected(2)) {
    if (size == 2) return function(TypeTag<uint16_t>{});
  }
  if constexpr (element_size_selected(4)) {
    if (size == 4) return function(TypeTag<uint32_t>{});
  }
  if constexpr (element_size_selected(8)) return function(TypeTag<uint64_t>{});
}

}  // namespace penlight
