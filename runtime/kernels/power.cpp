// Pow and Mod of broadcast tensors. SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "binary.h"
#include "broadcast.h"
#include "real_functions.h"

namespace penlight {

namespace {

constexpr uint32_t kPowExponents = kFloatTypes | kSignedTypes | kUnsignedTypes;

/// A number of any dtype, read as both kinds; `whole` holds for integers.
struct PowNumber {
  double real;
  int64_t integer;
};

using PowRead = PowNumber (*)(const void* x, int64_t i);

template <typename T>
PowNumber pow_read(const void* x, int64_t i) {
  const T value = static_cast<const T*>(x)[i];
  if (Element<T>::kIsFloat) return {static_cast<double>(static_cast<typename Element<T>::Compute>(value)), 0};
  return {static_cast<double>(static_cast<typename Element<T>::Compute>(value)), static_cast<int64_t>(value)};
}

/// Integers wrap; a negative exponent gives 0 but for bases 1 and -1.
uint64_t integer_power(uint64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 1) return 1;
    return base == ~uint64_t{0} ? (exponent % 2 == 0 ? 1 : base) : 0;
  }
  uint64_t result = 1;
  for (; exponent > 0; exponent /= 2, base *= base)
    if (exponent % 2 == 1) result *= base;
  return result;
}

template <typename T>
T power_of(T base, PowNumber exponent, bool whole) {
  using C = typename Element<T>::Compute;
  if constexpr (Element<T>::kIsFloat) {
    const C b = static_cast<C>(base);
    return exponent.real == 2.0 ? T(b * b) : T(static_cast<C>(real_pow(static_cast<double>(b), exponent.real)));
  } else if (whole) {
    return static_cast<T>(integer_power(static_cast<uint64_t>(base), exponent.integer));
  } else {
    const double value = real_pow(static_cast<double>(base), exponent.real);
    return value > -9.2e18 && value < 9.2e18 ? static_cast<T>(static_cast<int64_t>(value)) : T(0);
  }
}

using PowerTypes = FloatTypes::And<int32_t, int64_t>;

/// The sign follows the divisor, as in Python; with `c_sign` the dividend, as in C.
template <typename T>
T remainder_of(T x, T y, bool c_sign) {
  using C = typename Element<T>::Compute;
  if constexpr (Element<T>::kIsFloat) {
    const double a = static_cast<double>(static_cast<C>(x)), b = static_cast<double>(static_cast<C>(y)), r = fmod(a, b);
    if (c_sign) return T(static_cast<C>(r));
    return T(static_cast<C>(r == 0 ? copysign(0.0, b) : (r < 0) != (b < 0) ? r + b : r));
  } else {
    if (y == T(0) || (T(-1) < T(0) && y == static_cast<T>(-1))) return T(0);
    const T r = static_cast<T>(x % y);
    return !c_sign && r != T(0) && (r < T(0)) != (y < T(0)) ? static_cast<T>(r + y) : r;
  }
}

}  // namespace

/// The exponent may have another dtype than the base.
Status pow_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, PowerTypes::kBits));
  PENLIGHT_TRY(check_dtype(context, 1, kPowExponents));
  Shape shape;
  PENLIGHT_TRY(broadcast_shapes(context, context.input(0).shape, context.input(1).shape, &shape));
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, shape));
  const Shape* shapes[] = {&context.input(0).shape, &context.input(1).shape};
  context.state_as<Broadcast>() = plan_broadcast(shape, shapes, 2);
  context.macs = saturating_mul(static_cast<uint64_t>(shape.count()), 16);
  return Status::kOk;
}

Status pow_run(Context& context) {
  const Tensor &x = context.input(0), &y = context.input(1);
  const Broadcast& plan = context.state_as<Broadcast>();
  const int inner = plan.rank - 1;
  const bool whole = (dtype_bit(y.dtype) & kFloatTypes) == 0;
  PowRead read = nullptr;
  with_numeric_type(y.dtype, [&](auto tag) { read = pow_read<typename decltype(tag)::Type>; });
  PowerTypes::call(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    parallel_broadcast_rows(context_parallel(context), plan, [&](int64_t out, const int64_t* offsets) {
      for (int64_t i = 0; i < plan.dims[inner]; ++i)
        context.output(0).as<T>()[out + i] = power_of(x.as<T>()[offsets[0] + i * plan.strides[0][inner]],
                                                      read(y.data, offsets[1] + i * plan.strides[1][inner]), whole);
    });
  });
  return Status::kOk;
}

Status mod_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kNumericTypes));
  return broadcast_infer(context, context.input(0).dtype);
}

Status mod_run(Context& context) {
  const Tensor &x = context.input(0), &y = context.input(1);
  const Broadcast& plan = context.state_as<Broadcast>();
  const int inner = plan.rank - 1;
  const bool c_sign = context.attributes->integer("fmod", 0) != 0;
  bool by_zero = false;
  with_numeric_type(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    broadcast_rows(plan, 0, broadcast_row_count(plan), [&](int64_t out, const int64_t* offsets) {
      for (int64_t i = 0; i < plan.dims[inner]; ++i) {
        const T divisor = y.as<T>()[offsets[1] + i * plan.strides[1][inner]];
        by_zero = by_zero || (!Element<T>::kIsFloat && divisor == T(0));
        context.output(0).as<T>()[out + i] = remainder_of<T>(x.as<T>()[offsets[0] + i * plan.strides[0][inner]], divisor, c_sign);
      }
    });
  });
  return by_zero ? context.fail(Status::kInvalidValue, "integer division by zero") : Status::kOk;
}

}  // namespace penlight
