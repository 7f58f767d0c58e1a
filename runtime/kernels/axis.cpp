// Operators along one axis or over channels: LpNormalization, Hardmax, CumProd, LRN, ReverseSequence. SPDX-License-Identifier:
// Apache-2.0
#include <math.h>
#include <string.h>

#include "index.h"
#include "real_functions.h"

namespace penlight {

namespace {

/// x seen as (outer, size, inner) around one axis.
struct AxisView {
  int64_t outer = 1, size = 1, inner = 1;
};

Status axis_view_infer(Context& context, int64_t axis, AxisView* view) {
  const Shape& x = context.input(0).shape;
  int place = 0;
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  PENLIGHT_TRY(normalize_axis(context, axis, x.rank, &place));
  *view = AxisView{dims_product(x, 0, place), x.dims[place], dims_product(x, place + 1, x.rank)};
  context.macs = static_cast<uint64_t>(x.count());
  return set_output(context, 0, context.input(0).dtype, x);
}

/// Calls body(x, y, step) for the first elements of every line along the axis.
template <typename T, typename Body>
void axis_lines(Context& context, const AxisView& view, Body&& body) {
  const T* x = context.input(0).as<T>();
  T* y = context.output(0).as<T>();
  if (context.input(0).shape.count() == 0) return;
  parallel_ranges(context_parallel(context), static_cast<size_t>(view.outer * view.inner),
                  static_cast<size_t>(4096 / view.size + 1), [&](size_t begin, size_t end) {
                    for (int64_t i = static_cast<int64_t>(begin); i < static_cast<int64_t>(end); ++i) {
                      const int64_t at = i / view.inner * view.size * view.inner + i % view.inner;
                      body(x + at, y + at, view.inner);
                    }
                  });
}

struct LpNormState {
  AxisView view;
  int64_t p = 2;
};

struct CumProdState {
  AxisView view;
  bool exclusive = false, reverse = false;
};

template <typename T>
double axis_wide(T value) {
  return static_cast<double>(static_cast<typename Element<T>::Compute>(value));
}

template <typename T>
T narrow_real(double value) {
  return T(static_cast<typename Element<T>::Compute>(value));
}

template <typename T>
void cum_prod_line(const CumProdState& s, const T* x, T* y, int64_t step) {
  using C = typename Element<T>::Compute;
  C product = C(1);
  for (int64_t i = 0; i < s.view.size; ++i) {
    const int64_t at = (s.reverse ? s.view.size - 1 - i : i) * step;
    const C value = static_cast<C>(x[at]);
    if (s.exclusive) y[at] = T(product);
    if constexpr (Element<T>::kIsFloat)
      product = product * value;
    else
      product = static_cast<C>(static_cast<uint64_t>(product) * static_cast<uint64_t>(value));
    if (!s.exclusive) y[at] = T(product);
  }
}

}  // namespace

Status lp_normalization_infer(Context& context) {
  LpNormState& state = context.state_as<LpNormState>();
  state.p = context.attributes->integer("p", 2);
  if (state.p != 1 && state.p != 2) return context.fail(Status::kInvalidProgram, "p must be 1 or 2");
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  return axis_view_infer(context, context.attributes->integer("axis", -1), &state.view);
}

Status lp_normalization_run(Context& context) {
  const LpNormState& s = context.state_as<LpNormState>();
  FloatTypes::call(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    axis_lines<T>(context, s.view, [&](const T* x, T* y, int64_t step) {
      double sum = 0;
      for (int64_t i = 0; i < s.view.size; ++i)
        sum += s.p == 1 ? fabs(axis_wide(x[i * step])) : axis_wide(x[i * step]) * axis_wide(x[i * step]);
      const double norm = s.p == 1 ? sum : sqrt(sum);
      for (int64_t i = 0; i < s.view.size; ++i) y[i * step] = narrow_real<T>(norm == 0.0 ? 0.0 : axis_wide(x[i * step]) / norm);
    });
  });
  return Status::kOk;
}

Status hardmax_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  return axis_view_infer(context, context.attributes->integer("axis", -1), &context.state_as<AxisView>());
}

Status hardmax_run(Context& context) {
  const AxisView& view = context.state_as<AxisView>();
  FloatTypes::call(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    axis_lines<T>(context, view, [&](const T* x, T* y, int64_t step) {
      int64_t best = 0;
      for (int64_t i = 1; i < view.size; ++i)
        if (axis_wide(x[i * step]) > axis_wide(x[best * step])) best = i;
      for (int64_t i = 0; i < view.size; ++i) y[i * step] = narrow_real<T>(i == best ? 1.0 : 0.0);
    });
  });
  return Status::kOk;
}

Status cum_prod_infer(Context& context) {
  int64_t axis = 0;
  int count = 0;
  PENLIGHT_TRY(check_dtype(context, 0, kNumericTypes));
  PENLIGHT_TRY(read_known_integers(context, 1, "axis", &axis, 1, &count));
  if (count != 1) return context.fail(Status::kShapeMismatch, "axis must be one number");
  CumProdState& state = context.state_as<CumProdState>();
  state.exclusive = context.attributes->integer("exclusive", 0) != 0;
  state.reverse = context.attributes->integer("reverse", 0) != 0;
  return axis_view_infer(context, axis, &state.view);
}

Status cum_prod_run(Context& context) {
  const CumProdState& s = context.state_as<CumProdState>();
  with_numeric_type(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    axis_lines<T>(context, s.view, [&](const T* x, T* y, int64_t step) { cum_prod_line(s, x, y, step); });
  });
  return Status::kOk;
}

namespace {

/// x to the power of beta; that of most models is two square roots.
double response_power(double x, double beta) { return beta == 0.75 ? sqrt(x) * sqrt(sqrt(x)) : real_pow(x, beta); }

}  // namespace

Status lrn_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  PENLIGHT_TRY(check_rank(context, 0, 2, kMaxRank));
  const int64_t size = context.attributes->integer("size", 0);
  if (size < 1 || size > INT32_MAX) return context.fail(Status::kInvalidProgram, "size must be 1 or more");
  PENLIGHT_TRY(axis_view_infer(context, 1, &context.state_as<AxisView>()));
  context.macs = saturating_mul(context.macs, static_cast<uint64_t>(size) + 16);  // a power for each
  return Status::kOk;
}

Status lrn_run(Context& context) {
  const AxisView& view = context.state_as<AxisView>();
  const int64_t size = context.attributes->integer("size", 1), before = (size - 1) / 2, after = size - 1 - before;
  const double alpha = context.attributes->real("alpha", 1e-4) / static_cast<double>(size);
  const double beta = context.attributes->real("beta", 0.75), bias = context.attributes->real("bias", 1.0);
  FloatTypes::call(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    axis_lines<T>(context, view, [&](const T* x, T* y, int64_t step) {
      for (int64_t c = 0; c < view.size; ++c) {
        const int64_t first = c > before ? c - before : 0, last = c + after < view.size ? c + after : view.size - 1;
        double sum = 0;
        for (int64_t i = first; i <= last; ++i) sum += axis_wide(x[i * step]) * axis_wide(x[i * step]);
        y[c * step] = narrow_real<T>(axis_wide(x[c * step]) / response_power(bias + alpha * sum, beta));
      }
    });
  });
  return Status::kOk;
}

Status reverse_sequence_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  PENLIGHT_TRY(check_dtype(context, 1, dtype_bit(DType::kI64)));
  PENLIGHT_TRY(check_rank(context, 0, 2, kMaxRank));
  const int64_t batch = context.attributes->integer("batch_axis", 1), time = context.attributes->integer("time_axis", 0);
  if (!((batch == 0 && time == 1) || (batch == 1 && time == 0)))
    return context.fail(Status::kInvalidProgram, "batch_axis and time_axis must be 0 and 1");
  const Shape &x = context.input(0).shape, &lengths = context.input(1).shape;
  if (lengths.rank != 1 || lengths.dims[0] != x.dims[batch])
    return context.fail(Status::kShapeMismatch, "sequence_lens must have shape (%lld,)", static_cast<long long>(x.dims[batch]));
  context.macs = static_cast<uint64_t>(x.count());
  return set_output(context, 0, context.input(0).dtype, x);
}

Status reverse_sequence_run(Context& context) {
  const Shape& x = context.input(0).shape;
  const bool batch_first = context.attributes->integer("batch_axis", 1) == 0;
  const int64_t batches = x.dims[batch_first ? 0 : 1], times = x.dims[batch_first ? 1 : 0];
  const size_t row = static_cast<size_t>(dims_product(x, 2, x.rank)) * dtype_size(context.input(0).dtype);
  for (int64_t b = 0; b < batches; ++b) {
    const int64_t length = context.input(1).as<int64_t>()[b];
    if (length < 0 || length > times)
      return context.fail(Status::kInvalidValue, "sequence length %lld is not in [0, %lld]", static_cast<long long>(length),
                          static_cast<long long>(times));
    for (int64_t t = 0; t < times && row > 0; ++t) {
      const int64_t from = t < length ? length - 1 - t : t;
      const size_t source = static_cast<size_t>(batch_first ? b * times + from : from * batches + b);
      const size_t target = static_cast<size_t>(batch_first ? b * times + t : t * batches + b);
      memcpy(context.output(0).as<char>() + target * row, context.input(0).as<char>() + source * row, row);
    }
  }
  return Status::kOk;
}

}  // namespace penlight
