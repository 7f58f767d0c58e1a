// Operators that move elements in regular patterns: all of them are one strided copy. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "shape_rules.h"
#include "strided.h"

namespace penlight {

namespace {

/// The copy that `run` makes; the source begins `offset` elements into the input.
struct LayoutState {
  StridedCopy copy;
  int64_t offset = 0;
};

Status declare_layout(Context& context, const Shape& out) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  context.macs = static_cast<uint64_t>(out.count());
  context.state_as<LayoutState>() = LayoutState{};
  return Status::kOk;
}

/// Reads a list that is an input from one opset on and an attribute before; -1 when it is neither.
Status layout_list(Context& context, int input, const char* name, int64_t* values, int* count) {
  *count = -1;
  if (context.input(input).present()) return read_known_integers(context, input, name, values, kMaxRank, count);
  const int64_t n = context.attributes->integers(name, values, kMaxRank);
  if (n > kMaxRank) return context.fail(Status::kInvalidProgram, "%s has %lld entries", name, static_cast<long long>(n));
  *count = static_cast<int>(n);
  return Status::kOk;
}

struct SliceList {
  int64_t starts[kMaxRank], ends[kMaxRank], axes[kMaxRank], steps[kMaxRank];
  int count = 0;
};

Status read_slices(Context& context, SliceList* list) {
  const bool inputs = context.version >= 10;
  int ends = 0, axes = 0, steps = 0;
  PENLIGHT_TRY(layout_list(context, inputs ? 1 : kMaxOperands, "starts", list->starts, &list->count));
  PENLIGHT_TRY(layout_list(context, inputs ? 2 : kMaxOperands, "ends", list->ends, &ends));
  PENLIGHT_TRY(layout_list(context, inputs ? 3 : kMaxOperands, "axes", list->axes, &axes));
  PENLIGHT_TRY(layout_list(context, inputs ? 4 : kMaxOperands, "steps", list->steps, &steps));
  if (list->count < 0 || ends != list->count || (axes >= 0 && axes != list->count) || (steps >= 0 && steps != list->count))
    return context.fail(Status::kShapeMismatch, "starts, ends, axes and steps must have one length");
  for (int i = 0; i < list->count; ++i) {
    if (axes < 0) list->axes[i] = i;
    if (steps < 0) list->steps[i] = 1;
    if (list->steps[i] == 0) return context.fail(Status::kInvalidProgram, "a step is 0");
  }
  return Status::kOk;
}

int64_t clamp_index(int64_t value, int64_t low, int64_t high) { return value < low ? low : value > high ? high : value; }

/// NumPy's rule for start:end:step on a dimension of `size`.
void slice_range(int64_t size, int64_t start, int64_t end, int64_t step, int64_t* first, int64_t* count) {
  start = start < 0 ? (start < -size ? -1 : start + size) : start;  // -1: before the first
  end = end < 0 ? (end < -size ? -1 : end + size) : end;
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  start = clamp_index(start, low, high);
  end = clamp_index(end, low, high);
  *first = start;
  const int64_t distance = step > 0 ? end - start : start - end;
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : uint64_t{0} - static_cast<uint64_t>(step);
  *count = distance <= 0 ? 0 : static_cast<int64_t>((static_cast<uint64_t>(distance) - 1) / stride) + 1;
}

Status block_size(Context& context, int64_t* block) {
  PENLIGHT_TRY(check_rank(context, 0, 4, 4));
  *block = context.attributes->integer("blocksize", 0);
  if (*block >= 1 && *block <= INT32_MAX) return Status::kOk;
  return context.fail(Status::kInvalidProgram, "blocksize is %lld", static_cast<long long>(*block));
}

/// mode "CRD": channels outside of the blocks; the default "DCR": inside.
bool is_column_row_depth(Context& context) {
  const char* mode = context.attributes->text("mode");
  return mode != nullptr && strcmp(mode, "CRD") == 0;
}

}  // namespace

Status transpose_infer(Context& context) {
  const Shape& x = context.input(0).shape;
  int64_t perm[kMaxRank];
  const int64_t n = context.attributes->integers("perm", perm, kMaxRank);
  if (n >= 0 && n != x.rank)
    return context.fail(Status::kInvalidProgram, "perm has %lld entries for rank %d", static_cast<long long>(n), x.rank);
  uint32_t mask = 0;
  if (n >= 0) PENLIGHT_TRY(axes_to_mask(context, perm, x.rank, x.rank, &mask));
  Shape out;
  out.rank = x.rank;
  for (int i = 0; i < x.rank; ++i) {
    perm[i] = n < 0 ? x.rank - 1 - i : perm[i] < 0 ? perm[i] + x.rank : perm[i];
    out.dims[i] = x.dims[perm[i]];
  }
  PENLIGHT_TRY(declare_layout(context, out));
  int64_t from[kMaxRank], to[kMaxRank];
  row_major_strides(x, from);
  row_major_strides(out, to);
  StridedCopy& copy = context.state_as<LayoutState>().copy;
  for (int i = 0; i < x.rank; ++i) strided_dimension(&copy, out.dims[i], to[i], from[perm[i]]);
  return Status::kOk;
}

Status expand_infer(Context& context) {
  int64_t dims[kMaxRank];
  int count = 0;
  PENLIGHT_TRY(read_known_integers(context, 1, "shape", dims, kMaxRank, &count));
  for (int i = 0; i < count; ++i)
    if (dims[i] < 0) return context.fail(Status::kShapeMismatch, "size %lld at position %d", static_cast<long long>(dims[i]), i);
  const Shape& x = context.input(0).shape;
  Shape out;
  PENLIGHT_TRY(broadcast_shapes(context, x, make_shape(dims, count), &out));
  PENLIGHT_TRY(declare_layout(context, out));
  int64_t from[kMaxRank], to[kMaxRank];
  row_major_strides(x, from);
  row_major_strides(out, to);
  for (int i = 0; i < out.rank; ++i) {
    const int own = i - (out.rank - x.rank);
    const bool repeated = own < 0 || (x.dims[own] == 1 && out.dims[i] != 1);
    strided_dimension(&context.state_as<LayoutState>().copy, out.dims[i], to[i], repeated ? 0 : from[own]);
  }
  return Status::kOk;
}

Status tile_infer(Context& context) {
  int64_t repeats[kMaxRank];
  int count = 0;
  PENLIGHT_TRY(read_known_integers(context, 1, "repeats", repeats, kMaxRank, &count));
  const Shape& x = context.input(0).shape;
  if (count != x.rank) return context.fail(Status::kShapeMismatch, "repeats has %d entries for rank %d", count, x.rank);
  Shape out;
  out.rank = x.rank;
  for (int i = 0; i < x.rank; ++i)
    if (repeats[i] < 0 || !checked_mul(x.dims[i], repeats[i], &out.dims[i]))
      return context.fail(Status::kShapeMismatch, "%lld repeats along axis %d", static_cast<long long>(repeats[i]), i);
  PENLIGHT_TRY(declare_layout(context, out));
  int64_t from[kMaxRank], to[kMaxRank];
  row_major_strides(x, from);
  row_major_strides(out, to);
  StridedCopy& copy = context.state_as<LayoutState>().copy;
  for (int i = 0; i < x.rank; ++i) {
    strided_dimension(&copy, repeats[i], to[i] * x.dims[i], 0);
    strided_dimension(&copy, x.dims[i], to[i], from[i]);
  }
  return Status::kOk;
}

Status slice_infer(Context& context) {
  SliceList list;
  PENLIGHT_TRY(read_slices(context, &list));
  const Shape& x = context.input(0).shape;
  uint32_t mask = 0;
  PENLIGHT_TRY(axes_to_mask(context, list.axes, list.count, x.rank, &mask));
  int64_t from[kMaxRank], first[kMaxRank] = {}, steps[kMaxRank];
  row_major_strides(x, from);
  Shape out = x;
  for (int i = 0; i < x.rank; ++i) steps[i] = 1;
  for (int k = 0; k < list.count; ++k) {
    int i = 0;
    PENLIGHT_TRY(normalize_axis(context, list.axes[k], x.rank, &i));
    slice_range(x.dims[i], list.starts[k], list.ends[k], list.steps[k], &first[i], &out.dims[i]);
    steps[i] = out.dims[i] > 1 ? list.steps[k] : 1;  // a huge step that is never taken must not overflow
  }
  PENLIGHT_TRY(declare_layout(context, out));
  LayoutState& state = context.state_as<LayoutState>();
  int64_t to[kMaxRank];
  row_major_strides(out, to);
  for (int i = 0; i < x.rank; ++i) {
    if (out.count() > 0) state.offset += first[i] * from[i];
    strided_dimension(&state.copy, out.dims[i], to[i], steps[i] * from[i]);
  }
  return Status::kOk;
}

/// (N, b, b, C, H, W) or, for CRD, (N, C, b, b, H, W) becomes (N, C, H, b, W, b).
Status depth_to_space_infer(Context& context) {
  int64_t b = 0;
  PENLIGHT_TRY(block_size(context, &b));
  const int64_t* x = context.input(0).shape.dims;
  const bool columns_first = is_column_row_depth(context);
  if (x[1] % (b * b) != 0)
    return context.fail(Status::kShapeMismatch, "blocksize %lld squared does not divide the channels", static_cast<long long>(b));
  const int64_t channels = x[1] / (b * b), plane = x[2] * x[3];
  int64_t out[4] = {x[0], channels, 0, 0};
  if (!checked_mul(x[2], b, &out[2]) || !checked_mul(x[3], b, &out[3]))
    return context.fail(Status::kShapeMismatch, "the output is too large");
  PENLIGHT_TRY(declare_layout(context, make_shape(out, 4)));
  StridedCopy& copy = context.state_as<LayoutState>().copy;
  const int64_t row = out[3], channel = columns_first ? b * b * plane : plane, block = columns_first ? plane : channels * plane;
  strided_dimension(&copy, x[0], channels * out[2] * row, x[1] * plane);
  strided_dimension(&copy, channels, out[2] * row, channel);
  strided_dimension(&copy, x[2], b * row, x[3]);
  strided_dimension(&copy, b, row, b * block);
  strided_dimension(&copy, x[3], b, 1);
  strided_dimension(&copy, b, 1, block);
  return Status::kOk;
}

/// (N, C, H, b, W, b) becomes (N, b, b, C, H, W) or, for CRD, (N, C, b, b, H, W).
Status space_to_depth_infer(Context& context) {
  int64_t b = 0;
  PENLIGHT_TRY(block_size(context, &b));
  const int64_t* x = context.input(0).shape.dims;
  if (x[2] % b != 0 || x[3] % b != 0)
    return context.fail(Status::kShapeMismatch, "blocksize %lld does not divide the image", static_cast<long long>(b));
  int64_t out[4] = {x[0], 0, x[2] / b, x[3] / b};
  if (!checked_mul(x[1], b * b, &out[1])) return context.fail(Status::kShapeMismatch, "the output is too large");
  PENLIGHT_TRY(declare_layout(context, make_shape(out, 4)));
  StridedCopy& copy = context.state_as<LayoutState>().copy;
  const int64_t plane = out[2] * out[3];
  const bool channels_first = is_column_row_depth(context);
  const int64_t block = channels_first ? plane : x[1] * plane, channel = channels_first ? b * b * plane : plane;
  strided_dimension(&copy, x[0], out[1] * plane, x[1] * x[2] * x[3]);
  strided_dimension(&copy, b, b * block, x[3]);
  strided_dimension(&copy, b, block, 1);
  strided_dimension(&copy, x[1], channel, x[2] * x[3]);
  strided_dimension(&copy, out[2], out[3], b * x[3]);
  strided_dimension(&copy, out[3], 1, b);
  return Status::kOk;
}

Status layout_run(Context& context) {
  const LayoutState& state = context.state_as<LayoutState>();
  const size_t size = dtype_size(context.input(0).dtype);
  if (context.output(0).shape.count() == 0) return Status::kOk;
  const char* from = context.input(0).as<char>() + state.offset * static_cast<int64_t>(size);
  strided_copy(state.copy, from, context.output(0).data, size, context_parallel(context));
  return Status::kOk;
}

}  // namespace penlight
