// Convolutions of 8-bit images: ConvInteger and QLinearConv, exact in 32 bits. SPDX-License-Identifier: Apache-2.0
#include "quantize.h"
#include "window.h"

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
  Window window;
  int64_t batch = 0, channels = 0, filters = 0, groups = 1;
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
  IntegerConvState& s = context.state_as<IntegerConvState>();
  s = IntegerConvState{};
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
  const int64_t taps = dims_product(w, 1, w.rank);
  context.macs =
      checked_count(out, &count) ? saturating_mul(static_cast<uint64_t>(count), static_cast<uint64_t>(taps)) : UINT64_MAX;
  return Status::kOk;
}

template <typename T>
int32_t filter_zero(const Tensor& zero, int64_t filter) {
  return zero.present() ? static_cast<int32_t>(zero.as<T>()[zero.shape.count() == 1 ? 0 : filter]) : 0;
}

/// Calls store(flat output position, filter, sum) for every output; the padding counts as the zero point. Sums wrap as int32 does.
template <typename X, typename W, typename Store>
void integer_conv(Context& context, const IntegerConvOperands& use, Store&& store) {
  const IntegerConvState& s = context.state_as<IntegerConvState>();
  const Window& w = s.window;
  const int64_t in = w.in[0] * w.in[1] * w.in[2], out = w.out[0] * w.out[1] * w.out[2];
  const int64_t taps = w.kernel[0] * w.kernel[1] * w.kernel[2];
  const int64_t group_channels = s.channels / s.groups;
  const int32_t x_zero = filter_zero<X>(context.input(use.x_zero), 0);
  parallel_for(context_parallel(context), static_cast<size_t>(s.batch * s.filters), [&](size_t i) {
    const int64_t plane = static_cast<int64_t>(i), filter = plane % s.filters;
    const int64_t first = plane / s.filters * s.channels + filter / (s.filters / s.groups) * group_channels;
    const X* image = context.input(use.x).as<X>() + first * in;
    const W* weight = context.input(use.w).as<W>() + filter * group_channels * taps;
    const int32_t w_zero = filter_zero<W>(context.input(use.w_zero), filter);
    for (int64_t o = 0; o < out; ++o) {
      uint32_t sum = 0;
      window_each_tap(w, window_place(w, o), [&](int64_t position, int64_t tap) {
        for (int64_t c = 0; c < group_channels; ++c)
          sum += static_cast<uint32_t>((static_cast<int32_t>(image[c * in + position]) - x_zero) *
                                       (static_cast<int32_t>(weight[c * taps + tap]) - w_zero));
      });
      store(plane * out + o, filter, static_cast<int32_t>(sum));
    }
  });
}

template <typename Store>
void integer_conv_of_types(Context& context, const IntegerConvOperands& use, Store&& store) {
  if (context.output(0).shape.count() == 0) return;
  using Bytes = TypeList<int8_t, uint8_t>;
  Bytes::call(context.input(use.x).dtype, [&](auto x) {
    Bytes::call(context.input(use.w).dtype,
                [&](auto w) { integer_conv<typename decltype(x)::Type, typename decltype(w)::Type>(context, use, store); });
  });
}

}  // namespace

Status conv_integer_infer(Context& context) { return integer_conv_infer(context, kConvIntegerOperands, DType::kI32); }

Status conv_integer_run(Context& context) {
  int32_t* y = context.output(0).as<int32_t>();
  integer_conv_of_types(context, kConvIntegerOperands, [&](int64_t at, int64_t, int32_t sum) { y[at] = sum; });
  return Status::kOk;
}

Status qlinear_conv_infer(Context& context) {
  const int scales[] = {1, 4, 6};
  for (int i : scales) PENLIGHT_TRY(check_dtype(context, i, dtype_bit(DType::kF32)));
  PENLIGHT_TRY(check_dtype(context, 7, kIntegerConvTypes));
  PENLIGHT_TRY(integer_conv_infer(context, kQLinearConvOperands, context.input(7).dtype));
  const int64_t filters = context.state_as<IntegerConvState>().filters;
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
  if (context.output(0).shape.count() == 0) return Status::kOk;
  const Tensor &w_scale = context.input(4), &bias = context.input(8);
  const float scale = context.input(1).as<float>()[0] / context.input(6).as<float>()[0];
  with_quantized_type(context.output(0).dtype, [&](auto tag) {
    using Q = typename decltype(tag)::Type;
    const float zero = static_cast<float>(context.input(7).as<Q>()[0]);
    Q* y = context.output(0).as<Q>();
    integer_conv_of_types(context, kQLinearConvOperands, [&](int64_t at, int64_t filter, int32_t sum) {
      const int64_t whole = static_cast<int64_t>(sum) + (bias.present() ? bias.as<int32_t>()[filter] : 0);
      const float own = w_scale.as<float>()[w_scale.shape.count() == 1 ? 0 : filter];
      y[at] = quantized<Q>(static_cast<float>(whole) * scale * own, zero);
    });
  });
  return Status::kOk;
}

}  // namespace penlight
