// Pooling operators: float planes through the bare kernels, other dtypes and shapes tap by tap. SPDX-License-Identifier: Apache-2.0
#include "pool2d.h"
#include "shape_rules.h"
#include "window.h"

namespace penlight {

namespace {

struct PoolState {
  Window window;
  bool count_include_pad = false, column_major = false;
};

Pool2d pool2d_of_state(const PoolState& state, int64_t planes) {
  const Window& w = state.window;
  Pool2d p;
  p.planes = planes;
  p.count_include_pad = state.count_include_pad;
  const int y = w.rank - 2, x = w.rank - 1;
  p.height = p.out_h = 1;
  if (w.rank == 2) {
    p.height = w.in[y];
    p.kernel_h = w.kernel[y];
    p.stride_h = w.stride[y];
    p.dilation_h = w.dilation[y];
    p.pad_top = w.pad_begin[y];
    p.pad_bottom = w.pad_end[y];
    p.out_h = w.out[y];
  }
  p.width = w.in[x];
  p.kernel_w = w.kernel[x];
  p.stride_w = w.stride[x];
  p.dilation_w = w.dilation[x];
  p.pad_left = w.pad_begin[x];
  p.pad_right = w.pad_end[x];
  p.out_w = w.out[x];
  return p;
}

Status pool_infer(Context& context, uint32_t dtypes) {
  PENLIGHT_TRY(check_dtype(context, 0, dtypes));
  const Shape& x = context.input(0).shape;
  PENLIGHT_TRY(check_rank(context, 0, 3, 2 + kWindowRank));
  PoolState& state = context.state_as<PoolState>();
  state = PoolState{};
  int64_t kernel[kWindowRank];
  if (context.attributes->integers("kernel_shape", kernel, kWindowRank) != x.rank - 2)
    return context.fail(Status::kInvalidProgram, "kernel_shape must have %d entries", x.rank - 2);
  PENLIGHT_TRY(read_window(context, x, nullptr, &state.window));
  PENLIGHT_TRY(window_outputs(context, &state.window, context.attributes->integer("ceil_mode", 0) != 0));
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, window_output_shape(state.window, x.dims[0], x.dims[1])));
  uint64_t taps = 1;
  for (int d = 0; d < state.window.rank; ++d) taps = saturating_mul(taps, static_cast<uint64_t>(state.window.kernel[d]));
  const bool fast = context.input(0).dtype == DType::kF32 && state.window.rank <= 2 && !context.output_wanted(1);
  if (!fast) taps = saturating_add(saturating_mul(taps, 2), 4);  // each is looked for
  context.macs = saturating_add(saturating_mul(taps, static_cast<uint64_t>(context.output(0).shape.count())),
                                saturating_mul(4, static_cast<uint64_t>(dims_product(x, 0, 2))));
  int64_t floats = 0;
  if (state.window.rank <= 2 && !pool2d_scratch_floats(pool2d_of_state(state, 0), context.threads(), &floats))
    return scratch_too_large(context);
  return add_scratch(context, floats, sizeof(float)) ? Status::kOk : scratch_too_large(context);
}

/// ONNX's storage_order 1 counts the last two spatial dimensions the other way round.
int64_t pool_index(const PoolState& state, int64_t place) {
  const Window& w = state.window;
  if (!state.column_major || w.rank < 2) return place;
  const int64_t height = w.in[w.rank - 2], width = w.in[w.rank - 1], plane = place / (height * width),
                rest = place % (height * width);
  return plane * height * width + rest % width * height + rest / width;
}

template <typename T>
void max_pool_plain(const PoolState& state, const T* x, T* y, int64_t* indices, int64_t planes) {
  const Window& w = state.window;
  const int64_t in = w.in[0] * w.in[1] * w.in[2], out = w.out[0] * w.out[1] * w.out[2];
  for (int64_t plane = 0; plane < planes; ++plane)
    for (int64_t o = 0; o < out; ++o) {
      int64_t best = -1;
      const T* from = x + plane * in;
      window_each_tap(w, window_place(w, o), [&](int64_t place, int64_t) {
        if (best < 0 || from[place] > from[best]) best = place;
      });
      y[plane * out + o] = best < 0 ? T(0) : from[best];
      if (indices != nullptr) indices[plane * out + o] = best < 0 ? -1 : plane * in + pool_index(state, best);
    }
}

template <typename T>
void average_pool_plain(const PoolState& state, const T* x, T* y, int64_t planes) {
  using C = typename Element<T>::Compute;
  const Window& w = state.window;
  const int64_t in = w.in[0] * w.in[1] * w.in[2], out = w.out[0] * w.out[1] * w.out[2];
  for (int64_t plane = 0; plane < planes; ++plane)
    for (int64_t o = 0; o < out; ++o) {
      const WindowPlace taps = window_place(w, o);
      C sum{};
      int64_t count = 0;
      window_each_tap(w, taps, [&](int64_t place, int64_t) {
        sum += static_cast<C>(x[plane * in + place]);
        ++count;
      });
      y[plane * out + o] = T(sum / static_cast<C>(state.count_include_pad ? taps.padded : count));
    }
}

using PoolTypes = FloatTypes::And<int8_t, uint8_t>;

Status global_pool_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  PENLIGHT_TRY(check_rank(context, 0, 2, kMaxRank));
  const Shape& x = context.input(0).shape;
  Shape out = x;
  for (int d = 2; d < x.rank; ++d) out.dims[d] = 1;
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  context.macs = saturating_add(static_cast<uint64_t>(x.count()), static_cast<uint64_t>(out.count()));
  return Status::kOk;
}

template <typename Reduce>
void global_pool_planes(Context& context, Reduce&& reduce) {
  const Tensor& x = context.input(0);
  const int64_t planes = dims_product(x.shape, 0, 2), size = dims_product(x.shape, 2, x.shape.rank);
  FloatTypes::call(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    parallel_ranges(context_parallel(context), static_cast<size_t>(planes), 1, [&](size_t begin, size_t end) {
      for (size_t p = begin; p < end; ++p)
        context.output(0).as<T>()[p] =
            T(static_cast<typename Element<T>::Compute>(reduce(x.as<T>() + static_cast<int64_t>(p) * size, size)));
    });
  });
}

/// In double precision, in a few sums that do not wait for each other.
template <typename T>
double plane_sum(const T* x, int64_t n) {
  constexpr int64_t kSums = 8;
  double sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums)
    for (int64_t k = 0; k < kSums; ++k) sums[k] += static_cast<double>(x[i + k]);
  for (int64_t k = 0; i + k < n; ++k) sums[k] += static_cast<double>(x[i + k]);
  for (int64_t width = kSums / 2; width > 0; width /= 2)
    for (int64_t k = 0; k < width; ++k) sums[k] += sums[k + width];
  return sums[0];
}

}  // namespace

Status max_pool_infer(Context& context) {
  PENLIGHT_TRY(pool_infer(context, PoolTypes::kBits));
  context.state_as<PoolState>().column_major = context.attributes->integer("storage_order", 0) != 0;
  return context.output_wanted(1) ? set_output(context, 1, DType::kI64, context.output(0).shape) : Status::kOk;
}

Status max_pool_run(Context& context) {
  const PoolState& state = context.state_as<PoolState>();
  const Tensor& x = context.input(0);
  Tensor& y = context.output(0);
  if (y.shape.count() == 0) return Status::kOk;
  const int64_t planes = x.shape.dims[0] * x.shape.dims[1];
  int64_t* indices = context.output_wanted(1) ? context.output(1).as<int64_t>() : nullptr;
  if (x.dtype == DType::kF32 && state.window.rank <= 2 && indices == nullptr) {
    max_pool2d_f32(pool2d_of_state(state, planes), x.as<float>(), y.as<float>(), static_cast<float*>(context.scratch),
                   context_parallel(context));
    return Status::kOk;
  }
  PoolTypes::call(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    max_pool_plain<T>(state, x.as<T>(), y.as<T>(), indices, planes);
  });
  return Status::kOk;
}

Status average_pool_infer(Context& context) {
  PENLIGHT_TRY(pool_infer(context, kFloatTypes));
  context.state_as<PoolState>().count_include_pad = context.attributes->integer("count_include_pad", 0) != 0;
  return Status::kOk;
}

Status average_pool_run(Context& context) {
  const PoolState& state = context.state_as<PoolState>();
  const Tensor& x = context.input(0);
  Tensor& y = context.output(0);
  if (y.shape.count() == 0) return Status::kOk;
  const int64_t planes = x.shape.dims[0] * x.shape.dims[1];
  if (x.dtype == DType::kF32 && state.window.rank <= 2) {
    average_pool2d_f32(pool2d_of_state(state, planes), x.as<float>(), y.as<float>(), static_cast<float*>(context.scratch),
                       context_parallel(context));
    return Status::kOk;
  }
  FloatTypes::call(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    average_pool_plain<T>(state, x.as<T>(), y.as<T>(), planes);
  });
  return Status::kOk;
}

Status global_average_pool_infer(Context& context) { return global_pool_infer(context); }
Status global_max_pool_infer(Context& context) { return global_pool_infer(context); }

Status global_average_pool_run(Context& context) {
  global_pool_planes(context, [](const auto* x, int64_t n) { return plane_sum(x, n) / static_cast<double>(n); });
  return Status::kOk;
}

Status global_max_pool_run(Context& context) {
  global_pool_planes(context, [](const auto* x, int64_t n) {
    double best = -__builtin_inf();
    for (int64_t i = 0; i < n; ++i) {
      const double value = static_cast<double>(x[i]);
      best = value > best || value != value ? value : best;
    }
    return best;
  });
  return Status::kOk;
}

}  // namespace penlight
