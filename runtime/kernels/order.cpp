// Operators that look for elements along an axis: ArgMax, ArgMin, TopK; and CumSum. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "rare_elements.h"
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

/// Calls function(key): float32 has a loop of its own, other dtypes share one.
template <typename Function>
void with_order_key(DType dtype, Function&& function) {
  if (dtype == DType::kF32) return function([](const void* x, int64_t i) { return order_key<float>(x, i); });
  function([key = order_key_of(dtype)](const void* x, int64_t i) { return key(x, i); });
}

/// NaN wins on both sides.
template <typename Key>
int64_t best_of_line(const Key& key, const void* x, int64_t first, const AxisState& s, bool largest, bool last, bool has_nan) {
  int64_t best = 0, best_rank = 0;
  for (int64_t i = 0; i < s.width; ++i) {
    const int64_t own = key(x, first + i * s.inner);
    const bool is_nan = has_nan && own == INT64_MAX;
    const int64_t rank = largest || is_nan ? own : ~own;
    if (i > 0 && rank <= best_rank && (!last || is_nan || rank < best_rank)) continue;
    best = i;
    best_rank = rank;
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
  const Tensor& x = context.input(0);
  int64_t* y = context.output(0).as<int64_t>();
  const bool has_nan = (dtype_bit(x.dtype) & kFloatTypes) != 0;
  with_order_key(x.dtype, [&](const auto& key) {
    for (int64_t line = 0; line < s.outer * s.inner; ++line)
      y[line] = best_of_line(key, x.data, line / s.inner * s.width * s.inner + line % s.inner, s, largest, last, has_nan);
  });
  return Status::kOk;
}

/// Keeps the k best positions of a line in order; equal elements in order of position.
template <typename Key>
void top_of_line(const Key& key, const void* x, int64_t first, const AxisState& s, bool largest, int64_t* best) {
  const auto rank = [&](int64_t i) {
    const int64_t own = key(x, first + i * s.inner);
    return largest ? ~own : own;
  };
  int64_t held = 0;
  for (int64_t i = 0; i < s.width; ++i) {
    const int64_t own = rank(i);
    if (held == s.k && own >= rank(best[held - 1])) continue;
    int64_t low = 0, high = held;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (own < rank(best[middle]))
        high = middle;
      else
        low = middle + 1;
    }
    if (held < s.k) ++held;
    for (int64_t j = held - 1; j > low; --j) best[j] = best[j - 1];
    best[low] = i;
  }
}

/// `add` takes the sum so far and an element.
template <typename Number, typename Elements, typename Add>
void cumulate(Context& context, const Elements& elements, Add&& add) {
  const AxisState& s = context.state_as<AxisState>();
  const bool exclusive = context.attributes->integer("exclusive", 0) != 0, reverse = context.attributes->integer("reverse", 0) != 0;
  for (int64_t line = 0; line < s.outer * s.inner; ++line) {
    const int64_t first = line / s.inner * s.width * s.inner + line % s.inner;
    Number sum = 0;
    for (int64_t n = 0; n < s.width; ++n) {
      const int64_t at = first + (reverse ? s.width - 1 - n : n) * s.inner;
      const Number before = sum;
      sum = add(sum, elements.read(context.input(0).data, at));
      elements.write(context.output(0).data, at, exclusive ? before : sum);
    }
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
  const Tensor& x = context.input(0);
  const int64_t size = static_cast<int64_t>(dtype_size(x.dtype));
  with_order_key(x.dtype, [&](const auto& key) {
    for (int64_t line = 0; line < s.outer * s.inner; ++line) {
      const int64_t first = line / s.inner * s.width * s.inner + line % s.inner;
      top_of_line(key, x.data, first, s, largest, best);
      for (int64_t i = 0; i < s.k; ++i) {
        const int64_t at = (line / s.inner * s.k + i) * s.inner + line % s.inner;
        memcpy(context.output(0).as<char>() + at * size, x.as<char>() + (first + best[i] * s.inner) * size,
               static_cast<size_t>(size));
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
  const DType dtype = context.input(0).dtype;
  if (context.input(0).shape.count() == 0) return Status::kOk;
  if ((dtype_bit(dtype) & kFloatTypes) == 0)
    cumulate<int64_t>(context, whole_elements(dtype), [](int64_t sum, int64_t value) {
      return static_cast<int64_t>(static_cast<uint64_t>(sum) + static_cast<uint64_t>(value));
    });
#if !PENLIGHT_SMALL
  else if (dtype == DType::kF32)
    cumulate<float>(context, Float32Elements{}, [](float sum, float value) { return sum + value; });
#endif
  else if (dtype == DType::kF64)
    cumulate<double>(context, real_elements(dtype), [](double sum, double value) { return sum + value; });
  else  // rounded to float after each step
    cumulate<double>(context, real_elements(dtype),
                     [](double sum, double value) { return static_cast<double>(static_cast<float>(sum + value)); });
  return Status::kOk;
}

}  // namespace penlight
