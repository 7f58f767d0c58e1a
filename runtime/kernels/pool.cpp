// Pooling operators: float planes through the bare kernels, other dtypes and shapes tap by tap. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "pool2d.h"
#include "rare_elements.h"
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

/// Images and how many elements each has before and after.
struct PoolPlanes {
  int64_t planes, in, out;
};

PoolPlanes pool_planes(const Window& w, int64_t planes) {
  return {planes, w.in[0] * w.in[1] * w.in[2], w.out[0] * w.out[1] * w.out[2]};
}

/// `more(a, b)`: whether element a of x is greater than b; `put(o, i)` writes element i of x (-1: zero) as output o.
template <typename More, typename Put>
void max_pool_plain(const PoolState& state, int64_t* indices, int64_t planes, More&& more, Put&& put) {
  const PoolPlanes p = pool_planes(state.window, planes);
  for (int64_t plane = 0; plane < p.planes; ++plane)
    for (int64_t o = 0; o < p.out; ++o) {
      int64_t best = -1;
      const int64_t first = plane * p.in;
      window_each_tap(state.window, window_place(state.window, o), [more, first, &best](int64_t place, int64_t) {
        if (best < 0 || more(first + place, first + best)) best = place;
      });
      put(plane * p.out + o, best < 0 ? -1 : first + best);
      if (indices != nullptr) indices[plane * p.out + o] = best < 0 ? -1 : first + pool_index(state, best);
    }
}

template <typename T>
void max_pool_values(const PoolState& state, const T* x, T* y, int64_t* indices, int64_t planes) {
  max_pool_plain(
      state, indices, planes, [x](int64_t a, int64_t b) { return x[a] > x[b]; },
      [x, y](int64_t o, int64_t i) { y[o] = i < 0 ? T(0) : x[i]; });
}

void max_pool_reals(const PoolState& state, const Tensor& x, Tensor& y, int64_t* indices, int64_t planes) {
  const RealElements reals = real_elements(x.dtype);
  const auto size = static_cast<int64_t>(dtype_size(x.dtype));
  max_pool_plain(
      state, indices, planes, [&](int64_t a, int64_t b) { return reals.read(x.data, a) > reals.read(x.data, b); },
      [&](int64_t o, int64_t i) {
        char* to = y.as<char>() + o * size;
        if (i < 0)
          memset(to, 0, static_cast<size_t>(size));
        else
          memcpy(to, x.as<char>() + i * size, static_cast<size_t>(size));
      });
}

/// Sums and quotients of narrower types than double are rounded to float at each step.
void average_pool_plain(const PoolState& state, const Tensor& x, Tensor& y, int64_t planes) {
  const RealElements reals = real_elements(x.dtype);
  const auto narrowed = [wide = x.dtype == DType::kF64](double value) {
    return wide ? value : static_cast<double>(static_cast<float>(value));
  };
  const PoolPlanes p = pool_planes(state.window, planes);
  for (int64_t plane = 0; plane < p.planes; ++plane)
    for (int64_t o = 0; o < p.out; ++o) {
      const WindowPlace taps = window_place(state.window, o);
      double sum = 0;
      int64_t count = 0;
      window_each_tap(state.window, taps, [&](int64_t place, int64_t) {
        sum = narrowed(sum + reals.read(x.data, plane * p.in + place));
        ++count;
      });
      reals.write(y.data, plane * p.out + o, narrowed(sum / static_cast<double>(state.count_include_pad ? taps.padded : count)));
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

/// Elements of a floating dtype other than float32 as doubles, from one on.
struct RealPlane {
  const RealElements& reals;
  const void* x;
  int64_t first;
  double operator[](int64_t i) const { return reals.read(x, first + i); }
};

/// reduce(x, n) of each plane, where x[i] are its n elements.
template <typename Reduce>
Status global_pool_planes(Context& context, Reduce&& reduce) {
  const Tensor &x = context.input(0), &y = context.output(0);
  const int64_t planes = dims_product(x.shape, 0, 2), size = dims_product(x.shape, 2, x.shape.rank);
  const RealElements reals = real_elements(x.dtype);
  parallel_ranges(context_parallel(context), static_cast<size_t>(planes), 1, [&](size_t begin, size_t end) {
    for (int64_t p = static_cast<int64_t>(begin); p < static_cast<int64_t>(end); ++p) {
      if (!kRareReals || x.dtype == DType::kF32)
        y.as<float>()[p] = static_cast<float>(reduce(x.as<float>() + p * size, size));
      else if constexpr (kRareReals)
        reals.write(y.data, p, reduce(RealPlane{reals, x.data, p * size}, size));
    }
  });
  return Status::kOk;
}

/// In double precision, in a few sums that do not wait for each other.
template <typename Plane>
double plane_sum(const Plane& x, int64_t n) {
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
  if ((dtype_bit(x.dtype) & kFloatTypes) != 0) {
    max_pool_reals(state, x, y, indices, planes);
    return Status::kOk;
  }
  TypeList<int8_t, uint8_t>::call(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    max_pool_values(state, x.as<T>(), y.as<T>(), indices, planes);
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
  average_pool_plain(state, x, y, planes);
  return Status::kOk;
}

Status global_average_pool_infer(Context& context) { return global_pool_infer(context); }
Status global_max_pool_infer(Context& context) { return global_pool_infer(context); }

Status global_average_pool_run(Context& context) {
  return global_pool_planes(context, [](const auto& x, int64_t n) { return plane_sum(x, n) / static_cast<double>(n); });
}

Status global_max_pool_run(Context& context) {
  return global_pool_planes(context, [](const auto& x, int64_t n) {
    double best = -__builtin_inf();
    for (int64_t i = 0; i < n; ++i) {
      const double value = static_cast<double>(x[i]);
      best = value > best || value != value ? value : best;
    }
    return best;
  });
}

}  // namespace penlight
