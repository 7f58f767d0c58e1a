// Operators on the bits of integers: And, Or, Xor, Not, shifts and BitCast. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "broadcast.h"

namespace penlight {

namespace {

constexpr uint32_t kBitwiseTypes = kSignedTypes | kUnsignedTypes;

Status bitwise_operands(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kBitwiseTypes));
  PENLIGHT_TRY(check_same_dtype(context, 1, 0));
  Shape out;
  PENLIGHT_TRY(broadcast_shapes(context, context.input(0).shape, context.input(1).shape, &out));
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  context.macs = static_cast<uint64_t>(out.count());
  return Status::kOk;
}

/// y = function(a, b) on broadcast operands of an integer type.
template <typename T, typename Function>
void bitwise_rows(Context& context, Function&& function) {
  const Tensor &a = context.input(0), &b = context.input(1);
  Tensor& y = context.output(0);
  const Shape* shapes[] = {&a.shape, &b.shape};
  const Broadcast plan = plan_broadcast(y.shape, shapes, 2);
  const int last = plan.rank - 1;
  const int64_t n = plan.dims[last], a_step = plan.strides[0][last], b_step = plan.strides[1][last];
  parallel_broadcast_rows(context_parallel(context), plan, [&](int64_t at, const int64_t* offsets) {
    const T *left = a.as<T>() + offsets[0], *right = b.as<T>() + offsets[1];
    for (int64_t i = 0; i < n; ++i) y.as<T>()[at + i] = static_cast<T>(function(left[i * a_step], right[i * b_step]));
  });
}

template <typename Function>
Status run_bitwise(Context& context, Function&& function) {
  with_element_size(dtype_size(context.input(0).dtype),
                    [&](auto tag) { bitwise_rows<typename decltype(tag)::Type>(context, function); });
  return Status::kOk;
}

/// A count of the width or more leaves nothing (or, of a negative number to the right, its sign).
template <typename T>
T shifted_left(T value, T count) {
  if (count < T(0) || static_cast<uint64_t>(count) >= 8 * sizeof(T)) return T(0);
  return static_cast<T>(static_cast<uint64_t>(value) << static_cast<uint64_t>(count));
}

template <typename T>
T shifted_right(T value, T count) {
  if (count < T(0) || static_cast<uint64_t>(count) >= 8 * sizeof(T)) return static_cast<T>(value < T(0) ? -1 : 0);
  return static_cast<T>(value >> count);
}

}  // namespace

Status bitwise_infer(Context& context) { return bitwise_operands(context); }

Status bitwise_and_run(Context& context) {
  return run_bitwise(context, [](auto a, auto b) { return a & b; });
}
Status bitwise_or_run(Context& context) {
  return run_bitwise(context, [](auto a, auto b) { return a | b; });
}
Status bitwise_xor_run(Context& context) {
  return run_bitwise(context, [](auto a, auto b) { return a ^ b; });
}

Status bitwise_not_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kBitwiseTypes));
  context.macs = static_cast<uint64_t>(context.input(0).shape.count());
  return set_output(context, 0, context.input(0).dtype, context.input(0).shape);
}

Status bitwise_not_run(Context& context) {
  const size_t bytes = static_cast<size_t>(context.input(0).shape.count()) * dtype_size(context.input(0).dtype);
  const uint8_t* x = context.input(0).as<uint8_t>();
  uint8_t* y = context.output(0).as<uint8_t>();
  for (size_t i = 0; i < bytes; ++i) y[i] = static_cast<uint8_t>(~x[i]);
  return Status::kOk;
}

Status bit_shift_infer(Context& context) {
  const char* direction = context.attributes->text("direction");
  if (direction == nullptr || (strcmp(direction, "LEFT") != 0 && strcmp(direction, "RIGHT") != 0))
    return context.fail(Status::kInvalidProgram, "direction must be LEFT or RIGHT");
  return bitwise_operands(context);
}

Status bit_shift_run(Context& context) {
  const bool left = strcmp(context.attributes->text("direction"), "LEFT") == 0;
  with_numeric_type(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    if constexpr (!Element<T>::kIsFloat) {
      if (left)
        bitwise_rows<T>(context, [](T a, T b) { return shifted_left(a, b); });
      else
        bitwise_rows<T>(context, [](T a, T b) { return shifted_right(a, b); });
    }
  });
  return Status::kOk;
}

/// The attribute `to` is ONNX's number of an element type of the same size.
Status bit_cast_infer(Context& context) {
  constexpr DType kTypes[] = {DType::kNone, DType::kF32, DType::kU8,   DType::kI8,   DType::kU16, DType::kI16,
                              DType::kI32,  DType::kI64, DType::kNone, DType::kBool, DType::kF16, DType::kF64,
                              DType::kU32,  DType::kU64, DType::kNone, DType::kNone, DType::kBF16};
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  const int64_t to = context.attributes->integer("to", 0);
  const DType dtype = to < 0 || to > 16 ? DType::kNone : kTypes[to];
  if (dtype == DType::kNone || dtype_size(dtype) != dtype_size(context.input(0).dtype) || dtype == DType::kBool)
    return context.fail(Status::kUnsupportedOperator, "element type %lld does not have the size of %s", static_cast<long long>(to),
                        dtype_name(context.input(0).dtype));
  context.macs = static_cast<uint64_t>(context.input(0).shape.count());
  return set_output(context, 0, dtype, context.input(0).shape);
}

Status bit_cast_run(Context& context) {
  const size_t bytes = static_cast<size_t>(context.input(0).shape.count()) * dtype_size(context.input(0).dtype);
  if (bytes > 0) memcpy(context.output(0).data, context.input(0).data, bytes);
  return Status::kOk;
}

}  // namespace penlight
