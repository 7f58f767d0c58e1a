// The shape that the scale and the bias of a row norm must have, and its work. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "shape_rules.h"

namespace penlight {

/// Input i has an element for each of the normalised dimensions of x, those from `axis` on, and ones before them.
inline Status check_normalised_shape(Context& context, int i, const Shape& x, int axis) {
  const Shape& shape = context.input(i).shape;
  const int missing = x.rank - shape.rank;
  bool fits = missing >= 0 && missing <= axis;
  for (int d = missing; fits && d < x.rank; ++d) fits = shape.dims[d - missing] == (d < axis ? 1 : x.dims[d]);
  if (fits) return Status::kOk;
  return context.fail(Status::kUnsupportedOperator, "input %d must have the shape of the %d normalised dimensions", i,
                      x.rank - axis);
}

/// The work of norms of `rows` with `count` elements in all.
inline uint64_t norm_work(int64_t count, int64_t rows) {
  return count == 0
             ? 0
             : saturating_add(saturating_mul(static_cast<uint64_t>(count), 4), saturating_mul(static_cast<uint64_t>(rows), 32));
}

}  // namespace penlight
