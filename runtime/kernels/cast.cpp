// Changes of the element type. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "shape_rules.h"

namespace penlight {

namespace {

/// Truncates towards zero into an integer type of `bits` bits beside the sign, of which the result holds the low ones. ONNX leaves
/// what does not fit open; here it becomes the nearest bound, and NaN becomes 0.
inline uint64_t cast_double(double value, int bits, bool is_signed) {
  const double limit = __builtin_ldexp(1.0, bits);  // one above the largest
  if (value != value || (!is_signed && value <= -1.0)) return 0;
  if (value >= limit) return ~uint64_t{0} >> (64 - bits);
  if (is_signed) return value < -limit ? uint64_t{1} << bits : static_cast<uint64_t>(static_cast<int64_t>(value));
  return static_cast<uint64_t>(value);
}

constexpr size_t kCastPiece = 64;  // elements that wait on the stack

/// Elements of any dtype: those of floating dtypes as doubles, which hold them exactly, others as 64 bits.
union CastNumber {
  double real;
  uint64_t bits;
};

template <typename T>
void cast_read(const void* x, size_t n, CastNumber* numbers) {
  for (size_t i = 0; i < n; ++i) {
    const T value = static_cast<const T*>(x)[i];
    if constexpr (Element<T>::kIsFloat)
      numbers[i].real = static_cast<double>(static_cast<typename Element<T>::Compute>(value));
    else
      numbers[i].bits = static_cast<uint64_t>(value);
  }
}

/// From what cast_read made of elements of a floating, a signed or an unsigned dtype.
template <typename T>
void cast_write(DType from, const CastNumber* numbers, size_t n, void* y) {
  using C = typename Element<T>::Compute;
  T* to = static_cast<T*>(y);
  if ((dtype_bit(from) & kFloatTypes) != 0)
    for (size_t i = 0; i < n; ++i) to[i] = T(static_cast<C>(numbers[i].real));
  else if ((dtype_bit(from) & kSignedTypes) != 0)
    for (size_t i = 0; i < n; ++i) to[i] = T(static_cast<C>(static_cast<int64_t>(numbers[i].bits)));
  else
    for (size_t i = 0; i < n; ++i) to[i] = T(static_cast<C>(numbers[i].bits));
}

/// Whole numbers for an integer dtype or, of 1 for all that is not 0, bool.
void cast_to_whole(DType from, DType to, CastNumber* numbers, size_t n) {
  const bool is_real = (dtype_bit(from) & kFloatTypes) != 0, is_signed = (dtype_bit(to) & kSignedTypes) != 0;
  const int bits = 8 * static_cast<int>(dtype_size(to)) - (is_signed ? 1 : 0);
  for (size_t i = 0; i < n; ++i) {
    CastNumber& own = numbers[i];
    if (to == DType::kBool)
      own.bits = (is_real ? own.real != 0.0 : own.bits != 0) ? 1 : 0;
    else if (is_real)
      own.bits = cast_double(own.real, bits, is_signed);
  }
}

template <typename U>
void cast_low_bits(const CastNumber* numbers, size_t n, void* y) {
  for (size_t i = 0; i < n; ++i) static_cast<U*>(y)[i] = static_cast<U>(numbers[i].bits);
}

/// Any pair of dtypes, by way of 64 bits.
void cast_piece(DType from, const void* x, DType to, void* y, size_t n) {
  CastNumber numbers[kCastPiece];
  with_any_type(from, [&](auto tag) { cast_read<typename decltype(tag)::Type>(x, n, numbers); });
  if ((dtype_bit(to) & kFloatTypes) != 0)
    return FloatTypes::call(to, [&](auto tag) { cast_write<typename decltype(tag)::Type>(from, numbers, n, y); });
  cast_to_whole(from, to, numbers, n);
  with_element_size(dtype_size(to), [&](auto tag) { cast_low_bits<typename decltype(tag)::Type>(numbers, n, y); });
}

#if !PENLIGHT_SMALL

template <typename To, typename From>
void cast_array(const void* x, void* y, size_t n) {
  using C = typename Element<To>::Compute;
  for (size_t i = 0; i < n; ++i)
    static_cast<To*>(y)[i] = To(static_cast<C>(static_cast<typename Element<From>::Compute>(static_cast<const From*>(x)[i])));
}

template <typename To>
void cast_float_array(const void* x, void* y, size_t n) {
  constexpr bool kSigned = To(-1) < To(0);
  for (size_t i = 0; i < n; ++i)
    static_cast<To*>(y)[i] = static_cast<To>(
        cast_double(static_cast<double>(static_cast<const float*>(x)[i]), 8 * sizeof(To) - (kSigned ? 1 : 0), kSigned));
}

using CastArray = void (*)(const void* x, void* y, size_t n);

/// A loop for a pair of dtypes that many models have; null for the others.
CastArray common_cast(DType from, DType to) {
  CastArray found = nullptr;
  if (to == DType::kF32) {
    using Sources = TypeList<Half, BFloat, double, int8_t, uint8_t, int32_t, int64_t>;
    Sources::call(from == DType::kBool ? DType::kU8 : from,
                  [&](auto tag) { found = cast_array<float, typename decltype(tag)::Type>; });
  } else if (from == DType::kF32) {
    TypeList<Half, BFloat, double>::call(to, [&](auto tag) { found = cast_array<typename decltype(tag)::Type, float>; });
    TypeList<int8_t, uint8_t, int32_t, int64_t>::call(to,
                                                      [&](auto tag) { found = cast_float_array<typename decltype(tag)::Type>; });
  } else if (to == DType::kI64) {
    TypeList<uint8_t, int32_t>::call(from == DType::kBool ? DType::kU8 : from,
                                     [&](auto tag) { found = cast_array<int64_t, typename decltype(tag)::Type>; });
  } else if (from == DType::kI64 && to == DType::kI32) {
    found = cast_array<int32_t, int64_t>;
  }
  return found;
}

#endif

/// Elements of different dtypes.
void cast_elements(DType from, const char* x, DType to, char* y, size_t n) {
#if !PENLIGHT_SMALL
  if (const CastArray array = common_cast(from, to)) return array(x, y, n);
#endif
  for (size_t i = 0; i < n; i += kCastPiece)
    cast_piece(from, x + i * dtype_size(from), to, y + i * dtype_size(to), n - i < kCastPiece ? n - i : kCastPiece);
}

Status cast_to(Context& context, DType to) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  context.macs = static_cast<uint64_t>(context.input(0).shape.count());
  return set_output(context, 0, to, context.input(0).shape);
}

/// The numbers of onnx.TensorProto.DataType.
DType cast_dtype_from_onnx(int64_t type) {
  constexpr DType kTypes[] = {DType::kNone, DType::kF32, DType::kU8,   DType::kI8,   DType::kU16, DType::kI16,
                              DType::kI32,  DType::kI64, DType::kNone, DType::kBool, DType::kF16, DType::kF64,
                              DType::kU32,  DType::kU64, DType::kNone, DType::kNone, DType::kBF16};
  return type >= 0 && type <= 16 ? kTypes[type] : DType::kNone;
}

}  // namespace

Status cast_infer(Context& context) {
  const int64_t type = context.attributes->integer("to", 0);
  const DType to = cast_dtype_from_onnx(type);
  if (to == DType::kNone)
    return context.fail(Status::kUnsupportedOperator, "'to' is %lld, which is no dtype of this runtime",
                        static_cast<long long>(type));
  return cast_to(context, to);
}

Status cast_like_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 1, kAllTypes));
  return cast_to(context, context.input(1).dtype);
}

Status cast_run(Context& context) {
  const Tensor& x = context.input(0);
  Tensor& y = context.output(0);
  const size_t count = static_cast<size_t>(x.shape.count());
  parallel_ranges(context_parallel(context), count, 32768, [&](size_t begin, size_t end) {
    const size_t size = dtype_size(x.dtype);
    const char* from = x.as<char>() + begin * size;
    char* to = y.as<char>() + begin * dtype_size(y.dtype);
    if (x.dtype == y.dtype)
      memcpy(to, from, (end - begin) * size);
    else
      cast_elements(x.dtype, from, y.dtype, to, end - begin);
  });
  return Status::kOk;
}

}  // namespace penlight
