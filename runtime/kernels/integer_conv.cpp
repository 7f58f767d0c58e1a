// Convolutions of 8-bit images: ConvInteger and QLinearConv, exact in 32 bits. SPDX-License-Identifier: Apache-2.0
#include "integer_conv2d.h"
#include "quantize.h"

namespace penlight {

namespace {

constexpr uint32_t kIntegerConvTypes = dtype_bit(DType::kI8) | dtype_bit(DType::kU8);

/// Where the operands are among the inputs.
struct IntegerConvOperands {
  int x, x_zero, w, w_zero;
};

constexpr IntegerConvOperands kConvIntegerOperands = {0, 2, 1, 3};
constexpr IntegerConvOperands kQLinearConvOperands = {0, 2, 3, 5};

struct IntegerConvState {
  IntegerConv2d conv;  // without its operands
  bool fast = false;   // at most two spatial dimensions
};

Status check_filter_parameter(Context& context, int i, int64_t filters) {
  const Tensor& tensor = context.input(i);
  const int64_t count = tensor.present() ? tensor.shape.count() : 1;
  if (count == 1 || (count == filters && tensor.shape.rank == 1)) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "input %d must be one number or have %lld", i, static_cast<long long>(filters));
}

Status integer_conv_infer(Context& context, const IntegerConvOperands& use, DType dtype) {
  const int bytes[] = {use.x, use.w};
  for (int i : bytes) PENLIGHT_TRY(check_dtype(context, i, kIntegerConvTypes));
  if (context.input(use.x_zero).present()) PENLIGHT_TRY(check_same_dtype(context, use.x_zero, use.x));
  if (context.input(use.w_zero).present()) PENLIGHT_TRY(check_same_dtype(context, use.w_zero, use.w));
  PENLIGHT_TRY(check_rank(context, use.x, 3, kWindowRank + 2));
  const Shape &x = context.input(use.x).shape, &w = context.input(use.w).shape;
  PENLIGHT_TRY(check_rank(context, use.w, x.rank, x.rank));
  context.state_as<IntegerConvState>() = IntegerConvState{};
  IntegerConv2d& s = context.state_as<IntegerConvState>().conv;
  s.batch = x.dims[0];
  s.channels = x.dims[1];
  s.filters = w.dims[0];
  s.groups = context.attributes->integer("group", 1);
  if (s.groups < 1 || s.channels % s.groups != 0 || s.filters % s.groups != 0 || w.dims[1] != s.channels / s.groups)
    return context.fail(Status::kShapeMismatch, "the groups do not divide the channels of x and w");
  PENLIGHT_TRY(check_filter_parameter(context, use.x_zero, 1));
  PENLIGHT_TRY(check_filter_parameter(context, use.w_zero, s.filters));
  PENLIGHT_TRY(read_window(context, x, w.dims + 2, &s.window));
  PENLIGHT_TRY(window_outputs(context, &s.window, false));
  const Shape out = window_output_shape(s.window, s.batch, s.filters);
  PENLIGHT_TRY(set_output(context, 0, dtype, out));
  int64_t count = 0;
  const int64_t taps = (w.dims[1] > 0 ? w.dims[1] : 1) * dims_product(w, 2, w.rank);  // walked over without channels too
  context.macs =
      checked_count(out, &count) ? saturating_mul(static_cast<uint64_t>(count), static_cast<uint64_t>(taps)) : UINT64_MAX;
  // Where few taps stand in much padding, copying is the work.
  const uint64_t moved = padded_elements(s.window, s.batch * s.channels, s.window.in, s.window.pad_begin, s.window.pad_end);
  const uint64_t calls = static_cast<uint64_t>(s.batch) * static_cast<uint64_t>(s.groups);
  const uint64_t least = saturating_add(moved, saturating_mul(kCallWork, calls));
  if (context.macs < least) context.macs = least;
  if (PENLIGHT_SMALL || s.window.rank > 2 || count == 0) return Status::kOk;
  int64_t scratch = 0;
  context.state_as<IntegerConvState>().fast = true;
  if (!integer_conv2d_scratch_bytes(s, context.threads(), &scratch) || !add_scratch(context, scratch, 1))
    return scratch_too_large(context);
  return Status::kOk;
}

ByteMatrix conv_bytes(const Tensor& tensor, const Tensor& zero) {
  ByteMatrix matrix;
  matrix.data = tensor.data;
  matrix.is_signed = tensor.dtype == DType::kI8;
  matrix.zero = zero.present() ? zero.data : nullptr;
  matrix.zero_step = zero.present() && zero.shape.count() > 1 ? 1 : 0;
  return matrix;
}

/// Any number of dimensions, one output after the other; the padding counts as the zero point. Sums wrap as int32 does.
void plain_integer_conv(const IntegerConv2d& conv, const Parallel& parallel) {
  const Window& w = conv.window;
  const int64_t in = w.in[0] * w.in[1] * w.in[2], out = w.out[0] * w.out[1] * w.out[2];
  const int64_t taps = w.kernel[0] * w.kernel[1] * w.kernel[2];
  const int64_t group_channels = conv.channels / conv.groups;
  const ByteZero x_zero = byte_zero(conv.x, 0);
  parallel_for(parallel, static_cast<size_t>(conv.batch * conv.filters), [&](size_t i) {
    const int64_t plane = static_cast<int64_t>(i), filter = plane % conv.filters;
    const int64_t first = plane / conv.filters * conv.channels + filter / (conv.filters / conv.groups) * group_channels;
    const uint8_t* image = static_cast<const uint8_t*>(conv.x.data) + first * in;
    const uint8_t* weight = static_cast<const uint8_t*>(conv.w.data) + filter * group_channels * taps;
    const ByteZero w_zero = byte_zero(conv.w, filter);
    for (int64_t o = 0; o < out; ++o) {
      uint32_t total = 0;
      window_each_tap(w, window_place(w, o), [&](int64_t position, int64_t tap) {
        for (int64_t c = 0; c < group_channels; ++c)
          total += static_cast<uint32_t>(((image[c * in + position] ^ x_zero.flip) - x_zero.point) *
                                         ((weight[c * taps + tap] ^ w_zero.flip) - w_zero.point));
      });
      int32_t sum = static_cast<int32_t>(total);
      conv.finish(conv.target, plane, o, 1, &sum);
    }
  });
}

using ConvFinish = void (*)(const void* target, int64_t plane, int64_t first, int64_t count, int32_t* sums);

/// What takes the sums: where the results go, and how they are rounded.
struct ConvTarget {
  void* y;
  int64_t plane, filters;  // outputs of a plane
  Requantize rounding;     // of every filter, but for its bias and its own scale
  const int32_t* bias;     // may be null
  const float* scales;
  int64_t scale_step;
  bool is_short;  // so few taps that only the bias can make a sum too large for 32 bits
};

Status run_integer_conv(Context& context, const IntegerConvOperands& use, ConvFinish finish, const ConvTarget& target) {
  if (context.output(0).shape.count() == 0) return Status::kOk;
  IntegerConv2d conv = context.state_as<IntegerConvState>().conv;
  conv.x = conv_bytes(context.input(use.x), context.input(use.x_zero));
  conv.w = conv_bytes(context.input(use.w), context.input(use.w_zero));
  conv.finish = finish;
  conv.target = &target;
#if !PENLIGHT_SMALL
  if (context.state_as<IntegerConvState>().fast) {
    integer_conv2d(conv, context.scratch, context_parallel(context));
    return Status::kOk;
  }
#endif
  plain_integer_conv(conv, context_parallel(context));
  return Status::kOk;
}

constexpr int32_t kSafeBias = 1 << 30;  // below it, and for at most kSafeTaps taps, 32 bits hold a sum with its bias
constexpr int64_t kSafeTaps = kSafeBias / (255 * 255);

ConvTarget conv_target(Context& context) {
  const IntegerConv2d& conv = context.state_as<IntegerConvState>().conv;
  const Window& w = conv.window;
  ConvTarget target = {};
  target.y = context.output(0).data;
  target.plane = w.out[0] * w.out[1] * w.out[2];
  target.filters = conv.filters;
  target.is_short = conv.channels / conv.groups * w.kernel[0] * w.kernel[1] * w.kernel[2] <= kSafeTaps;
  return target;
}

void keep_conv_sums(const void* target, int64_t plane, int64_t first, int64_t count, int32_t* sums) {
  const auto& to = *static_cast<const ConvTarget*>(target);
  __builtin_memcpy(static_cast<int32_t*>(to.y) + plane * to.plane + first, sums, static_cast<size_t>(count) * sizeof(int32_t));
}

template <typename Q>
void round_conv_sums(const void* target, int64_t plane, int64_t first, int64_t count, int32_t* sums) {
  const auto& to = *static_cast<const ConvTarget*>(target);
  const int64_t filter = plane % to.filters;
  Requantize r = to.rounding;
  r.bias = to.bias != nullptr ? to.bias[filter] : 0;
  r.own = to.scales[filter * to.scale_step];
  Q* y = static_cast<Q*>(to.y) + plane * to.plane + first;
#if !PENLIGHT_SMALL
  if (to.is_short && r.bias < kSafeBias && r.bias > -kSafeBias)
    return integer_gemm_table().requantize(sums, count, r, reinterpret_cast<uint8_t*>(y));
#endif
  for (int64_t i = 0; i < count; ++i) {
    const int64_t whole = static_cast<int64_t>(sums[i]) + r.bias;
    y[i] = quantized<Q>(static_cast<float>(whole) * r.scale * r.own, r.zero);
  }
}

template <typename Q>
Requantize conv_rounding(const Context& context) {
  Requantize r;
  r.scale = context.input(1).as<float>()[0] / context.input(6).as<float>()[0];
  r.zero = static_cast<float>(context.input(7).as<Q>()[0]);
  r.low = QuantizedRange<Q>::kLow;
  r.high = QuantizedRange<Q>::kHigh;
  return r;
}

}  // namespace

Status conv_integer_infer(Context& context) { return integer_conv_infer(context, kConvIntegerOperands, DType::kI32); }

Status conv_integer_run(Context& context) {
  return run_integer_conv(context, kConvIntegerOperands, keep_conv_sums, conv_target(context));
}

Status qlinear_conv_infer(Context& context) {
  const int scales[] = {1, 4, 6};
  for (int i : scales) PENLIGHT_TRY(check_dtype(context, i, dtype_bit(DType::kF32)));
  PENLIGHT_TRY(check_dtype(context, 7, kIntegerConvTypes));
  PENLIGHT_TRY(integer_conv_infer(context, kQLinearConvOperands, context.input(7).dtype));
  const int64_t filters = context.state_as<IntegerConvState>().conv.filters;
  PENLIGHT_TRY(check_filter_parameter(context, 1, 1));
  PENLIGHT_TRY(check_filter_parameter(context, 4, filters));
  PENLIGHT_TRY(check_filter_parameter(context, 6, 1));
  PENLIGHT_TRY(check_filter_parameter(context, 7, 1));
  const Tensor& bias = context.input(8);
  if (!bias.present()) return Status::kOk;
  PENLIGHT_TRY(check_dtype(context, 8, dtype_bit(DType::kI32)));
  if (bias.shape.rank == 1 && bias.shape.dims[0] == filters) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "the bias must have shape (%lld,)", static_cast<long long>(filters));
}

Status qlinear_conv_run(Context& context) {
  const bool is_signed = context.output(0).dtype == DType::kI8;
  const Tensor &w_scale = context.input(4), &bias = context.input(8);
  ConvTarget target = conv_target(context);
  target.rounding = is_signed ? conv_rounding<int8_t>(context) : conv_rounding<uint8_t>(context);
  target.bias = bias.present() ? bias.as<int32_t>() : nullptr;
  target.scales = w_scale.as<float>();
  target.scale_step = w_scale.shape.count() == 1 ? 0 : 1;
  return run_integer_conv(context, kQLinearConvOperands, is_signed ? round_conv_sums<int8_t> : round_conv_sums<uint8_t>, target);
}

}  // namespace penlight
