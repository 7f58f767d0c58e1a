// Changes of the element type. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "shape_rules.h"

namespace penlight {

namespace {

/// Bounds of an integer type as doubles that convert back without overflow.
template <typename T>
struct CastBounds {
  static constexpr bool kSigned = T(-1) < T(0);
  static constexpr int kBits = static_cast<int>(sizeof(T) * 8) - (kSigned ? 1 : 0);
  static double limit() { return __builtin_ldexp(1.0, kBits); }  // one above the largest
};

/// Truncates towards zero. ONNX leaves what does not fit open; here it becomes the nearest bound, and NaN becomes 0.
template <typename To>
To cast_double(double value) {
  const double limit = CastBounds<To>::limit();
  if (value != value) return To(0);
  if (value >= limit) return static_cast<To>(~uint64_t{0} >> (64 - CastBounds<To>::kBits));
  if (CastBounds<To>::kSigned && value < -limit) return static_cast<To>(uint64_t{1} << CastBounds<To>::kBits);
  if (!CastBounds<To>::kSigned && value <= -1.0) return To(0);
  return static_cast<To>(value);
}

template <typename To, typename From, bool kToFloat = Element<To>::kIsFloat, bool kFromFloat = Element<From>::kIsFloat>
struct CastOne {  // integer to integer keeps the low bits
  static To apply(From value) { return static_cast<To>(value); }
};
template <typename To, typename From, bool kFromFloat>
struct CastOne<To, From, true, kFromFloat> {
  static To apply(From value) {
    return To(static_cast<typename Element<To>::Compute>(static_cast<typename Element<From>::Compute>(value)));
  }
};
template <typename To, typename From>
struct CastOne<To, From, false, true> {
  static To apply(From value) { return cast_double<To>(static_cast<double>(static_cast<typename Element<From>::Compute>(value))); }
};

template <typename From>
void cast_from(const Tensor& x, Tensor& y, size_t begin, size_t end) {
  const From* from = x.as<From>();
  if (y.dtype == DType::kBool) {
    for (size_t i = begin; i < end; ++i) y.as<uint8_t>()[i] = from[i] != From(0) ? 1 : 0;
    return;
  }
  with_numeric_type(y.dtype, [&](auto tag) {
    using To = typename decltype(tag)::Type;
    for (size_t i = begin; i < end; ++i) y.as<To>()[i] = CastOne<To, From>::apply(from[i]);
  });
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
    if (x.dtype == y.dtype) {
      memcpy(y.as<char>() + begin * size, x.as<char>() + begin * size, (end - begin) * size);
      return;
    }
    with_any_type(x.dtype, [&](auto tag) { cast_from<typename decltype(tag)::Type>(x, y, begin, end); });
  });
  return Status::kOk;
}

}  // namespace penlight
