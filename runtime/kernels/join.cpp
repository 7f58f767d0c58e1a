// Concat and Split: whole rows from or to several tensors. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "shape_rules.h"

namespace penlight {

namespace {

/// Bytes of one row of a tensor: everything from `axis` on.
size_t join_row_bytes(const Tensor& tensor, int axis) {
  return static_cast<size_t>(dims_product(tensor.shape, axis, tensor.shape.rank)) * dtype_size(tensor.dtype);
}

/// The sizes of the parts: given, or as equal as num_outputs allows, the last being smaller.
Status split_sizes(Context& context, int64_t size, int64_t* parts) {
  int count = 0;
  if (context.input(1).present()) {
    PENLIGHT_TRY(read_known_integers(context, 1, "split", parts, kMaxOperands, &count));
  } else {
    const int64_t n = context.attributes->integers("split", parts, kMaxOperands);
    count = n > 0 && n <= kMaxOperands ? static_cast<int>(n) : 0;
  }
  const int outputs = context.output_count;
  const int64_t part = (size + outputs - 1) / outputs;
  int64_t left = size;
  for (int i = 0; i < outputs; ++i) {
    if (count == 0) parts[i] = left < part ? left : part;
    if (parts[i] < 0 || parts[i] > left) {
      left = -1;
      break;
    }
    left -= parts[i];
  }
  if ((count == 0 || count == outputs) && left == 0) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "the parts do not add up to %lld in %d outputs", static_cast<long long>(size),
                      outputs);
}

int join_axis(Context& context, int rank) {
  const int64_t axis = context.attributes->integer("axis", 0);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

}  // namespace

Status concat_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  Shape out = context.input(0).shape;
  int axis = 0;
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  PENLIGHT_TRY(normalize_axis(context, context.attributes->integer("axis", 1), out.rank, &axis));
  for (int i = 1; i < context.input_count; ++i) {
    PENLIGHT_TRY(check_same_dtype(context, i, 0));
    PENLIGHT_TRY(check_rank(context, i, out.rank, out.rank));
    const Shape& shape = context.input(i).shape;
    for (int d = 0; d < out.rank; ++d)
      if (d != axis && shape.dims[d] != out.dims[d])
        return context.fail(Status::kShapeMismatch, "input %d has size %lld along dimension %d, input 0 has %lld", i,
                            static_cast<long long>(shape.dims[d]), d, static_cast<long long>(out.dims[d]));
    if (!checked_add(out.dims[axis], shape.dims[axis], &out.dims[axis]))
      return context.fail(Status::kShapeMismatch, "the output is too large");
  }
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  context.macs = static_cast<uint64_t>(out.count());
  return Status::kOk;
}

Status concat_run(Context& context) {
  Tensor& y = context.output(0);
  if (y.shape.count() == 0) return Status::kOk;
  int axis = static_cast<int>(context.attributes->integer("axis", 1));
  axis = axis < 0 ? axis + y.shape.rank : axis;
  const size_t rows = static_cast<size_t>(dims_product(y.shape, 0, axis)), whole = join_row_bytes(y, axis);
  size_t at = 0;
  for (int i = 0; i < context.input_count; ++i) {
    const size_t bytes = join_row_bytes(context.input(i), axis);
    for (size_t r = 0; bytes > 0 && r < rows; ++r)
      memcpy(y.as<char>() + r * whole + at, context.input(i).as<char>() + r * bytes, bytes);
    at += bytes;
  }
  return Status::kOk;
}

Status split_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  const Shape& x = context.input(0).shape;
  int axis = 0;
  PENLIGHT_TRY(normalize_axis(context, context.attributes->integer("axis", 0), x.rank, &axis));
  int64_t parts[kMaxOperands];
  PENLIGHT_TRY(split_sizes(context, x.dims[axis], parts));
  for (int i = 0; i < context.output_count; ++i) {
    Shape part = x;
    part.dims[axis] = parts[i];
    PENLIGHT_TRY(set_output(context, i, context.input(0).dtype, part));
  }
  context.macs = static_cast<uint64_t>(x.count());
  return Status::kOk;
}

Status split_run(Context& context) {
  const Tensor& x = context.input(0);
  const int axis = join_axis(context, x.shape.rank);
  const size_t rows = static_cast<size_t>(dims_product(x.shape, 0, axis)), whole = join_row_bytes(x, axis);
  size_t at = 0;
  for (int i = 0; i < context.output_count; ++i) {
    const size_t bytes = join_row_bytes(context.output(i), axis);
    for (size_t r = 0; bytes > 0 && r < rows; ++r)
      memcpy(context.output(i).as<char>() + r * bytes, x.as<char>() + r * whole + at, bytes);
    at += bytes;
  }
  return Status::kOk;
}

}  // namespace penlight
