// Index tensors: every index is checked before it is followed. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string.h>

#include "shape_rules.h"

namespace penlight {

constexpr uint32_t kIndexTypes = dtype_bit(DType::kI64) | dtype_bit(DType::kI32);

/// Index k of `indices` into a dimension of `size`; a negative one counts from the end.
inline Status index_at(Context& context, const Tensor& indices, int64_t k, int64_t size, int64_t* place) {
  const int64_t index = indices.dtype == DType::kI64 ? indices.as<int64_t>()[k] : indices.as<int32_t>()[k];
  if (index < -size || index >= size)
    return context.fail(Status::kInvalidValue, "index %lld is out of range for size %lld", static_cast<long long>(index),
                        static_cast<long long>(size));
  *place = index < 0 ? index + size : index;
  return Status::kOk;
}

/// Where GatherElements and ScatterElements find the element for flat position k of `indices` in data of shape `x`.
inline Status element_place(Context& context, const Shape& x, const Tensor& indices, int axis, int64_t k, int64_t* place) {
  int64_t index = 0, rest = k, stride = 1, at = 0;
  PENLIGHT_TRY(index_at(context, indices, k, x.dims[axis], &index));
  for (int d = x.rank - 1; d >= 0; --d) {
    const int64_t own = rest % indices.shape.dims[d];
    rest /= indices.shape.dims[d];
    at += (d == axis ? index : own) * stride;
    stride *= x.dims[d];
  }
  *place = at;
  return Status::kOk;
}

/// Where tuple k of `indices` points within dims [batch, x.rank) of x.
inline Status tuple_place(Context& context, const Shape& x, int batch, int tuple, const Tensor& indices, int64_t k,
                          int64_t* place) {
  int64_t at = 0;
  for (int t = 0; t < tuple; ++t) {
    int64_t index = 0;
    PENLIGHT_TRY(index_at(context, indices, k * tuple + t, x.dims[batch + t], &index));
    at = at * x.dims[batch + t] + index;
  }
  *place = at * dims_product(x, batch + tuple, x.rank);
  return Status::kOk;
}

inline void copy_element(const char* from, char* to, size_t size) {
  switch (size) {
    case 1:
      *to = *from;
      break;
    case 2:
      memcpy(to, from, 2);
      break;
    case 4:
      memcpy(to, from, 4);
      break;
    default:
      memcpy(to, from, 8);
      break;
  }
}

}  // namespace penlight
