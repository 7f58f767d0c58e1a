// Comparisons, logic of booleans, and the choice between two tensors. SPDX-License-Identifier: Apache-2.0
#include "binary.h"
#include "broadcast.h"

namespace penlight {

namespace {

enum class Order { kEqual, kLess, kLessOrEqual, kGreater, kGreaterOrEqual };

using CompareRow = void (*)(Order order, const void* x, int64_t x_step, const void* y, int64_t y_step, uint8_t* z, int64_t n);

template <typename T>
void compare_row(Order order, const void* x, int64_t x_step, const void* y, int64_t y_step, uint8_t* z, int64_t n) {
  using C = typename Element<T>::Compute;
  const T *a = static_cast<const T*>(x), *b = static_cast<const T*>(y);
  for (int64_t i = 0; i < n; ++i) {
    const C left = static_cast<C>(a[i * x_step]), right = static_cast<C>(b[i * y_step]);
    bool holds = false;
    switch (order) {
      case Order::kEqual:
        holds = left == right;
        break;
      case Order::kLess:
        holds = left < right;
        break;
      case Order::kLessOrEqual:
        holds = left <= right;
        break;
      case Order::kGreater:
        holds = left > right;
        break;
      case Order::kGreaterOrEqual:
        holds = left >= right;
        break;
    }
    z[i] = holds ? 1 : 0;
  }
}

Status run_compare(Context& context, Order order) {
  const Tensor &x = context.input(0), &y = context.input(1);
  uint8_t* z = context.output(0).as<uint8_t>();
  const Broadcast& plan = context.state_as<Broadcast>();
  const int inner = plan.rank - 1;
  const int64_t size = static_cast<int64_t>(dtype_size(x.dtype));
  CompareRow row = nullptr;
  with_any_type(x.dtype, [&](auto tag) { row = compare_row<typename decltype(tag)::Type>; });
  parallel_broadcast_rows(context_parallel(context), plan, [&](int64_t out, const int64_t* offsets) {
    row(order, x.as<char>() + offsets[0] * size, plan.strides[0][inner], y.as<char>() + offsets[1] * size, plan.strides[1][inner],
        z + out, plan.dims[inner]);
  });
  return Status::kOk;
}

enum class Logic { kAnd, kOr, kXor };

Status run_logic(Context& context, Logic logic) {
  const uint8_t *x = context.input(0).as<uint8_t>(), *y = context.input(1).as<uint8_t>();
  uint8_t* z = context.output(0).as<uint8_t>();
  const Broadcast& plan = context.state_as<Broadcast>();
  const int inner = plan.rank - 1;
  broadcast_rows(plan, 0, broadcast_row_count(plan), [&](int64_t out, const int64_t* offsets) {
    for (int64_t i = 0; i < plan.dims[inner]; ++i) {
      const bool a = x[offsets[0] + i * plan.strides[0][inner]] != 0, b = y[offsets[1] + i * plan.strides[1][inner]] != 0;
      z[out + i] = (logic == Logic::kAnd ? a && b : logic == Logic::kOr ? a || b : a != b) ? 1 : 0;
    }
  });
  return Status::kOk;
}

using WhereRow = void (*)(const uint8_t* choice, const void* x, const void* y, void* z, const int64_t* steps, int64_t n);

template <typename T>
void where_row(const uint8_t* choice, const void* x, const void* y, void* z, const int64_t* steps, int64_t n) {
  const T *a = static_cast<const T*>(x), *b = static_cast<const T*>(y);
  for (int64_t i = 0; i < n; ++i) static_cast<T*>(z)[i] = choice[i * steps[0]] != 0 ? a[i * steps[1]] : b[i * steps[2]];
}

Status classify_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  context.macs = static_cast<uint64_t>(context.input(0).shape.count());
  return set_output(context, 0, DType::kBool, context.input(0).shape);
}

}  // namespace

Status equal_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  return broadcast_infer(context, DType::kBool);
}

Status order_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kNumericTypes));
  return broadcast_infer(context, DType::kBool);
}

Status equal_run(Context& context) { return run_compare(context, Order::kEqual); }
Status less_run(Context& context) { return run_compare(context, Order::kLess); }
Status less_or_equal_run(Context& context) { return run_compare(context, Order::kLessOrEqual); }
Status greater_run(Context& context) { return run_compare(context, Order::kGreater); }
Status greater_or_equal_run(Context& context) { return run_compare(context, Order::kGreaterOrEqual); }

Status logic_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, dtype_bit(DType::kBool)));
  return broadcast_infer(context, DType::kBool);
}

Status and_run(Context& context) { return run_logic(context, Logic::kAnd); }
Status or_run(Context& context) { return run_logic(context, Logic::kOr); }
Status xor_run(Context& context) { return run_logic(context, Logic::kXor); }

Status not_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, dtype_bit(DType::kBool)));
  context.macs = static_cast<uint64_t>(context.input(0).shape.count());
  return set_output(context, 0, DType::kBool, context.input(0).shape);
}

Status not_run(Context& context) {
  const int64_t n = context.input(0).shape.count();
  for (int64_t i = 0; i < n; ++i) context.output(0).as<uint8_t>()[i] = context.input(0).as<uint8_t>()[i] == 0 ? 1 : 0;
  return Status::kOk;
}

Status is_nan_infer(Context& context) { return classify_infer(context); }

Status is_nan_run(Context& context) {
  const Tensor& x = context.input(0);
  const int64_t n = x.shape.count();
  FloatTypes::call(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    for (int64_t i = 0; i < n; ++i) {
      const auto value = static_cast<typename Element<T>::Compute>(x.as<T>()[i]);
      context.output(0).as<uint8_t>()[i] = value != value ? 1 : 0;
    }
  });
  return Status::kOk;
}

Status is_inf_infer(Context& context) { return classify_infer(context); }

Status is_inf_run(Context& context) {
  const Tensor& x = context.input(0);
  const bool negative = context.attributes->integer("detect_negative", 1) != 0;
  const bool positive = context.attributes->integer("detect_positive", 1) != 0;
  const int64_t n = x.shape.count();
  FloatTypes::call(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    for (int64_t i = 0; i < n; ++i) {
      const double value = static_cast<double>(static_cast<typename Element<T>::Compute>(x.as<T>()[i]));
      const bool found = (positive && value > 1.79769313486231571e308) || (negative && value < -1.79769313486231571e308);
      context.output(0).as<uint8_t>()[i] = found ? 1 : 0;
    }
  });
  return Status::kOk;
}

Status where_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, dtype_bit(DType::kBool)));
  PENLIGHT_TRY(check_dtype(context, 1, kAllTypes));
  PENLIGHT_TRY(check_same_dtype(context, 2, 1));
  Shape shape;
  PENLIGHT_TRY(broadcast_shapes(context, context.input(0).shape, context.input(1).shape, &shape));
  PENLIGHT_TRY(broadcast_shapes(context, shape, context.input(2).shape, &shape));
  PENLIGHT_TRY(set_output(context, 0, context.input(1).dtype, shape));
  const Shape* shapes[] = {&context.input(0).shape, &context.input(1).shape, &context.input(2).shape};
  context.state_as<Broadcast>() = plan_broadcast(shape, shapes, 3);
  context.macs = static_cast<uint64_t>(shape.count());
  return Status::kOk;
}

Status where_run(Context& context) {
  const Broadcast& plan = context.state_as<Broadcast>();
  const int inner = plan.rank - 1;
  const int64_t size = static_cast<int64_t>(dtype_size(context.input(1).dtype));
  WhereRow row = nullptr;
  with_element_size(dtype_size(context.input(1).dtype), [&](auto tag) { row = where_row<typename decltype(tag)::Type>; });
  parallel_broadcast_rows(context_parallel(context), plan, [&](int64_t out, const int64_t* offsets) {
    const int64_t steps[] = {plan.strides[0][inner], plan.strides[1][inner], plan.strides[2][inner]};
    row(context.input(0).as<uint8_t>() + offsets[0], context.input(1).as<char>() + offsets[1] * size,
        context.input(2).as<char>() + offsets[2] * size, context.output(0).as<char>() + out * size, steps, plan.dims[inner]);
  });
  return Status::kOk;
}

}  // namespace penlight
