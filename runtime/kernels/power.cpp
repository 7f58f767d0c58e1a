// Pow and Mod of broadcast tensors. SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "binary.h"
#include "broadcast.h"
#include "rare_elements.h"
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

/// Of floats too: their square is exact in double precision and so rounded once, by the caller.
double real_power(double base, double exponent) { return exponent == 2.0 ? base * base : real_pow(base, exponent); }

uint64_t whole_power(int64_t base, PowNumber exponent, bool whole) {
  if (whole) return integer_power(static_cast<uint64_t>(base), exponent.integer);
  const double value = real_pow(static_cast<double>(base), exponent.real);
  return value > -9.2e18 && value < 9.2e18 ? static_cast<uint64_t>(static_cast<int64_t>(value)) : 0;
}

using PowerTypes = FloatTypes::And<int32_t, int64_t>;

/// The sign follows the divisor, as in Python; with `c_sign` the dividend, as in C.
double real_remainder(double a, double b, bool c_sign) {
  const double r = fmod(a, b);
  if (c_sign) return r;
  return r == 0 ? copysign(0.0, b) : (r < 0) != (b < 0) ? r + b : r;
}

int64_t whole_remainder(int64_t x, int64_t y, bool c_sign, bool is_signed) {
  if (!is_signed) return y == 0 ? 0 : static_cast<int64_t>(static_cast<uint64_t>(x) % static_cast<uint64_t>(y));
  if (y == 0 || y == -1) return 0;
  const int64_t r = x % y;
  return !c_sign && r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

/// Calls each(i, x, y) for all elements of the output with the operands' places; a row is one thread's.
template <typename Each>
Status each_pair(Context& context, Each&& each) {
  const Broadcast& plan = context.state_as<Broadcast>();
  const int inner = plan.rank - 1;
  const int64_t x_step = plan.strides[0][inner], y_step = plan.strides[1][inner];
  parallel_broadcast_rows(context_parallel(context), plan, [&](int64_t out, const int64_t* offsets) {
    for (int64_t i = 0; i < plan.dims[inner]; ++i) each(out + i, offsets[0] + i * x_step, offsets[1] + i * y_step);
  });
  return Status::kOk;
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
  const Tensor &x = context.input(0), &y = context.input(1), &z = context.output(0);
  const bool whole = (dtype_bit(y.dtype) & kFloatTypes) == 0;
  PowRead read = nullptr;
  with_numeric_type(y.dtype, [&](auto tag) { read = pow_read<typename decltype(tag)::Type>; });
  if (x.dtype == DType::kF32)
    return each_pair(context, [&](int64_t i, int64_t base, int64_t exponent) {
      z.as<float>()[i] = static_cast<float>(real_power(static_cast<double>(x.as<float>()[base]), read(y.data, exponent).real));
    });
  if ((dtype_bit(x.dtype) & kFloatTypes) != 0)
    return each_pair(context, [&, reals = real_elements(x.dtype)](int64_t i, int64_t base, int64_t exponent) {
      reals.write(z.data, i, real_power(reals.read(x.data, base), read(y.data, exponent).real));
    });
  return each_pair(context, [&, wholes = whole_elements(x.dtype)](int64_t i, int64_t base, int64_t exponent) {
    wholes.write(z.data, i, static_cast<int64_t>(whole_power(wholes.read(x.data, base), read(y.data, exponent), whole)));
  });
}

Status mod_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kNumericTypes));
  return broadcast_infer(context, context.input(0).dtype);
}

Status mod_run(Context& context) {
  const Tensor &x = context.input(0), &y = context.input(1), &z = context.output(0);
  const bool c_sign = context.attributes->integer("fmod", 0) != 0;
  if (z.shape.count() == 0) return Status::kOk;
  if ((dtype_bit(x.dtype) & kFloatTypes) != 0)
    return each_pair(context, [&, reals = real_elements(x.dtype)](int64_t i, int64_t a, int64_t b) {
      reals.write(z.data, i, real_remainder(reals.read(x.data, a), reals.read(y.data, b), c_sign));
    });
  const WholeElements wholes = whole_elements(x.dtype);
  const int64_t divisors = y.shape.count();
  for (int64_t i = 0; i < divisors; ++i)
    if (wholes.read(y.data, i) == 0) return context.fail(Status::kInvalidValue, "integer division by zero");
  return each_pair(context, [&](int64_t i, int64_t a, int64_t b) {
    wholes.write(z.data, i, whole_remainder(wholes.read(x.data, a), wholes.read(y.data, b), c_sign, wholes.is_signed));
  });
}

}  // namespace penlight
