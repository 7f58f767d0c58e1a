// NonZero and Compress: the size of the output depends on values. The plan holds an upper bound, a run writes the real size.
// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "shape_rules.h"

namespace penlight {

namespace {

bool is_zero_element(const Tensor& x, int64_t i) {
  bool zero = true;
  with_any_type(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    using C = typename Element<T>::Compute;
    zero = static_cast<C>(x.as<T>()[i]) == C(0);
  });
  return zero;
}

struct CompressState {
  int axis = -1;  // -1: of the flattened input
  int64_t outer = 1, size = 0;
  int64_t inner = 1;
};

}  // namespace

Status non_zero_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  const Tensor& x = context.input(0);
  const int64_t out[] = {x.shape.rank, x.shape.count()};
  context.sized_by_data = true;
  context.macs = saturating_mul(static_cast<uint64_t>(x.shape.count()), static_cast<uint64_t>(x.shape.rank) + 1);
  return set_output(context, 0, DType::kI64, make_shape(out, 2));
}

Status non_zero_run(Context& context) {
  const Tensor& x = context.input(0);
  const int64_t n = x.shape.count();
  int64_t found = 0;
  for (int64_t i = 0; i < n; ++i) found += is_zero_element(x, i) ? 0 : 1;
  context.output(0).shape.dims[1] = found;
  int64_t* y = context.output(0).as<int64_t>();
  int64_t column = 0;
  for (int64_t i = 0; i < n && column < found; ++i) {
    if (is_zero_element(x, i)) continue;
    int64_t rest = i;
    for (int d = x.shape.rank - 1; d >= 0; --d) {
      y[d * found + column] = rest % x.shape.dims[d];
      rest /= x.shape.dims[d];
    }
    ++column;
  }
  return Status::kOk;
}

Status compress_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  PENLIGHT_TRY(check_dtype(context, 1, dtype_bit(DType::kBool)));
  PENLIGHT_TRY(check_rank(context, 1, 1, 1));
  const Shape& x = context.input(0).shape;
  CompressState& s = context.state_as<CompressState>();
  s = CompressState{};
  s.size = x.count();
  constexpr int64_t kNoAxis = INT64_MIN;
  const int64_t axis = context.attributes->integer("axis", kNoAxis);
  if (axis != kNoAxis) {
    PENLIGHT_TRY(normalize_axis(context, axis, x.rank, &s.axis));
    s.outer = dims_product(x, 0, s.axis);
    s.size = x.dims[s.axis];
    s.inner = dims_product(x, s.axis + 1, x.rank);
  }
  const int64_t entries = context.input(1).shape.dims[0];
  Shape out = x;
  if (s.axis < 0) out.rank = 1;
  out.dims[s.axis < 0 ? 0 : s.axis] = entries < s.size ? entries : s.size;
  context.sized_by_data = true;
  context.macs = saturating_add(static_cast<uint64_t>(x.count()), static_cast<uint64_t>(entries));
  return set_output(context, 0, context.input(0).dtype, out);
}

Status compress_run(Context& context) {
  const CompressState& s = context.state_as<CompressState>();
  const Tensor& condition = context.input(1);
  int64_t found = 0;
  for (int64_t i = 0; i < condition.shape.dims[0]; ++i) {
    if (condition.as<uint8_t>()[i] == 0) continue;
    if (i >= s.size)
      return context.fail(Status::kInvalidValue, "the condition selects element %lld of %lld", static_cast<long long>(i),
                          static_cast<long long>(s.size));
    ++found;
  }
  context.output(0).shape.dims[s.axis < 0 ? 0 : s.axis] = found;
  const size_t row = static_cast<size_t>(s.inner) * dtype_size(context.input(0).dtype);
  char* to = context.output(0).as<char>();
  for (int64_t o = 0; row > 0 && found > 0 && o < s.outer; ++o) {
    int64_t written = 0;
    for (int64_t i = 0; i < condition.shape.dims[0] && written < found; ++i) {
      if (condition.as<uint8_t>()[i] == 0 || i >= s.size) continue;
      memcpy(to, context.input(0).as<char>() + static_cast<size_t>(o * s.size + i) * row, row);
      to += row;
      ++written;
    }
  }
  return Status::kOk;
}

}  // namespace penlight
