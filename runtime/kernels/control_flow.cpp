// If, Loop and Scan: they run subgraphs, whose outputs' shapes are known afterwards. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "shape_rules.h"

namespace penlight {

namespace {

size_t flow_bytes(const Tensor& tensor) { return static_cast<size_t>(tensor.shape.count()) * dtype_size(tensor.dtype); }

/// Output i becomes a copy of a tensor.
Status flow_copy(Context& context, int i, const Tensor& from) {
  PENLIGHT_TRY(context.spend(static_cast<uint64_t>(from.shape.count())));
  PENLIGHT_TRY(context.resize_output(i, from.dtype, from.shape));
  if (flow_bytes(from) > 0) memcpy(context.output(i).data, from.data, flow_bytes(from));
  return Status::kOk;
}

Status flow_truth(Context& context, const Tensor& tensor, const char* what, bool* truth) {
  if (tensor.dtype != DType::kBool || tensor.shape.count() != 1)
    return context.fail(Status::kInvalidProgram, "%s must be one truth value", what);
  *truth = *tensor.as<uint8_t>() != 0;
  return Status::kOk;
}

/// The values that go from one iteration to the next lie in the node's first outputs.
Status flow_start(Context& context, int first_input, int count) {
  for (int i = 0; i < count; ++i) {
    if (!context.input(first_input + i).present()) return context.fail(Status::kInvalidProgram, "carried value %d has no start", i);
    PENLIGHT_TRY(flow_copy(context, i, context.input(first_input + i)));
  }
  return Status::kOk;
}

/// The shape of `count` rows along `axis`.
Status flow_stacked(Context& context, const Tensor& row, int axis, int64_t count, Shape* shape) {
  if (row.dtype == DType::kNone || row.shape.rank >= kMaxRank)
    return context.fail(Status::kUnsupportedOperator,
                        "a collected output has an unknown dtype, or as many dimensions as there can be");
  *shape = row.shape;
  shape->rank = row.shape.rank + 1;
  for (int d = row.shape.rank; d > axis; --d) shape->dims[d] = row.shape.dims[d - 1];
  shape->dims[axis] = count;
  return Status::kOk;
}

/// Whether a row is like those that output i holds along `axis`.
bool flow_row_fits(const Tensor& all, const Tensor& row, int axis) {
  if (all.dtype != row.dtype || all.shape.rank != row.shape.rank + 1) return false;
  for (int d = 0; d < row.shape.rank; ++d) {
    if (all.shape.dims[d < axis ? d : d + 1] != row.shape.dims[d]) return false;
  }
  return true;
}

constexpr int kMostCarried = kMaxOperands + 2;

struct FlowLoop {
  NodeBody body;
  int carried = 0;    // values that go from one iteration to the next
  int collected = 0;  // outputs of all iterations
};

Status loop_read(Context& context, FlowLoop* loop) {
  loop->body = context.body("body");
  if (!loop->body.present()) return context.fail(Status::kInvalidProgram, "it has no body");
  loop->carried = loop->body.input_count() - 2;
  loop->collected = loop->body.output_count() - 1 - loop->carried;
  if (loop->carried < 0 || loop->collected < 0 || loop->carried + 2 > context.input_count || loop->carried > kMaxOperands ||
      loop->carried + loop->collected != context.output_count) {
    return context.fail(Status::kInvalidProgram, "inputs and outputs do not fit the body's");
  }
  return Status::kOk;
}

Status loop_iterate(Context& context, const FlowLoop& loop, int64_t iteration, bool* go_on) {
  Tensor arguments[kMostCarried];
  arguments[0] = Tensor{DType::kI64, Shape(), &iteration};
  uint8_t truth = 1;
  arguments[1] = Tensor{DType::kBool, Shape(), &truth};
  for (int i = 0; i < loop.carried; ++i) arguments[2 + i] = context.output(i);
  PENLIGHT_TRY(loop.body.run(context, arguments));
  PENLIGHT_TRY(flow_truth(context, loop.body.output(0), "the body's condition", go_on));
  for (int i = 0; i < loop.carried; ++i) PENLIGHT_TRY(flow_copy(context, i, loop.body.output(1 + i)));
  for (int i = loop.carried; i < loop.carried + loop.collected; ++i) {
    const Tensor row = loop.body.output(1 + i);
    Shape all;
    PENLIGHT_TRY(flow_stacked(context, row, 0, iteration + 1, &all));
    if (iteration > 0 && !flow_row_fits(context.output(i), row, 0))
      return context.fail(Status::kInvalidValue, "output %d changes its shape at iteration %lld", i,
                          static_cast<long long>(iteration));
    PENLIGHT_TRY(context.spend(static_cast<uint64_t>(row.shape.count())));
    PENLIGHT_TRY(context.resize_output(i, row.dtype, all));
    const size_t bytes = flow_bytes(row);
    if (bytes > 0) memcpy(context.output(i).as<char>() + static_cast<size_t>(iteration) * bytes, row.data, bytes);
  }
  return Status::kOk;
}

/// What is collected in no iteration is an empty tensor of the declared dtype.
Status flow_nothing_collected(Context& context, const FlowLoop& loop, int first_output, const int64_t* axes) {
  for (int i = 0; i < loop.collected; ++i) {
    const Tensor row = loop.body.declared_output(first_output + i);
    int64_t axis = axes == nullptr ? 0 : axes[i];
    if (axis < 0) axis += row.shape.rank + 1;
    if (axis < 0 || axis > row.shape.rank) return context.fail(Status::kInvalidProgram, "axis %lld", static_cast<long long>(axis));
    Shape all;
    PENLIGHT_TRY(flow_stacked(context, row, static_cast<int>(axis), 0, &all));
    PENLIGHT_TRY(context.resize_output(loop.carried + i, row.dtype, all));
  }
  return Status::kOk;
}

struct FlowScan : FlowLoop {
  int scanned = 0;  // inputs that are cut into slices
  int64_t length = -1;
  int64_t input_axes[kMaxOperands] = {}, output_axes[kMaxOperands] = {};
  int64_t input_reversed[kMaxOperands] = {}, output_reversed[kMaxOperands] = {};

  const Tensor& input(Context& context, int i) const { return context.input(carried + i); }
};

Status scan_list(Context& context, const char* name, int64_t* values, int count) {
  const int64_t found = context.attributes->integers(name, values, count);
  if (found >= 0 && found != count)
    return context.fail(Status::kInvalidProgram, "%s has %lld entries, expected %d", name, static_cast<long long>(found), count);
  return Status::kOk;
}

Status scan_read(Context& context, FlowScan* scan) {
  scan->body = context.body("body");
  if (!scan->body.present()) return context.fail(Status::kInvalidProgram, "it has no body");
  const int64_t scanned = context.attributes->integer("num_scan_inputs", 0);
  const int inputs = scan->body.input_count();
  if (scanned < 1 || scanned > inputs || inputs > context.input_count)
    return context.fail(Status::kInvalidProgram, "num_scan_inputs does not fit the body's inputs");
  scan->scanned = static_cast<int>(scanned);
  scan->carried = inputs - scan->scanned;
  scan->collected = scan->body.output_count() - scan->carried;
  if (scan->collected < 0 || scan->carried + scan->collected != context.output_count)
    return context.fail(Status::kInvalidProgram, "the outputs do not fit the body's");
  PENLIGHT_TRY(scan_list(context, "scan_input_axes", scan->input_axes, scan->scanned));
  PENLIGHT_TRY(scan_list(context, "scan_output_axes", scan->output_axes, scan->collected));
  PENLIGHT_TRY(scan_list(context, "scan_input_directions", scan->input_reversed, scan->scanned));
  return scan_list(context, "scan_output_directions", scan->output_reversed, scan->collected);
}

/// Axes and the common length; needs the shapes of the inputs.
Status scan_measure(Context& context, FlowScan* scan) {
  for (int i = 0; i < scan->scanned; ++i) {
    const Tensor& x = scan->input(context, i);
    if (!x.present()) return context.fail(Status::kInvalidProgram, "scan input %d is left out", i);
    int axis = 0;
    PENLIGHT_TRY(normalize_axis(context, scan->input_axes[i], x.shape.rank, &axis));
    scan->input_axes[i] = axis;
    if (scan->length >= 0 && x.shape.dims[axis] != scan->length)
      return context.fail(Status::kShapeMismatch, "scan inputs have %lld and %lld slices", static_cast<long long>(scan->length),
                          static_cast<long long>(x.shape.dims[axis]));
    scan->length = x.shape.dims[axis];
  }
  return Status::kOk;
}

Shape scan_slice_shape(const Shape& x, int axis) {
  Shape slice = x;
  for (int d = axis; d + 1 < x.rank; ++d) slice.dims[d] = x.dims[d + 1];
  --slice.rank;
  return slice;
}

size_t scan_slice_room(const Tensor& x, int axis) {
  const size_t bytes = static_cast<size_t>(scan_slice_shape(x.shape, axis).count()) * dtype_size(x.dtype);
  return (bytes + 63) / 64 * 64;
}

/// Copies slice `index` along `axis` out of `all` (`into` false) or into it.
void scan_copy_slice(const Tensor& all, int axis, int64_t index, char* slice, bool into) {
  const size_t inner = static_cast<size_t>(dims_product(all.shape, axis + 1, all.shape.rank)) * dtype_size(all.dtype);
  const int64_t outer = dims_product(all.shape, 0, axis);
  for (int64_t o = 0; inner > 0 && o < outer; ++o) {
    char* at = all.as<char>() + static_cast<size_t>(o * all.shape.dims[axis] + index) * inner;
    memcpy(into ? at : slice, into ? slice : at, inner);
    slice += inner;
  }
}

Status scan_collect(Context& context, const FlowScan& scan, int64_t iteration) {
  for (int i = 0; i < scan.collected; ++i) {
    const Tensor row = scan.body.output(scan.carried + i);
    const int output = scan.carried + i;
    int axis = 0;
    PENLIGHT_TRY(normalize_axis(context, scan.output_axes[i], row.shape.rank + 1, &axis));
    Shape all;
    PENLIGHT_TRY(flow_stacked(context, row, axis, scan.length, &all));
    if (iteration == 0) PENLIGHT_TRY(context.resize_output(output, row.dtype, all));
    if (!flow_row_fits(context.output(output), row, axis))
      return context.fail(Status::kInvalidValue, "output %d changes its shape at slice %lld", output,
                          static_cast<long long>(iteration));
    PENLIGHT_TRY(context.spend(static_cast<uint64_t>(row.shape.count())));
    const int64_t at = scan.output_reversed[i] != 0 ? scan.length - 1 - iteration : iteration;
    scan_copy_slice(context.output(output), axis, at, row.as<char>(), true);
  }
  return Status::kOk;
}

Status scan_iterate(Context& context, const FlowScan& scan, int64_t iteration) {
  Tensor arguments[kMostCarried];
  for (int i = 0; i < scan.carried; ++i) arguments[i] = context.output(i);
  char* room = static_cast<char*>(context.scratch);
  for (int i = 0; i < scan.scanned; ++i) {
    const Tensor& x = scan.input(context, i);
    const int axis = static_cast<int>(scan.input_axes[i]);
    PENLIGHT_TRY(context.spend(static_cast<uint64_t>(scan_slice_shape(x.shape, axis).count())));
    scan_copy_slice(x, axis, scan.input_reversed[i] != 0 ? scan.length - 1 - iteration : iteration, room, false);
    arguments[scan.carried + i] = Tensor{x.dtype, scan_slice_shape(x.shape, axis), room};
    room += scan_slice_room(x, axis);
  }
  PENLIGHT_TRY(scan.body.run(context, arguments));
  for (int i = 0; i < scan.carried; ++i) PENLIGHT_TRY(flow_copy(context, i, scan.body.output(i)));
  return scan_collect(context, scan, iteration);
}

}  // namespace

Status if_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, dtype_bit(DType::kBool)));
  for (int i = 0; i < 2; ++i) {
    const char* name = i == 0 ? "then_branch" : "else_branch";
    const NodeBody body = context.body(name);
    if (!body.present() || body.input_count() != 0 || body.output_count() != context.output_count)
      return context.fail(Status::kInvalidProgram, "%s is missing, or does not have the node's outputs", name);
  }
  context.shaped_by_run = true;
  return Status::kOk;
}

Status if_run(Context& context) {
  bool truth = false;
  PENLIGHT_TRY(flow_truth(context, context.input(0), "the condition", &truth));
  const NodeBody body = context.body(truth ? "then_branch" : "else_branch");
  PENLIGHT_TRY(body.run(context, nullptr));
  for (int i = 0; i < context.output_count; ++i) PENLIGHT_TRY(flow_copy(context, i, body.output(i)));
  return Status::kOk;
}

Status loop_infer(Context& context) {
  FlowLoop loop;
  PENLIGHT_TRY(loop_read(context, &loop));
  if (context.input(0).present()) PENLIGHT_TRY(check_dtype(context, 0, dtype_bit(DType::kI64)));
  if (context.input(1).present()) PENLIGHT_TRY(check_dtype(context, 1, dtype_bit(DType::kBool)));
  context.shaped_by_run = true;
  return Status::kOk;
}

Status loop_run(Context& context) {
  FlowLoop loop;
  PENLIGHT_TRY(loop_read(context, &loop));
  bool go_on = true;
  if (context.input(1).present()) PENLIGHT_TRY(flow_truth(context, context.input(1), "the condition", &go_on));
  int64_t most = INT64_MAX;
  if (context.input(0).present()) {
    if (context.input(0).shape.count() != 1) return context.fail(Status::kInvalidProgram, "the trip count must be one number");
    most = *context.input(0).as<int64_t>();
  }
  PENLIGHT_TRY(flow_start(context, 2, loop.carried));
  int64_t iteration = 0;
  for (; go_on && iteration < most; ++iteration) PENLIGHT_TRY(loop_iterate(context, loop, iteration, &go_on));
  return iteration > 0 ? Status::kOk : flow_nothing_collected(context, loop, 1 + loop.carried, nullptr);
}

Status scan_infer(Context& context) {
  FlowScan scan;
  PENLIGHT_TRY(scan_read(context, &scan));
  PENLIGHT_TRY(scan_measure(context, &scan));
  for (int i = 0; i < scan.scanned; ++i)
    context.scratch_bytes += scan_slice_room(scan.input(context, i), static_cast<int>(scan.input_axes[i]));
  context.shaped_by_run = true;
  return Status::kOk;
}

Status scan_run(Context& context) {
  FlowScan scan;
  PENLIGHT_TRY(scan_read(context, &scan));
  PENLIGHT_TRY(scan_measure(context, &scan));
  PENLIGHT_TRY(flow_start(context, 0, scan.carried));
  for (int64_t i = 0; i < scan.length; ++i) PENLIGHT_TRY(scan_iterate(context, scan, i));
  return scan.length > 0 ? Status::kOk : flow_nothing_collected(context, scan, scan.carried, scan.output_axes);
}

}  // namespace penlight
