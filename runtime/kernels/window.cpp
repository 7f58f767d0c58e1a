// Reads and checks the attributes of sliding windows. SPDX-License-Identifier: Apache-2.0
#include "window.h"

#include <string.h>

#include "shape_rules.h"

namespace penlight {

namespace {

Status read_window_list(Context& context, const char* name, int count, int64_t low, int64_t* values) {
  int64_t read[2 * kWindowRank];
  const int64_t n = context.attributes->integers(name, read, 2 * kWindowRank);
  if (n < 0) return Status::kOk;
  if (n != count)
    return context.fail(Status::kInvalidProgram, "%s has %lld entries, expected %d", name, static_cast<long long>(n), count);
  for (int i = 0; i < count; ++i) {
    if (read[i] < low || read[i] > INT32_MAX)
      return context.fail(Status::kInvalidProgram, "%s holds %lld, expected %lld or more (below 2^31)", name,
                          static_cast<long long>(read[i]), static_cast<long long>(low));
    values[i] = read[i];
  }
  return Status::kOk;
}

int64_t window_reach(const Window& w, int d) { return (w.kernel[d] - 1) * w.dilation[d] + 1; }

void pad_to_same_size(Window* w, int d, bool upper) {
  const int64_t out = (w->in[d] + w->stride[d] - 1) / w->stride[d];
  int64_t total = (out - 1) * w->stride[d] + window_reach(*w, d) - w->in[d];
  if (total < 0 || out == 0) total = 0;
  w->pad_begin[d] = upper ? total / 2 : total - total / 2;
  w->pad_end[d] = total - w->pad_begin[d];
}

}  // namespace

Status read_window(Context& context, const Shape& in, const int64_t* kernel, Window* window) {
  *window = Window{};
  window->rank = in.rank - 2;
  if (window->rank < 1 || window->rank > kWindowRank)
    return context.fail(Status::kUnsupportedOperator, "the input has rank %d, expected 3 to %d", in.rank, kWindowRank + 2);
  int64_t pads[2 * kWindowRank] = {};
  PENLIGHT_TRY(read_window_list(context, "kernel_shape", window->rank, 1, window->kernel));
  PENLIGHT_TRY(read_window_list(context, "strides", window->rank, 1, window->stride));
  PENLIGHT_TRY(read_window_list(context, "dilations", window->rank, 1, window->dilation));
  PENLIGHT_TRY(read_window_list(context, "pads", 2 * window->rank, 0, pads));
  for (int d = 0; d < window->rank; ++d) {
    window->in[d] = in.dims[2 + d];
    window->pad_begin[d] = pads[d];
    window->pad_end[d] = pads[window->rank + d];
    if (kernel != nullptr) window->kernel[d] = kernel[d];
    if (window->kernel[d] < 1 || window->kernel[d] > INT32_MAX || window->in[d] > int64_t{1} << 40)
      return context.fail(Status::kShapeMismatch, "kernel size %lld at input size %lld is out of range",
                          static_cast<long long>(window->kernel[d]), static_cast<long long>(window->in[d]));
  }
  return Status::kOk;
}

Status window_outputs(Context& context, Window* window, bool ceil_mode) {
  const char* text = context.attributes->text("auto_pad");
  const char* auto_pad = text == nullptr ? "NOTSET" : text;
  const bool upper = strcmp(auto_pad, "SAME_UPPER") == 0, lower = strcmp(auto_pad, "SAME_LOWER") == 0;
  const bool valid = strcmp(auto_pad, "VALID") == 0;
  if (!upper && !lower && !valid && strcmp(auto_pad, "NOTSET") != 0)
    return context.fail(Status::kInvalidProgram, "auto_pad is '%s', expected NOTSET, VALID, SAME_UPPER or SAME_LOWER", auto_pad);
  for (int d = 0; d < window->rank; ++d) {
    if (valid) window->pad_begin[d] = window->pad_end[d] = 0;
    if (upper || lower) pad_to_same_size(window, d, upper);
    const int64_t room = window->in[d] + window->pad_begin[d] + window->pad_end[d] - window_reach(*window, d);
    if (room < 0)
      return context.fail(Status::kShapeMismatch, "the window spans %lld, but the padded input has %lld",
                          static_cast<long long>(window_reach(*window, d)),
                          static_cast<long long>(room + window_reach(*window, d)));
    const int64_t stride = window->stride[d];
    window->out[d] = (ceil_mode ? (room + stride - 1) / stride : room / stride) + 1;
    if (ceil_mode && (window->out[d] - 1) * stride >= window->in[d] + window->pad_begin[d]) --window->out[d];
  }
  return Status::kOk;
}

Shape window_output_shape(const Window& window, int64_t batch, int64_t channels) {
  Shape shape;
  shape.rank = window.rank + 2;
  shape.dims[0] = batch;
  shape.dims[1] = channels;
  for (int d = 0; d < window.rank; ++d) shape.dims[2 + d] = window.out[d];
  return shape;
}

}  // namespace penlight
