// Operators that keep the elements as they lie and change the shape alone. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "shape_rules.h"

namespace penlight {

namespace {

Status declare_same_elements(Context& context, const Shape& shape) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, shape));
  const long long from = context.input(0).shape.count(), to = shape.count();
  if (from != to) return context.fail(Status::kShapeMismatch, "the input has %lld elements, the new shape %lld", from, to);
  context.macs = static_cast<uint64_t>(from);
  return Status::kOk;
}

/// Replaces the one -1 by what the element count leaves for it.
Status fill_unknown_size(Context& context, Shape* shape, int unknown) {
  int64_t rest = 1;
  for (int i = 0; i < shape->rank; ++i)
    if (i != unknown && !checked_mul(rest, shape->dims[i], &rest))
      return context.fail(Status::kShapeMismatch, "the shape is too large");
  const long long count = context.input(0).shape.count();
  if (rest == 0 || count % rest != 0)
    return context.fail(Status::kShapeMismatch, "%lld elements do not divide into the given sizes, whose product is %lld", count,
                        static_cast<long long>(rest));
  shape->dims[unknown] = count / rest;
  return Status::kOk;
}

Status squeezed_shape(Context& context, uint32_t mask, bool all_ones, Shape* out) {
  const Shape& shape = context.input(0).shape;
  for (int i = 0; i < shape.rank; ++i) {
    const bool named = (mask >> i & 1u) != 0;
    if (named && shape.dims[i] != 1)
      return context.fail(Status::kShapeMismatch, "dimension %d has size %lld, only size 1 can be squeezed", i,
                          static_cast<long long>(shape.dims[i]));
    if (!named && !(all_ones && shape.dims[i] == 1)) out->dims[out->rank++] = shape.dims[i];
  }
  return Status::kOk;
}

/// Axes from input 1 (opset 13 on) or from the attribute; `*given` is false when neither is there.
Status reshape_axes(Context& context, int64_t* axes, int* count, bool* given) {
  *count = 0;
  *given = true;
  if (context.input(1).present()) return read_known_integers(context, 1, "axes", axes, kMaxRank, count);
  const int64_t n = context.attributes->integers("axes", axes, kMaxRank);
  if (n > kMaxRank) return context.fail(Status::kInvalidProgram, "%lld axes are too many", static_cast<long long>(n));
  *given = n >= 0;
  *count = n < 0 ? 0 : static_cast<int>(n);
  return Status::kOk;
}

}  // namespace

Status reshape_infer(Context& context) {
  int64_t dims[kMaxRank];
  int count = 0, unknown = -1;
  PENLIGHT_TRY(read_known_integers(context, 1, "shape", dims, kMaxRank, &count));
  const bool allow_zero = context.attributes->integer("allowzero", 0) != 0;
  Shape shape = make_shape(dims, count);
  for (int i = 0; i < count; ++i) {
    if (dims[i] == 0 && !allow_zero) {
      if (i >= context.input(0).shape.rank)
        return context.fail(Status::kShapeMismatch, "size 0 at position %d copies a dimension that the input does not have", i);
      shape.dims[i] = context.input(0).shape.dims[i];
    }
    if (dims[i] < -1 || (dims[i] == -1 && unknown >= 0))
      return context.fail(Status::kShapeMismatch, "size %lld at position %d: only one -1 is allowed",
                          static_cast<long long>(dims[i]), i);
    if (dims[i] == -1) unknown = i;
  }
  if (unknown >= 0) PENLIGHT_TRY(fill_unknown_size(context, &shape, unknown));
  return declare_same_elements(context, shape);
}

Status flatten_infer(Context& context) {
  const Shape& in = context.input(0).shape;
  int64_t axis = context.attributes->integer("axis", 1);
  if (axis < -in.rank || axis > in.rank)
    return context.fail(Status::kShapeMismatch, "axis %lld is out of range for rank %d", static_cast<long long>(axis), in.rank);
  axis = axis < 0 ? axis + in.rank : axis;
  const int64_t dims[] = {dims_product(in, 0, static_cast<int>(axis)), dims_product(in, static_cast<int>(axis), in.rank)};
  return declare_same_elements(context, make_shape(dims, 2));
}

Status squeeze_infer(Context& context) {
  int64_t axes[kMaxRank];
  int count = 0;
  bool given = false;
  PENLIGHT_TRY(reshape_axes(context, axes, &count, &given));
  uint32_t mask = 0;
  PENLIGHT_TRY(axes_to_mask(context, axes, count, context.input(0).shape.rank, &mask));
  Shape shape;
  PENLIGHT_TRY(squeezed_shape(context, mask, !given, &shape));
  return declare_same_elements(context, shape);
}

Status unsqueeze_infer(Context& context) {
  int64_t axes[kMaxRank];
  int count = 0;
  bool given = false;
  PENLIGHT_TRY(reshape_axes(context, axes, &count, &given));
  const Shape& in = context.input(0).shape;
  if (in.rank + count > kMaxRank) return context.fail(Status::kShapeMismatch, "rank %d is too large", in.rank + count);
  Shape shape;
  shape.rank = in.rank + count;
  uint32_t mask = 0;
  PENLIGHT_TRY(axes_to_mask(context, axes, count, shape.rank, &mask));
  for (int i = 0, from = 0; i < shape.rank; ++i) shape.dims[i] = (mask >> i & 1u) != 0 ? 1 : in.dims[from++];
  return declare_same_elements(context, shape);
}

Status identity_infer(Context& context) { return declare_same_elements(context, context.input(0).shape); }

/// Inference only: the values pass and the mask is all true.
Status dropout_infer(Context& context) {
  const Tensor& training = context.input(2);
  if (training.present() && (training.dtype != DType::kBool || training.shape.count() != 1))
    return context.fail(Status::kShapeMismatch, "training_mode must be one truth value");
  if (context.output_count > 1) PENLIGHT_TRY(set_output(context, 1, DType::kBool, context.input(0).shape));
  return identity_infer(context);
}

Status copy_run(Context& context) {
  const Tensor& x = context.input(0);
  const size_t bytes = static_cast<size_t>(x.shape.count()) * dtype_size(x.dtype);
  if (bytes > 0) memcpy(context.output(0).data, x.data, bytes);
  return Status::kOk;
}

Status dropout_run(Context& context) {
  if (context.input(2).present() && *context.input(2).as<uint8_t>() != 0)
    return context.fail(Status::kInvalidValue, "training mode is on; export the model for inference");
  if (context.output_count > 1) memset(context.output(1).data, 1, static_cast<size_t>(context.output(1).shape.count()));
  return copy_run(context);
}

Status constant_infer(Context& context) {
  const Tensor value = context.attributes->tensor("value");
  if (!value.present()) return context.fail(Status::kUnsupportedOperator, "only the attribute 'value' is taken");
  context.macs = static_cast<uint64_t>(value.shape.count());
  return set_output(context, 0, value.dtype, value.shape);
}

Status constant_run(Context& context) {
  const Tensor value = context.attributes->tensor("value");
  const size_t bytes = static_cast<size_t>(value.shape.count()) * dtype_size(value.dtype);
  if (bytes > 0) memcpy(context.output(0).data, value.data, bytes);
  return Status::kOk;
}

}  // namespace penlight
