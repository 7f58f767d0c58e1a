// Arithmetic of two broadcast tensors, and sums, means and extrema of many. SPDX-License-Identifier: Apache-2.0
#include "binary.h"

#include <math.h>
#include <string.h>

#include "broadcast.h"
#include "vector_math.h"

namespace penlight {

namespace {

/// Integers wrap: the arithmetic is done modulo 2^64.
template <typename T>
T wrapped(uint64_t value) {
  return static_cast<T>(value);
}

template <typename T>
T integer_quotient(T x, T y) {
  if (y == T{0}) return T{0};  // `run` has refused this
  if (y == static_cast<T>(-1) && T(-1) < T{0})
    return wrapped<T>(uint64_t{0} - static_cast<uint64_t>(x));  // the smallest number / -1
  return static_cast<T>(x / y);
}

template <typename T, bool kIsFloat = Element<T>::kIsFloat>
struct Arithmetic {
  using C = typename Element<T>::Compute;
  static T apply(Binary function, T x, T y) {
    const C a = static_cast<C>(x), b = static_cast<C>(y);
    switch (function) {
      case Binary::kAdd:
        return T(a + b);
      case Binary::kSub:
        return T(a - b);
      case Binary::kMul:
        return T(a * b);
      case Binary::kDiv:
        return T(a / b);
      case Binary::kMin:
        return a < b || a != a ? x : y;
      case Binary::kMax:
        return a > b || a != a ? x : y;
      case Binary::kPRelu:
        return a < C{0} ? T(a * b) : x;
      case Binary::kCount:
        break;
    }
    return x;
  }
};

template <typename T>
struct Arithmetic<T, false> {
  static T apply(Binary function, T x, T y) {
    const uint64_t a = static_cast<uint64_t>(x), b = static_cast<uint64_t>(y);
    switch (function) {
      case Binary::kAdd:
        return wrapped<T>(a + b);
      case Binary::kSub:
        return wrapped<T>(a - b);
      case Binary::kMul:
        return wrapped<T>(a * b);
      case Binary::kDiv:
        return integer_quotient(x, y);
      case Binary::kMin:
        return x < y ? x : y;
      case Binary::kMax:
        return x > y ? x : y;
      case Binary::kPRelu:
        return x < T{0} ? wrapped<T>(a * b) : x;
      case Binary::kCount:
        break;
    }
    return x;
  }
};

using ArithmeticRow = void (*)(Binary function, const void* x, int64_t x_step, const void* y, int64_t y_step, void* z, int64_t n);

template <typename T>
void arithmetic_row(Binary function, const void* x, int64_t x_step, const void* y, int64_t y_step, void* z, int64_t n) {
  const T *a = static_cast<const T*>(x), *b = static_cast<const T*>(y);
  for (int64_t i = 0; i < n; ++i) static_cast<T*>(z)[i] = Arithmetic<T>::apply(function, a[i * x_step], b[i * y_step]);
}

void arithmetic_row_f32(Binary function, const void* x, int64_t x_step, const void* y, int64_t y_step, void* z, int64_t n) {
  if (x_step + y_step == 0) return arithmetic_row<float>(function, x, 0, y, 0, z, n);
  binary_f32(function, static_cast<const float*>(x), x_step == 1 ? Step::kEach : Step::kSame, static_cast<const float*>(y),
             y_step == 1 ? Step::kEach : Step::kSame, static_cast<float*>(z),
             static_cast<size_t>(n));  // innermost steps are 0 or 1
}

void arithmetic_tensors(Context& context, Binary function, const Broadcast& plan, const Tensor& x, const Tensor& y, Tensor& z) {
  const int inner = plan.rank - 1;
  const int64_t size = static_cast<int64_t>(dtype_size(z.dtype));
  ArithmeticRow row = arithmetic_row_f32;
  if (z.dtype != DType::kF32) with_numeric_type(z.dtype, [&](auto tag) { row = arithmetic_row<typename decltype(tag)::Type>; });
  parallel_broadcast_rows(context_parallel(context), plan, [&](int64_t out, const int64_t* offsets) {
    row(function, x.as<char>() + offsets[0] * size, plan.strides[0][inner], y.as<char>() + offsets[1] * size,
        plan.strides[1][inner], z.as<char>() + out * size, plan.dims[inner]);
  });
}

Status check_divisors(Context& context, const Tensor& y) {
  bool has_zero = false;
  with_numeric_type(y.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    if (Element<T>::kIsFloat) return;
    const int64_t n = y.shape.count();
    for (int64_t i = 0; i < n; ++i) has_zero = has_zero || y.as<T>()[i] == T(0);
  });
  return has_zero ? context.fail(Status::kInvalidValue, "integer division by zero") : Status::kOk;
}

Status run_binary(Context& context, Binary function) {
  arithmetic_tensors(context, function, context.state_as<Broadcast>(), context.input(0), context.input(1), context.output(0));
  return Status::kOk;
}

/// out = f(f(in0, in1), in2) ...: the first step reads the first input broadcast against itself.
Status run_variadic(Context& context, Binary function) {
  Tensor& out = context.output(0);
  const int n = context.input_count;
  for (int i = n == 1 ? 0 : 1; i < n; ++i) {
    const Tensor& left = i <= 1 ? context.input(0) : out;
    const Tensor& right = context.input(i);
    const Shape* shapes[] = {&left.shape, &right.shape};
    const Binary step = n == 1 ? Binary::kMax : function;  // one input: max(x, x) is a copy
    arithmetic_tensors(context, step, plan_broadcast(out.shape, shapes, 2), left, right, out);
  }
  return Status::kOk;
}

}  // namespace

Status broadcast_infer(Context& context, DType out) {
  PENLIGHT_TRY(check_same_dtype(context, 1, 0));
  Shape shape;
  PENLIGHT_TRY(broadcast_shapes(context, context.input(0).shape, context.input(1).shape, &shape));
  PENLIGHT_TRY(set_output(context, 0, out, shape));
  const Shape* shapes[] = {&context.input(0).shape, &context.input(1).shape};
  const Broadcast& plan = context.state_as<Broadcast>() = plan_broadcast(shape, shapes, 2);
  const auto count = static_cast<uint64_t>(shape.count());
  const uint64_t starts = count == 0 ? 0 : 8 * (count / static_cast<uint64_t>(plan.dims[plan.rank - 1]));  // of rows
  context.macs = count > starts ? count : starts;
  return Status::kOk;
}

Status arithmetic_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kNumericTypes));
  return broadcast_infer(context, context.input(0).dtype);
}

Status prelu_infer(Context& context) {
  PENLIGHT_TRY(arithmetic_infer(context));
  if (same_shape(context.output(0).shape, context.input(0).shape)) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "the slope does not broadcast to the shape of x");
}

Status variadic_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kNumericTypes));
  Shape shape = context.input(0).shape;
  for (int i = 1; i < context.input_count; ++i) {
    PENLIGHT_TRY(check_same_dtype(context, i, 0));
    PENLIGHT_TRY(broadcast_shapes(context, shape, context.input(i).shape, &shape));
  }
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, shape));
  context.macs = saturating_mul(static_cast<uint64_t>(shape.count()), static_cast<uint64_t>(context.input_count));
  return Status::kOk;
}

Status mean_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  return variadic_infer(context);
}

Status add_run(Context& context) { return run_binary(context, Binary::kAdd); }
Status sub_run(Context& context) { return run_binary(context, Binary::kSub); }
Status mul_run(Context& context) { return run_binary(context, Binary::kMul); }
Status prelu_run(Context& context) { return run_binary(context, Binary::kPRelu); }

Status div_run(Context& context) {
  if (context.output(0).shape.count() > 0) PENLIGHT_TRY(check_divisors(context, context.input(1)));
  return run_binary(context, Binary::kDiv);
}

Status sum_run(Context& context) { return run_variadic(context, Binary::kAdd); }
Status max_run(Context& context) { return run_variadic(context, Binary::kMax); }
Status min_run(Context& context) { return run_variadic(context, Binary::kMin); }

Status mean_run(Context& context) {
  PENLIGHT_TRY(run_variadic(context, Binary::kAdd));
  Tensor& out = context.output(0);
  const int64_t n = out.shape.count();
  const float scale = 1.0f / static_cast<float>(context.input_count);
  FloatTypes::call(out.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    using C = typename Element<T>::Compute;
    for (int64_t i = 0; i < n; ++i) out.as<T>()[i] = T(static_cast<C>(out.as<T>()[i]) * static_cast<C>(scale));
  });
  return Status::kOk;
}

}  // namespace penlight
