// Conv, Conv with an activation, and ConvTranspose; the fast path is for float images of one or two dimensions.
// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "activation.h"
#include "conv2d.h"
#include "conv2d_input_gradient.h"
#include "conv_plain.h"
#include "isa.h"
#include "shape_rules.h"
#include "window.h"
#include "winograd.h"

namespace penlight {

namespace {

/// A convolution or the one whose input gradient is asked for; `fast` when the float kernels for images take it.
struct ConvState {
  Conv2d conv;
  Window window;
  bool fast = false;
  int64_t tile = 0;  // of Winograd's convolution with packed weights, 0: the direct one
};

ConvChannels conv_channels(const Conv2d& conv) { return {conv.batch, conv.channels, conv.filters, conv.groups}; }

/// Operands: x (N, C, ...), weight, bias; `channels_out` is the bias's length.
Status conv_operands(Context& context, int64_t channels_out) {
  PENLIGHT_TRY(check_dtype(context, 0, FloatTypes::kBits));
  PENLIGHT_TRY(check_same_dtype(context, 1, 0));
  const Tensor& bias = context.input(2);
  if (!bias.present()) return Status::kOk;
  PENLIGHT_TRY(check_same_dtype(context, 2, 0));
  if (bias.shape.rank == 1 && bias.shape.dims[0] == channels_out) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "the bias must have shape (%lld,)", static_cast<long long>(channels_out));
}

/// A one-dimensional image has height 1.
void conv_of_window(const Window& w, Conv2d* conv) {
  if (w.rank > 2) return;
  const int y = w.rank - 2, x = w.rank - 1;
  if (w.rank == 2) {
    conv->height = w.in[y];
    conv->kernel_h = w.kernel[y];
    conv->stride_h = w.stride[y];
    conv->dilation_h = w.dilation[y];
    conv->pad_top = w.pad_begin[y];
    conv->out_h = w.out[y];
  } else {
    conv->height = conv->out_h = 1;
  }
  conv->width = w.in[x];
  conv->kernel_w = w.kernel[x];
  conv->stride_w = w.stride[x];
  conv->dilation_w = w.dilation[x];
  conv->pad_left = w.pad_begin[x];
  conv->out_w = w.out[x];
}

Status conv_groups(Context& context, int64_t channels, int64_t filters, int64_t* groups) {
  *groups = context.attributes->integer("group", 1);
  if (*groups >= 1 && channels % *groups == 0 && filters % *groups == 0) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "%lld groups do not divide %lld and %lld channels", static_cast<long long>(*groups),
                      static_cast<long long>(channels), static_cast<long long>(filters));
}

Status check_conv_ranks(Context& context) {
  PENLIGHT_TRY(check_rank(context, 0, 3, 2 + kWindowRank));
  return check_rank(context, 1, context.input(0).shape.rank, context.input(0).shape.rank);
}

/// Without channels there are no weights, but as many taps to walk over as the file says.
uint64_t conv_macs(uint64_t outputs, const Shape& weight) {
  const int64_t channels = weight.dims[1] > 0 ? weight.dims[1] : 1;
  return saturating_mul(saturating_mul(outputs, static_cast<uint64_t>(channels)),
                        static_cast<uint64_t>(dims_product(weight, 2, weight.rank)));
}

/// Where few taps stand in much padding, copying what they see is the work.
uint64_t conv_work(const Conv2d& conv, uint64_t macs, uint64_t moved) {
  const uint64_t calls = static_cast<uint64_t>(conv.batch) * static_cast<uint64_t>(conv.groups);
  const uint64_t least = saturating_add(moved, saturating_mul(kCallWork, calls > 0 ? calls - 1 : 0));
  return macs > least ? macs : least;
}

constexpr int64_t kMostPhases = 1 << 12;  // of a transposed convolution that the float kernel takes: it looks at each

/// Whether there is something to compute, in a number of phases that is no matter.
bool transposed_is_fast(const Conv2d& conv, const Shape& x, const Shape& y, const Shape& weight) {
  const int64_t down = conv.stride_h < conv.height ? conv.stride_h : conv.height;
  const int64_t across = conv.stride_w < conv.width ? conv.stride_w : conv.width;
  return x.count() > 0 && y.count() > 0 && weight.count() > 0 && down <= kMostPhases && across <= kMostPhases / down;
}

/// Sizes along `d` of a transposed convolution: pads from output_shape, auto_pad or the attribute.
Status transposed_size(Context& context, Window* w, int d, int64_t output_padding, int64_t given, const char* auto_pad) {
  const int64_t full = (w->in[d] - 1) * w->stride[d] + (w->kernel[d] - 1) * w->dilation[d] + 1 + output_padding;
  const bool upper = strcmp(auto_pad, "SAME_UPPER") == 0, lower = strcmp(auto_pad, "SAME_LOWER") == 0;
  if (strcmp(auto_pad, "VALID") == 0) w->pad_begin[d] = w->pad_end[d] = 0;
  if (given < 0 && (upper || lower)) given = w->in[d] * w->stride[d];
  if (given >= 0) {
    const int64_t total = full > given ? full - given : 0;
    w->pad_begin[d] = upper ? total / 2 : total - total / 2;
    w->out[d] = given;
    return Status::kOk;
  }
  w->out[d] = full - w->pad_begin[d] - w->pad_end[d];
  if (w->in[d] > 0 && w->out[d] >= 0) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "the output would have size %lld along spatial dimension %d",
                      static_cast<long long>(w->out[d]), d);
}

Status transposed_sizes(Context& context, Window* w) {
  int64_t extra[kWindowRank] = {}, given[kWindowRank] = {};
  const int64_t extra_count = context.attributes->integers("output_padding", extra, kWindowRank);
  const int64_t given_count = context.attributes->integers("output_shape", given, kWindowRank);
  if ((extra_count >= 0 && extra_count != w->rank) || (given_count >= 0 && given_count != w->rank))
    return context.fail(Status::kInvalidProgram, "output_padding and output_shape need %d entries", w->rank);
  const char* auto_pad = context.attributes->text("auto_pad");
  for (int d = 0; d < w->rank; ++d) {
    if (extra[d] < 0 || extra[d] > INT32_MAX || given[d] < 0 || given[d] > INT32_MAX)
      return context.fail(Status::kInvalidProgram, "output_padding or output_shape is out of range");
    PENLIGHT_TRY(
        transposed_size(context, w, d, extra[d], given_count > 0 ? given[d] : -1, auto_pad == nullptr ? "NOTSET" : auto_pad));
  }
  return Status::kOk;
}

void conv_pack(Context& context, void* packed) {
  const ConvState& state = context.state_as<ConvState>();
  winograd_pack(state.conv, state.tile, context.input(1).as<float>(), static_cast<float*>(packed));
}

/// Scratch, and how the weights are packed where that pays.
Status conv_memory(Context& context, ConvState* state) {
  const bool may_pack = (context.constant_inputs >> 1 & 1) != 0 && context.input(0).data == nullptr;
  int64_t floats = 0;
  state->tile = !PENLIGHT_SMALL && may_pack ? winograd_tile(state->conv) : 0;
  if (state->tile == 0) {
    const bool fits = conv2d_scratch_floats(state->conv, context.threads(), &floats);
    return fits && add_scratch(context, floats, sizeof(float)) ? Status::kOk : scratch_too_large(context);
  }
  if (!winograd_scratch_floats(state->conv, state->tile, context.threads(), &floats) ||
      !add_scratch(context, floats, sizeof(float)))
    return scratch_too_large(context);
  if (!winograd_weight_floats(state->conv, state->tile, &floats)) return scratch_too_large(context);
  context.packed_bytes = static_cast<size_t>(floats) * sizeof(float);
  context.pack = conv_pack;
  return Status::kOk;
}

Status conv_shapes(Context& context, const Activation& activation) {
  PENLIGHT_TRY(check_conv_ranks(context));
  const Shape &x = context.input(0).shape, &weight = context.input(1).shape;
  PENLIGHT_TRY(conv_operands(context, weight.dims[0]));
  ConvState& state = context.state_as<ConvState>();
  state = ConvState{};
  Conv2d& conv = state.conv;
  conv.deterministic = context.deterministic;
  conv.activation = activation;  // which the memory may depend on
  conv.batch = x.dims[0];
  conv.channels = x.dims[1];
  conv.filters = weight.dims[0];
  PENLIGHT_TRY(conv_groups(context, conv.channels, conv.filters, &conv.groups));
  if (weight.dims[1] != conv.channels / conv.groups)
    return context.fail(Status::kShapeMismatch, "the weight takes %lld channels in a group, x has %lld",
                        static_cast<long long>(weight.dims[1]), static_cast<long long>(conv.channels / conv.groups));
  Window& window = state.window;
  PENLIGHT_TRY(read_window(context, x, weight.dims + 2, &window));
  PENLIGHT_TRY(window_outputs(context, &window, false));
  conv_of_window(window, &conv);
  state.fast = window.rank <= 2 && context.input(0).dtype == DType::kF32;
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, window_output_shape(window, conv.batch, conv.filters)));
  const uint64_t padded = padded_elements(window, conv.batch * conv.channels, window.in, window.pad_begin, window.pad_end);
  context.macs = conv_work(conv, conv_macs(static_cast<uint64_t>(context.output(0).shape.count()), weight), padded);
  return state.fast && context.output(0).shape.count() > 0 ? conv_memory(context, &state) : Status::kOk;
}

}  // namespace

Status conv_infer(Context& context) { return conv_shapes(context, Activation{}); }

/// With an activation, and, as input 3, something of the result's shape that is added before it.
Status fused_conv_infer(Context& context) {
  Activation activation;
  PENLIGHT_TRY(read_activation(context, &activation));
  PENLIGHT_TRY(conv_shapes(context, activation));
  if (!context.input(3).present()) return Status::kOk;
  PENLIGHT_TRY(check_same_dtype(context, 3, 0));
  if (same_shape(context.input(3).shape, context.output(0).shape)) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "what is added must have the shape of the result");
}

Status conv_run(Context& context) {
  const ConvState& state = context.state_as<ConvState>();
  const Tensor &x = context.input(0), &weight = context.input(1), &bias = context.input(2), &residual = context.input(3);
  Tensor& y = context.output(0);
  if (y.shape.count() == 0) return Status::kOk;
  Conv2d conv = state.conv;
  if (state.fast && residual.present()) conv.residual = residual.as<float>();
  if (!PENLIGHT_SMALL && state.tile != 0) {  // small builds are without it
    winograd_f32(conv, state.tile, x.as<float>(), static_cast<const float*>(context.packed),
                 bias.present() ? bias.as<float>() : nullptr, y.as<float>(), static_cast<float*>(context.scratch),
                 context_parallel(context));
    return Status::kOk;
  }
  if (state.fast) {
    conv2d_f32(conv, x.as<float>(), weight.as<float>(), bias.present() ? bias.as<float>() : nullptr, y.as<float>(),
               static_cast<float*>(context.scratch), context_parallel(context));
    return Status::kOk;
  }
  FloatTypes::call(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    conv_plain<T>(conv_channels(state.conv), state.window, x.as<T>(), weight.as<T>(), bias.present() ? bias.as<T>() : nullptr,
                  y.as<T>(), context_parallel(context));
    if (residual.present()) add_elements(residual.as<T>(), y.as<T>(), y.shape.count());
    activate_elements(state.conv.activation, y.as<T>(), y.shape.count());
  });
  return Status::kOk;
}

/// The transposed convolution is the input gradient of the convolution that has its output as input.
Status conv_transpose_infer(Context& context) {
  PENLIGHT_TRY(check_conv_ranks(context));
  const Shape &x = context.input(0).shape, &weight = context.input(1).shape;
  ConvState& state = context.state_as<ConvState>();
  state = ConvState{};
  Conv2d& conv = state.conv;
  conv.deterministic = context.deterministic;
  conv.batch = x.dims[0];
  conv.filters = x.dims[1];
  conv.groups = context.attributes->integer("group", 1);
  if (conv.groups < 1 || weight.dims[0] != conv.filters || !checked_mul(weight.dims[1], conv.groups, &conv.channels))
    return context.fail(Status::kShapeMismatch, "x has %lld channels, the weight takes %lld", static_cast<long long>(x.dims[1]),
                        static_cast<long long>(weight.dims[0]));
  PENLIGHT_TRY(conv_groups(context, conv.channels, conv.filters, &conv.groups));
  PENLIGHT_TRY(conv_operands(context, conv.channels));
  Window& window = state.window;
  PENLIGHT_TRY(read_window(context, x, weight.dims + 2, &window));
  PENLIGHT_TRY(transposed_sizes(context, &window));
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, window_output_shape(window, conv.batch, conv.channels)));
  for (int d = 0; d < window.rank; ++d) {  // what is the input here is the output there
    const int64_t in = window.in[d];
    window.in[d] = window.out[d];
    window.out[d] = in;
  }
  conv_of_window(window, &conv);
  const int64_t places = dims_product(x, 2, x.rank), filters = conv.filters > 0 ? conv.filters : 1;
  const Shape& y = context.output(0).shape;
  int64_t reach[kWindowRank];
  for (int d = 0; d < window.rank; ++d) reach[d] = (window.kernel[d] - 1) * window.dilation[d];
  const uint64_t moved = saturating_add(padded_elements(window, conv.batch * filters, window.out, reach, reach),
                                        saturating_mul(2, static_cast<uint64_t>(y.count())));
  const uint64_t macs = conv_macs(static_cast<uint64_t>(conv.batch * filters * places), weight);
  context.macs = y.count() == 0 ? 0 : conv_work(conv, macs, moved);
  state.fast = window.rank <= 2 && context.input(0).dtype == DType::kF32 && transposed_is_fast(conv, x, y, weight);
  int64_t floats = 0;
  if (!state.fast) return Status::kOk;
  if (!conv2d_input_gradient_scratch_floats(conv, context.threads(), &floats) || !add_scratch(context, floats, sizeof(float)))
    return scratch_too_large(context);
  return Status::kOk;
}

Status conv_transpose_run(Context& context) {
  const ConvState& state = context.state_as<ConvState>();
  const Tensor &x = context.input(0), &weight = context.input(1), &bias = context.input(2);
  Tensor& y = context.output(0);
  if (y.shape.count() == 0) return Status::kOk;
  if (state.fast) {
    conv2d_input_gradient_f32(state.conv, x.as<float>(), weight.as<float>(), bias.present() ? bias.as<float>() : nullptr,
                              y.as<float>(), static_cast<float*>(context.scratch), context_parallel(context));
    return Status::kOk;
  }
  FloatTypes::call(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    conv_transpose_plain<T>(conv_channels(state.conv), state.window, x.as<T>(), weight.as<T>(),
                            bias.present() ? bias.as<T>() : nullptr, y.as<T>(), context_parallel(context));
  });
  return Status::kOk;
}

}  // namespace penlight
