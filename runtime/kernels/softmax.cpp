// Softmax and LogSoftmax along any axis. SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "normalize.h"
#include "real_functions.h"
#include "shape_rules.h"

namespace penlight {

namespace {

/// The tensor as (outer, width, inner) with the softmax along `width`.
struct SoftmaxState {
  int64_t outer = 1, width = 1, inner = 1;
};

/// One line of elements `step` apart, in double precision.
template <typename T>
void softmax_line(const T* x, T* y, int64_t width, int64_t step, bool logarithm) {
  using C = typename Element<T>::Compute;
  double largest = -__builtin_inf(), sum = 0;
  for (int64_t i = 0; i < width; ++i) {
    const double value = static_cast<double>(static_cast<C>(x[i * step]));
    largest = value > largest || value != value ? value : largest;
  }
  for (int64_t i = 0; i < width; ++i) sum += real_exp(static_cast<double>(static_cast<C>(x[i * step])) - largest);
  const double log_sum = real_log(sum);
  for (int64_t i = 0; i < width; ++i) {
    const double shifted = static_cast<double>(static_cast<C>(x[i * step])) - largest;
    y[i * step] = T(static_cast<C>(logarithm ? shifted - log_sum : real_exp(shifted) / sum));
  }
}

template <typename T>
void softmax_lines(Context& context, const SoftmaxState& s, const T* x, T* y, bool logarithm) {
  parallel_ranges(context_parallel(context), static_cast<size_t>(s.outer * s.inner), 16, [&](size_t begin, size_t end) {
    for (size_t line = begin; line < end; ++line) {
      const int64_t first = static_cast<int64_t>(line) / s.inner * s.width * s.inner + static_cast<int64_t>(line) % s.inner;
      softmax_line(x + first, y + first, s.width, s.inner, logarithm);
    }
  });
}

Status run_softmax(Context& context, bool logarithm) {
  const SoftmaxState& s = context.state_as<SoftmaxState>();
  const Tensor& x = context.input(0);
  Tensor& y = context.output(0);
  if (x.shape.count() == 0) return Status::kOk;
  if (x.dtype == DType::kF32 && s.inner == 1) {
    softmax_rows_f32(x.as<float>(), y.as<float>(), s.outer, s.width, logarithm, context_parallel(context));
    return Status::kOk;
  }
  FloatTypes::call(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    softmax_lines(context, s, x.as<T>(), y.as<T>(), logarithm);
  });
  return Status::kOk;
}

}  // namespace

/// Before opset 13 the axis is 1 unless given, and the dimensions from it on are one.
Status softmax_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  const Shape& x = context.input(0).shape;
  const bool flattens = context.version < 13;
  int axis = 0;
  if (x.rank > 0) PENLIGHT_TRY(normalize_axis(context, context.attributes->integer("axis", flattens ? 1 : -1), x.rank, &axis));
  SoftmaxState& s = context.state_as<SoftmaxState>();
  s.outer = dims_product(x, 0, axis);
  s.width = x.rank == 0 ? 1 : dims_product(x, axis, flattens ? x.rank : axis + 1);
  s.inner = flattens ? 1 : dims_product(x, axis + 1, x.rank);
  const uint64_t lines = x.count() == 0 ? 0 : static_cast<uint64_t>(s.outer * s.inner);
  context.macs = saturating_add(saturating_mul(static_cast<uint64_t>(x.count()), 4), saturating_mul(lines, 32));
  return set_output(context, 0, context.input(0).dtype, x);
}

Status softmax_run(Context& context) { return run_softmax(context, false); }
Status log_softmax_run(Context& context) { return run_softmax(context, true); }

}  // namespace penlight
