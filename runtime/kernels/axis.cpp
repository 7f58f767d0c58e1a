// Operators along one axis or over channels: LpNormalization, Hardmax, CumProd, LRN, ReverseSequence. SPDX-License-Identifier:
// Apache-2.0
#include <math.h>
#include <string.h>

#include "index.h"
#include "rare_elements.h"
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

/// Calls body(first, step) for every line along the axis: its elements are first + i * step.
template <typename Body>
Status axis_lines(Context& context, const AxisView& view, Body&& body) {
  if (context.input(0).shape.count() == 0) return Status::kOk;
  parallel_ranges(context_parallel(context), static_cast<size_t>(view.outer * view.inner),
                  static_cast<size_t>(4096 / view.size + 1), [&](size_t begin, size_t end) {
                    for (int64_t i = static_cast<int64_t>(begin); i < static_cast<int64_t>(end); ++i)
                      body(i / view.inner * view.size * view.inner + i % view.inner, view.inner);
                  });
  return Status::kOk;
}

struct LpNormState {
  AxisView view;
  int64_t p = 2;
};

struct CumProdState {
  AxisView view;
  bool exclusive = false, reverse = false;
};

/// A product of a narrower type is rounded after each factor, as its own arithmetic does.
double narrowed_product(double product, double value, DType dtype) {
  return dtype == DType::kF64 ? product * value : static_cast<double>(static_cast<float>(product * value));
}

template <typename Number, typename Elements, typename Multiply>
void cum_prod_line(const CumProdState& s, const Elements& elements, const void* x, void* y, int64_t first, int64_t step,
                   Multiply&& multiply) {
  Number product = 1;
  for (int64_t i = 0; i < s.view.size; ++i) {
    const int64_t at = first + (s.reverse ? s.view.size - 1 - i : i) * step;
    const Number before = product;
    product = multiply(product, elements.read(x, at));
    elements.write(y, at, s.exclusive ? before : product);
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
  const void* x = context.input(0).data;
  const RealElements reals = real_elements(context.input(0).dtype);
  return axis_lines(context, s.view, [&](int64_t first, int64_t step) {
    double sum = 0;
    for (int64_t i = 0; i < s.view.size; ++i) {
      const double value = reals.read(x, first + i * step);
      sum += s.p == 1 ? fabs(value) : value * value;
    }
    const double norm = s.p == 1 ? sum : sqrt(sum);
    for (int64_t i = first; i < first + s.view.size * step; i += step)
      reals.write(context.output(0).data, i, norm == 0.0 ? 0.0 : reals.read(x, i) / norm);
  });
}

Status hardmax_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  return axis_view_infer(context, context.attributes->integer("axis", -1), &context.state_as<AxisView>());
}

Status hardmax_run(Context& context) {
  const AxisView& view = context.state_as<AxisView>();
  const void* x = context.input(0).data;
  const RealElements reals = real_elements(context.input(0).dtype);
  return axis_lines(context, view, [&](int64_t first, int64_t step) {
    int64_t best = 0;
    for (int64_t i = 1; i < view.size; ++i)
      if (reals.read(x, first + i * step) > reals.read(x, first + best * step)) best = i;
    for (int64_t i = 0; i < view.size; ++i) reals.write(context.output(0).data, first + i * step, i == best ? 1.0 : 0.0);
  });
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
  const DType dtype = context.input(0).dtype;
  const void* x = context.input(0).data;
  void* y = context.output(0).data;
  if ((dtype_bit(dtype) & kFloatTypes) != 0)
    return axis_lines(context, s.view, [&, reals = real_elements(dtype)](int64_t first, int64_t step) {
      cum_prod_line<double>(s, reals, x, y, first, step, [&](double a, double b) { return narrowed_product(a, b, dtype); });
    });
  return axis_lines(context, s.view, [&, wholes = whole_elements(dtype)](int64_t first, int64_t step) {
    cum_prod_line<int64_t>(s, wholes, x, y, first, step, [](int64_t a, int64_t b) {
      return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
    });
  });
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
  const void* x = context.input(0).data;
  return with_real_elements(context.input(0).dtype, [&](const auto& reals) {
    return axis_lines(context, view, [&](int64_t origin, int64_t step) {
      for (int64_t c = 0; c < view.size; ++c) {
        const int64_t first = c > before ? c - before : 0, last = c + after < view.size ? c + after : view.size - 1;
        double sum = 0;
        for (int64_t i = first; i <= last; ++i) {
          const double value = static_cast<double>(reals.read(x, origin + i * step));
          sum += value * value;
        }
        const double value = static_cast<double>(reals.read(x, origin + c * step));
        reals.write(context.output(0).data, origin + c * step, value / response_power(bias + alpha * sum, beta));
      }
    });
  });
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
