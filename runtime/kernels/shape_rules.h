// What the shape rules of the operators share: checked sizes, axes, broadcasting, complaints. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "element.h"
#include "kernel.h"
#include "parallel.h"

namespace penlight {

#define PENLIGHT_TRY(expression)                                  \
  do {                                                            \
    const ::penlight::Status try_status = (expression);           \
    if (try_status != ::penlight::Status::kOk) return try_status; \
  } while (false)

/// Adds count * size bytes, rounded up to 64, to what `run` needs; false when the sum does not fit.
inline bool add_scratch(Context& context, int64_t count, size_t size) {
  int64_t bytes, total;
  if (count < 0 || !checked_mul(count, static_cast<int64_t>(size), &bytes) || !checked_add(bytes, 63, &bytes)) return false;
  bytes &= ~int64_t{63};
  if (!checked_add(static_cast<int64_t>(context.scratch_bytes), bytes, &total)) return false;
  context.scratch_bytes = static_cast<size_t>(total);
  return true;
}

inline Status scratch_too_large(Context& context) { return context.fail(Status::kOutOfMemory, "its working memory does not fit"); }

/// Number of elements, also before the core has checked that it fits; false when it does not.
inline bool checked_count(const Shape& shape, int64_t* count) {
  bool overflows = false, empty = false;
  int64_t n = 1;
  for (int i = 0; i < shape.rank; ++i) {
    if (shape.dims[i] < 0) return false;
    empty = empty || shape.dims[i] == 0;
    overflows = overflows || !checked_mul(n, shape.dims[i], &n);
  }
  *count = empty ? 0 : n;
  return empty || !overflows;
}

inline bool same_shape(const Shape& a, const Shape& b) {
  if (a.rank != b.rank) return false;
  for (int i = 0; i < a.rank; ++i)
    if (a.dims[i] != b.dims[i]) return false;
  return true;
}

/// Product of dims[begin, end).
inline int64_t dims_product(const Shape& shape, int begin, int end) {
  int64_t n = 1;
  for (int i = begin; i < end; ++i) n *= shape.dims[i];
  return n;
}

inline void row_major_strides(const Shape& shape, int64_t* strides) {
  int64_t step = 1;
  for (int i = shape.rank - 1; i >= 0; --i) {
    strides[i] = step;
    step *= shape.dims[i];
  }
}

inline Shape make_shape(const int64_t* dims, int rank) {
  Shape shape;
  shape.rank = rank;
  for (int i = 0; i < rank; ++i) shape.dims[i] = dims[i];
  return shape;
}

/// Declares output i; refuses a shape whose element count does not fit.
inline Status set_output(Context& context, int i, DType dtype, const Shape& shape) {
  int64_t count;
  if (!checked_count(shape, &count))
    return context.fail(Status::kShapeMismatch, "output %d has more elements than fit in 63 bits", i);
  context.output(i).dtype = dtype;
  context.output(i).shape = shape;
  return Status::kOk;
}

inline Status check_dtype(Context& context, int i, uint32_t allowed) {
  if ((dtype_bit(context.input(i).dtype) & allowed) != 0) return Status::kOk;
  return context.fail(Status::kUnsupportedOperator, "input %d has dtype %s, which this kernel does not take", i,
                      dtype_name(context.input(i).dtype));
}

/// Input i must be there and have the dtype of input `like`.
inline Status check_same_dtype(Context& context, int i, int like) {
  if (context.input(i).dtype == context.input(like).dtype) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "inputs %d and %d must have one dtype, they have %s and %s", like, i,
                      dtype_name(context.input(like).dtype), dtype_name(context.input(i).dtype));
}

inline Status check_rank(Context& context, int i, int low, int high) {
  const int rank = context.input(i).shape.rank;
  if (rank >= low && rank <= high) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "input %d has rank %d, expected %d to %d", i, rank, low, high);
}

/// -rank <= axis < rank, made non-negative.
inline Status normalize_axis(Context& context, int64_t axis, int rank, int* result) {
  if (axis < -rank || axis >= rank)
    return context.fail(Status::kShapeMismatch, "axis %lld is out of range for rank %d", static_cast<long long>(axis), rank);
  *result = static_cast<int>(axis < 0 ? axis + rank : axis);
  return Status::kOk;
}

/// The common shape of a and b by NumPy's rule.
inline Status broadcast_shapes(Context& context, const Shape& a, const Shape& b, Shape* result) {
  Shape out;
  out.rank = a.rank > b.rank ? a.rank : b.rank;
  for (int i = 0; i < out.rank; ++i) {
    const int ia = a.rank - out.rank + i, ib = b.rank - out.rank + i;
    const int64_t da = ia < 0 ? 1 : a.dims[ia], db = ib < 0 ? 1 : b.dims[ib];
    if (da != db && da != 1 && db != 1)
      return context.fail(Status::kShapeMismatch, "shapes do not broadcast: sizes %lld and %lld at dimension %d from the right",
                          static_cast<long long>(da), static_cast<long long>(db), out.rank - i);
    out.dims[i] = da == 1 ? db : da;
  }
  *result = out;
  return Status::kOk;
}

/// What `infer` returns when it cannot tell shapes without the data of input i.
inline Status wait_for_values(Context& context, int i) {
  context.needs_values = true;
  return context.fail(Status::kUnsupportedOperator, "the output's shape depends on the data of input %d", i);
}

/// Values of a known int64 or int32 vector (a scalar counts as one value), for shapes, axes and the like.
inline Status read_known_integers(Context& context, int i, const char* what, int64_t* values, int capacity, int* count) {
  const Tensor& tensor = context.input(i);
  if (tensor.dtype != DType::kI64 && tensor.dtype != DType::kI32)
    return context.fail(Status::kUnsupportedOperator, "%s (input %d) must be int64 or int32", what, i);
  const int64_t n = tensor.shape.count();
  if (tensor.shape.rank > 1 || n > capacity)
    return context.fail(Status::kShapeMismatch, "%s (input %d) must be a vector of at most %d values", what, i, capacity);
  if (tensor.data == nullptr && n > 0) return wait_for_values(context, i);
  *count = static_cast<int>(n);
  for (int64_t k = 0; k < n; ++k) values[k] = tensor.dtype == DType::kI64 ? tensor.as<int64_t>()[k] : tensor.as<int32_t>()[k];
  return Status::kOk;
}

/// Sets bit a for every axis; an axis that comes twice is an error.
inline Status axes_to_mask(Context& context, const int64_t* axes, int count, int rank, uint32_t* mask) {
  *mask = 0;
  for (int i = 0; i < count; ++i) {
    int axis = 0;
    PENLIGHT_TRY(normalize_axis(context, axes[i], rank, &axis));
    if ((*mask >> axis & 1u) != 0) return context.fail(Status::kInvalidProgram, "axis %d is named twice", axis);
    *mask |= uint32_t{1} << axis;
  }
  return Status::kOk;
}

inline void run_context_parallel(void* context, size_t count, void (*task)(void* argument, size_t index), void* argument) {
  static_cast<Context*>(context)->parallel(count, task, argument);
}

/// The session's threads as bare kernels take them.
inline Parallel context_parallel(Context& context) {
  const size_t threads = context.threads();
  return Parallel{threads > 1 ? run_context_parallel : nullptr, &context, threads > 0 ? threads : 1};
}

}  // namespace penlight
