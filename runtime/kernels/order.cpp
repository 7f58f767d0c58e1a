// Operators that look for elements along an axis: ArgMax, ArgMin, TopK; and CumSum. SPDX-License-Identifier: Apache-2.0
#include "shape_rules.h"

namespace penlight {

namespace {

/// The tensor as (outer, width, inner), the axis being `width`.
struct AxisState {
  int64_t outer = 1, width = 1, inner = 1, k = 0;
  int64_t slot = 0;  // scratch entries of one thread
};

AxisState axis_state(const Shape& x, int axis) {
  AxisState s;
  s.outer = dims_product(x, 0, axis);
  s.width = x.rank > 0 ? x.dims[axis] : 1;
  s.inner = dims_product(x, axis + 1, x.rank);
  return s;
}

/// Is x to be taken before y? NaN counts as the largest, as in NumPy.
template <typename T>
bool comes_before(T x, T y, bool largest) {
  if (x != x || y != y) return largest ? x != x && y == y : x == x && y != y;
  return largest ? x > y : x < y;
}

template <typename T>
int64_t best_of_line(const T* x, const AxisState& s, bool largest, bool last) {
  using C = typename Element<T>::Compute;
  int64_t best = 0;
  for (int64_t i = 1; i < s.width; ++i) {
    const C value = static_cast<C>(x[i * s.inner]), old = static_cast<C>(x[best * s.inner]);
    // NaN wins on both sides
    const bool wins = value != value ? old == old : comes_before(value, old, largest) && old == old;
    if (wins || (last && value == old)) best = i;
  }
  return best;
}

Status arg_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kNumericTypes));
  const Shape& x = context.input(0).shape;
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  int axis = 0;
  PENLIGHT_TRY(normalize_axis(context, context.attributes->integer("axis", 0), x.rank, &axis));
  const bool keep = context.attributes->integer("keepdims", 1) != 0;
  if (x.dims[axis] == 0) return context.fail(Status::kShapeMismatch, "dimension %d is empty", axis);
  Shape out;
  for (int i = 0; i < x.rank; ++i)
    if (i != axis || keep) out.dims[out.rank++] = i == axis ? 1 : x.dims[i];
  context.state_as<AxisState>() = axis_state(x, axis);
  context.macs = static_cast<uint64_t>(x.count());
  return set_output(context, 0, DType::kI64, out);
}

Status run_arg(Context& context, bool largest) {
  const AxisState& s = context.state_as<AxisState>();
  const bool last = context.attributes->integer("select_last_index", 0) != 0;
  with_numeric_type(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const T* x = context.input(0).as<T>();
    int64_t* y = context.output(0).as<int64_t>();
    for (int64_t o = 0; o < s.outer; ++o)
      for (int64_t i = 0; i < s.inner; ++i) y[o * s.inner + i] = best_of_line(x + o * s.width * s.inner + i, s, largest, last);
  });
  return Status::kOk;
}

/// Keeps the k best positions of a line in order; equal elements in order of position.
template <typename T>
void top_of_line(const T* x, const AxisState& s, bool largest, int64_t* best) {
  using C = typename Element<T>::Compute;
  int64_t held = 0;
  for (int64_t i = 0; i < s.width; ++i) {
    const C value = static_cast<C>(x[i * s.inner]);
    if (held == s.k && !comes_before(value, static_cast<C>(x[best[held - 1] * s.inner]), largest)) continue;
    int64_t low = 0, high = held;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (comes_before(value, static_cast<C>(x[best[middle] * s.inner]), largest))
        high = middle;
      else
        low = middle + 1;
    }
    if (held < s.k) ++held;
    for (int64_t j = held - 1; j > low; --j) best[j] = best[j - 1];
    best[low] = i;
  }
}

template <typename T>
void cumulate_line(const T* x, T* y, const AxisState& s, bool exclusive, bool reverse) {
  using S = typename Element<T>::Sum;
  S sum{};
  for (int64_t n = 0; n < s.width; ++n) {
    const int64_t at = (reverse ? s.width - 1 - n : n) * s.inner;
    const S value = static_cast<S>(x[at]);
    if (exclusive) y[at] = static_cast<T>(sum);
    sum += value;
    if (!exclusive) y[at] = static_cast<T>(sum);
  }
}

}  // namespace

Status arg_max_infer(Context& context) { return arg_infer(context); }
Status arg_min_infer(Context& context) { return arg_infer(context); }
Status arg_max_run(Context& context) { return run_arg(context, true); }
Status arg_min_run(Context& context) { return run_arg(context, false); }

Status top_k_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kNumericTypes));
  const Shape& x = context.input(0).shape;
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  int axis = 0, count = 0;
  int64_t k = 0;
  PENLIGHT_TRY(normalize_axis(context, context.attributes->integer("axis", -1), x.rank, &axis));
  PENLIGHT_TRY(read_known_integers(context, 1, "k", &k, 1, &count));
  if (count != 1 || k < 0 || k > x.dims[axis])
    return context.fail(Status::kShapeMismatch, "k is %lld, the dimension has %lld elements", static_cast<long long>(k),
                        static_cast<long long>(x.dims[axis]));
  AxisState& s = context.state_as<AxisState>();
  s = axis_state(x, axis);
  s.k = k;
  Shape out = x;
  out.dims[axis] = k;
  context.macs = saturating_mul(static_cast<uint64_t>(x.count()), static_cast<uint64_t>(k > 0 ? k : 1) + 1);
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  if (context.output_count > 1) PENLIGHT_TRY(set_output(context, 1, DType::kI64, out));
  return add_scratch(context, k, sizeof(int64_t)) ? Status::kOk : scratch_too_large(context);
}

Status top_k_run(Context& context) {
  const AxisState& s = context.state_as<AxisState>();
  const bool largest = context.attributes->integer("largest", 1) != 0;
  int64_t* best = static_cast<int64_t*>(context.scratch);
  int64_t* indices = context.output_count > 1 ? context.output(1).as<int64_t>() : nullptr;
  if (context.output(0).shape.count() == 0) return Status::kOk;
  with_numeric_type(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    for (int64_t line = 0; line < s.outer * s.inner; ++line) {
      const T* x = context.input(0).as<T>() + line / s.inner * s.width * s.inner + line % s.inner;
      top_of_line(x, s, largest, best);
      for (int64_t i = 0; i < s.k; ++i) {
        const int64_t at = (line / s.inner * s.k + i) * s.inner + line % s.inner;
        context.output(0).as<T>()[at] = x[best[i] * s.inner];
        if (indices != nullptr) indices[at] = best[i];
      }
    }
  });
  return Status::kOk;
}

Status cum_sum_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kNumericTypes));
  const Shape& x = context.input(0).shape;
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  int64_t given = 0;
  int axis = 0, count = 0;
  PENLIGHT_TRY(read_known_integers(context, 1, "axis", &given, 1, &count));
  PENLIGHT_TRY(normalize_axis(context, given, x.rank, &axis));
  context.state_as<AxisState>() = axis_state(x, axis);
  context.macs = static_cast<uint64_t>(x.count());
  return set_output(context, 0, context.input(0).dtype, x);
}

Status cum_sum_run(Context& context) {
  const AxisState& s = context.state_as<AxisState>();
  const bool exclusive = context.attributes->integer("exclusive", 0) != 0, reverse = context.attributes->integer("reverse", 0) != 0;
  if (context.input(0).shape.count() == 0) return Status::kOk;
  with_numeric_type(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    for (int64_t line = 0; line < s.outer * s.inner; ++line) {
      const int64_t first = line / s.inner * s.width * s.inner + line % s.inner;
      cumulate_line(context.input(0).as<T>() + first, context.output(0).as<T>() + first, s, exclusive, reverse);
    }
  });
  return Status::kOk;
}

}  // namespace penlight
