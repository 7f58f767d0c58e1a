// Elements of any dtype read and written one at a time, for operators too rare for a loop of their own in each dtype.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "element.h"

namespace penlight {

/// How the elements of a floating dtype are read as doubles (exactly) and written (rounded once, halves by way of float).
struct RealElements {
  double (*read)(const void* x, int64_t i) = nullptr;
  void (*write)(void* y, int64_t i, double value) = nullptr;
};

/// Whether this build has floating dtypes beside float32, which usually has loops of its own.
constexpr bool kRareReals = (kSelectedTypes & kFloatTypes & ~dtype_bit(DType::kF32)) != 0;

template <typename T>
double read_real(const void* x, int64_t i) {
  return static_cast<double>(static_cast<typename Element<T>::Compute>(static_cast<const T*>(x)[i]));
}

template <typename T>
void write_real(void* y, int64_t i, double value) {
  static_cast<T*>(y)[i] = T(static_cast<typename Element<T>::Compute>(value));
}

/// Those of a dtype in FloatTypes.
inline RealElements real_elements(DType dtype) {
  RealElements found;
  FloatTypes::call(dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    found = {read_real<T>, write_real<T>};
  });
  return found;
}

/// As RealElements for float32 alone, without calls.
struct Float32Elements {
  static float read(const void* x, int64_t i) { return static_cast<const float*>(x)[i]; }
  static void write(void* y, int64_t i, float value) { static_cast<float*>(y)[i] = value; }
  static void write(void* y, int64_t i, double value) { write(y, i, static_cast<float>(value)); }
};

/// Calls function(elements): float32 has a loop of its own unless the build is small.
template <typename Function>
auto with_real_elements(DType dtype, Function&& function) {
#if !PENLIGHT_SMALL
  if (dtype == DType::kF32) return function(Float32Elements{});
#endif
  return function(real_elements(dtype));
}

/// How the elements of an integer dtype are read as 64 bits, by their sign or by zeros, and written as their low bits.
struct WholeElements {
  int64_t (*read)(const void* x, int64_t i) = nullptr;
  void (*write)(void* y, int64_t i, int64_t value) = nullptr;
  bool is_signed = false;
};

template <typename T>
int64_t read_whole(const void* x, int64_t i) {
  return static_cast<int64_t>(static_cast<const T*>(x)[i]);
}

template <typename T>
void write_whole(void* y, int64_t i, int64_t value) {
  static_cast<T*>(y)[i] = static_cast<T>(value);
}

using WholeTypes = TypeList<int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t>;

/// Those of a dtype in WholeTypes.
inline WholeElements whole_elements(DType dtype) {
  WholeElements found;
  WholeTypes::call(dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    found.read = read_whole<T>;
    found.is_signed = T(-1) < T(0);
  });
  with_element_size(dtype_size(dtype), [&](auto tag) { found.write = write_whole<typename decltype(tag)::Type>; });
  return found;
}

/// Of a number's bits, whole numbers that order as it does: both zeros are one.
template <typename Bits, typename Real>
int64_t order_of_real(Real value) {
  Bits bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  constexpr Bits kMagnitude = static_cast<Bits>(~uint64_t{0} >> (65 - 8 * sizeof(Bits)));
  const Bits sign = bits >> (8 * sizeof(Bits) - 1);  // 0 or -1
  return static_cast<Bits>(((bits & kMagnitude) ^ sign) - sign);
}

using OrderKey = int64_t (*)(const void* x, int64_t i);

/// NaN is the largest.
template <typename T>
int64_t order_key(const void* x, int64_t i) {
  const T element = static_cast<const T*>(x)[i];
  if constexpr (Element<T>::kIsFloat) {
    const auto value = static_cast<typename Element<T>::Compute>(element);
    if (value != value) return INT64_MAX;
    if constexpr (sizeof value == sizeof(int64_t))
      return order_of_real<int64_t>(value);
    else
      return order_of_real<int32_t>(value);
  } else {
    constexpr uint64_t kFlip = T(-1) < T(0) ? 0 : uint64_t{1} << 63;  // of unsigned numbers, all by the same
    return static_cast<int64_t>(static_cast<uint64_t>(element) ^ kFlip);
  }
}

/// That of any dtype.
inline OrderKey order_key_of(DType dtype) {
  OrderKey key = nullptr;
  with_any_type(dtype, [&](auto tag) { key = order_key<typename decltype(tag)::Type>; });
  return key;
}

}  // namespace penlight
