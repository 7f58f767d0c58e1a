// Unique: the different elements, or the different slices along an axis. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "index_sort.h"
#include "rare_elements.h"
#include "shape_rules.h"

namespace penlight {

namespace {

/// The tensor as (outer, slices, inner); without an axis every element is a slice.
struct UniqueState {
  int axis = -1;
  int64_t outer = 1, slices = 0, inner = 1;
};

/// NaN is the largest and equals NaN.
int unique_compare_slices(const Tensor& x, OrderKey key, const UniqueState& s, int64_t a, int64_t b) {
  for (int64_t o = 0; s.inner > 0 && o < s.outer; ++o)
    for (int64_t i = 0; i < s.inner; ++i) {
      const int64_t left = key(x.data, (o * s.slices + a) * s.inner + i), right = key(x.data, (o * s.slices + b) * s.inner + i);
      if (left != right) return left < right ? -1 : 1;
    }
  return 0;
}

struct UniqueWork {
  int64_t* order;  // slices, those that are equal side by side, the first of them first
  int64_t* group;  // by slice: the number of its group
  int64_t* first;  // by group: its first slice
};

/// Sorts and numbers the groups by value; returns how many there are.
int64_t unique_group(const Tensor& x, const UniqueState& s, const UniqueWork& work) {
  const OrderKey key = order_key_of(x.dtype);
  for (int64_t i = 0; i < s.slices; ++i) work.order[i] = i;
  sort_indices(work.order, s.slices, [&](int64_t a, int64_t b) {
    const int sign = unique_compare_slices(x, key, s, a, b);
    return sign != 0 ? sign < 0 : a < b;
  });
  int64_t groups = 0;
  for (int64_t i = 0; i < s.slices; ++i) {
    const bool fresh = i == 0 || unique_compare_slices(x, key, s, work.order[i - 1], work.order[i]) != 0;
    if (fresh) work.first[groups++] = work.order[i];
    work.group[work.order[i]] = groups - 1;
  }
  return groups;
}

/// Numbers the groups by first appearance.
void unique_by_appearance(const UniqueState& s, const UniqueWork& work, int64_t groups) {
  // `order` becomes: by old number, the new one.
  for (int64_t g = 0; g < groups; ++g) work.order[g] = -1;
  int64_t next = 0;
  for (int64_t i = 0; i < s.slices; ++i) {
    int64_t& number = work.order[work.group[i]];
    if (number < 0) {
      number = next;
      work.first[next++] = i;
    }
    work.group[i] = number;
  }
}

void unique_write(Context& context, const UniqueState& s, const UniqueWork& work, int64_t groups) {
  const size_t row = static_cast<size_t>(s.inner) * dtype_size(context.input(0).dtype);
  char* to = context.output(0).as<char>();
  for (int64_t o = 0; row > 0 && groups > 0 && o < s.outer; ++o) {
    for (int64_t g = 0; g < groups; ++g, to += row)
      memcpy(to, context.input(0).as<char>() + static_cast<size_t>(o * s.slices + work.first[g]) * row, row);
  }
  context.output(0).shape.dims[s.axis < 0 ? 0 : s.axis] = groups;
  if (context.output_wanted(1)) {
    for (int64_t g = 0; g < groups; ++g) context.output(1).as<int64_t>()[g] = work.first[g];
    context.output(1).shape.dims[0] = groups;
  }
  if (context.output_wanted(2)) {
    for (int64_t i = 0; i < s.slices; ++i) context.output(2).as<int64_t>()[i] = work.group[i];
  }
  if (context.output_wanted(3)) {
    int64_t* counts = context.output(3).as<int64_t>();
    for (int64_t g = 0; g < groups; ++g) counts[g] = 0;
    for (int64_t i = 0; i < s.slices; ++i) ++counts[work.group[i]];
    context.output(3).shape.dims[0] = groups;
  }
}

}  // namespace

Status unique_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  const Shape& x = context.input(0).shape;
  UniqueState& s = context.state_as<UniqueState>();
  s = UniqueState{};
  constexpr int64_t kNoAxis = INT64_MIN;
  const int64_t axis = context.attributes->integer("axis", kNoAxis);
  Shape out = x;
  if (axis == kNoAxis) {
    s.slices = x.count();
    out = make_shape(&s.slices, 1);
  } else {
    PENLIGHT_TRY(normalize_axis(context, axis, x.rank, &s.axis));
    s.outer = dims_product(x, 0, s.axis);
    s.slices = x.dims[s.axis];
    s.inner = dims_product(x, s.axis + 1, x.rank);
  }
  context.sized_by_data = true;
  uint64_t depth = 1;
  while (s.slices >> depth != 0) ++depth;
  context.macs = saturating_mul(4 * depth, static_cast<uint64_t>(x.count() > s.slices ? x.count() : s.slices));
  for (int i = 0; i < 3; ++i)
    if (!add_scratch(context, s.slices, sizeof(int64_t))) return scratch_too_large(context);
  for (int i = 1; i < context.output_count; ++i)
    if (context.output_wanted(i)) PENLIGHT_TRY(set_output(context, i, DType::kI64, make_shape(&s.slices, 1)));
  return set_output(context, 0, context.input(0).dtype, out);
}

Status unique_run(Context& context) {
  const UniqueState& s = context.state_as<UniqueState>();
  const auto step = (static_cast<size_t>(s.slices) * sizeof(int64_t) + 63) / 64 * 64 / sizeof(int64_t);
  auto* scratch = static_cast<int64_t*>(context.scratch);
  const UniqueWork work = {scratch, scratch + step, scratch + 2 * step};
  const int64_t groups = unique_group(context.input(0), s, work);
  if (context.attributes->integer("sorted", 1) == 0) unique_by_appearance(s, work, groups);
  unique_write(context, s, work, groups);
  return Status::kOk;
}

}  // namespace penlight
