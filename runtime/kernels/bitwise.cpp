// Operators on the bits of integers: And, Or, Xor, Not, shifts and BitCast. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "broadcast.h"
#include "rare_elements.h"

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

enum class Bits { kAnd, kOr, kXor };

using BitsRow = void (*)(Bits function, const void* x, int64_t x_step, const void* y, int64_t y_step, void* z, int64_t n);

template <typename T>
void bits_row(Bits function, const void* x, int64_t x_step, const void* y, int64_t y_step, void* z, int64_t n) {
  const T *a = static_cast<const T*>(x), *b = static_cast<const T*>(y);
  for (int64_t i = 0; i < n; ++i) {
    const T left = a[i * x_step], right = b[i * y_step];
    static_cast<T*>(z)[i] = static_cast<T>(function == Bits::kAnd  ? left & right
                                           : function == Bits::kOr ? left | right
                                                                   : left ^ right);
  }
}

/// Calls row(x, x_step, y, y_step, z, n) for the rows of broadcast operands.
template <typename Row>
Status run_rows(Context& context, Row&& row) {
  const Tensor &a = context.input(0), &b = context.input(1);
  Tensor& y = context.output(0);
  const Shape* shapes[] = {&a.shape, &b.shape};
  const Broadcast plan = plan_broadcast(y.shape, shapes, 2);
  const int last = plan.rank - 1;
  const int64_t size = static_cast<int64_t>(dtype_size(y.dtype));
  parallel_broadcast_rows(context_parallel(context), plan, [&](int64_t at, const int64_t* offsets) {
    row(a.as<char>() + offsets[0] * size, plan.strides[0][last], b.as<char>() + offsets[1] * size, plan.strides[1][last],
        y.as<char>() + at * size, plan.dims[last]);
  });
  return Status::kOk;
}

Status run_bitwise(Context& context, Bits function) {
  BitsRow row = nullptr;
  with_element_size(dtype_size(context.input(0).dtype), [&](auto tag) { row = bits_row<typename decltype(tag)::Type>; });
  return run_rows(context, [=](const void* x, int64_t x_step, const void* y, int64_t y_step, void* z, int64_t n) {
    row(function, x, x_step, y, y_step, z, n);
  });
}

/// A count of the width or more leaves nothing (or, of a negative number to the right, its sign).
int64_t shifted(int64_t value, int64_t count, bool left, bool is_signed, int64_t width) {
  const bool beyond = count < 0 || count >= width;
  if (left) return beyond ? 0 : static_cast<int64_t>(static_cast<uint64_t>(value) << count);
  if (is_signed) return beyond ? (value < 0 ? -1 : 0) : value >> count;
  return beyond ? 0 : static_cast<int64_t>(static_cast<uint64_t>(value) >> count);
}

}  // namespace

Status bitwise_infer(Context& context) { return bitwise_operands(context); }

Status bitwise_and_run(Context& context) { return run_bitwise(context, Bits::kAnd); }
Status bitwise_or_run(Context& context) { return run_bitwise(context, Bits::kOr); }
Status bitwise_xor_run(Context& context) { return run_bitwise(context, Bits::kXor); }

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
  const WholeElements elements = whole_elements(context.input(0).dtype);
  const int64_t width = 8 * static_cast<int64_t>(dtype_size(context.input(0).dtype));
  return run_rows(context, [=](const void* x, int64_t x_step, const void* y, int64_t y_step, void* z, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t value = elements.read(x, i * x_step), count = elements.read(y, i * y_step);
      elements.write(z, i, shifted(value, count, left, elements.is_signed, width));
    }
  });
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
