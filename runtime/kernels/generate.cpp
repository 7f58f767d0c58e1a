// Tensors made from shapes and numbers, and triangles of matrices. SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "index.h"

namespace penlight {

namespace {

/// The part [start, end) of the dimensions that Shape returns.
struct ShapeSlice {
  int start = 0, end = 0;
};

int64_t clamp_dimension(int64_t i, int rank) {
  i = i < 0 ? i + rank : i;
  return i < 0 ? 0 : i > rank ? rank : i;
}

/// Writes `value`, an element of `size` bytes, n times.
void fill_elements(void* to, const void* value, size_t size, int64_t n) {
  with_element_size(size, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    T element;
    memcpy(&element, value, sizeof(T));
    for (int64_t i = 0; i < n; ++i) static_cast<T*>(to)[i] = element;
  });
}

/// Element k of a tensor of numbers.
double number_at(const Tensor& tensor, int64_t k) {
  double number = 0.0;
  with_numeric_type(tensor.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    number = static_cast<double>(static_cast<typename Element<T>::Compute>(tensor.as<T>()[k]));
  });
  return number;
}

/// Number of steps from start to limit; false when it is no number that fits.
template <typename T>
bool range_count(T start, T limit, T delta, int64_t* count) {
  const double steps = ceil((static_cast<double>(limit) - static_cast<double>(start)) / static_cast<double>(delta));
  if (!(steps < 4.0e18)) return false;
  *count = steps > 0 ? static_cast<int64_t>(steps) : 0;
  return true;
}

using RangeTypes = FloatTypes::And<int16_t, int32_t, int64_t>;

}  // namespace

Status shape_infer(Context& context) {
  const int rank = context.input(0).shape.rank;
  ShapeSlice& slice = context.state_as<ShapeSlice>();
  slice.start = static_cast<int>(clamp_dimension(context.attributes->integer("start", 0), rank));
  slice.end = static_cast<int>(clamp_dimension(context.attributes->integer("end", rank), rank));
  if (slice.end < slice.start) slice.end = slice.start;
  context.shapes_suffice = true;
  const int64_t count = slice.end - slice.start;
  context.macs = static_cast<uint64_t>(count);
  return set_output(context, 0, DType::kI64, make_shape(&count, 1));
}

Status shape_run(Context& context) {
  const ShapeSlice& slice = context.state_as<ShapeSlice>();
  for (int i = slice.start; i < slice.end; ++i) context.output(0).as<int64_t>()[i - slice.start] = context.input(0).shape.dims[i];
  return Status::kOk;
}

Status size_infer(Context& context) {
  context.shapes_suffice = true;
  context.macs = 1;
  return set_output(context, 0, DType::kI64, Shape{});
}

Status size_run(Context& context) {
  *context.output(0).as<int64_t>() = context.input(0).shape.count();
  return Status::kOk;
}

Status constant_of_shape_infer(Context& context) {
  int64_t dims[kMaxRank];
  int rank = 0;
  PENLIGHT_TRY(read_known_integers(context, 0, "shape", dims, kMaxRank, &rank));
  const Tensor value = context.attributes->tensor("value");
  if (value.present() && value.shape.count() != 1) return context.fail(Status::kInvalidProgram, "value must have one element");
  for (int i = 0; i < rank; ++i)
    if (dims[i] < 0) return context.fail(Status::kShapeMismatch, "size %lld at position %d", static_cast<long long>(dims[i]), i);
  PENLIGHT_TRY(set_output(context, 0, value.present() ? value.dtype : DType::kF32, make_shape(dims, rank)));
  context.macs = static_cast<uint64_t>(context.output(0).shape.count());
  return Status::kOk;
}

Status constant_of_shape_run(Context& context) {
  const Tensor value = context.attributes->tensor("value");
  const float zero = 0.0f;
  Tensor& y = context.output(0);
  fill_elements(y.data, value.present() ? value.data : &zero, dtype_size(y.dtype), y.shape.count());
  return Status::kOk;
}

Status range_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, RangeTypes::kBits));
  for (int i = 0; i < 3; ++i) {
    PENLIGHT_TRY(check_same_dtype(context, i, 0));
    if (context.input(i).shape.count() != 1) return context.fail(Status::kShapeMismatch, "input %d must be a scalar", i);
    if (context.input(i).data == nullptr) return wait_for_values(context, i);
  }
  int64_t count = 0;
  bool fits = false;
  RangeTypes::call(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    using C = typename Element<T>::Compute;
    const C delta = static_cast<C>(*context.input(2).as<T>());
    fits = delta != C(0) &&
           range_count(static_cast<C>(*context.input(0).as<T>()), static_cast<C>(*context.input(1).as<T>()), delta, &count);
  });
  if (!fits) return context.fail(Status::kInvalidValue, "start, limit and delta give no finite number of values");
  context.macs = static_cast<uint64_t>(count);
  return set_output(context, 0, context.input(0).dtype, make_shape(&count, 1));
}

Status range_run(Context& context) {
  const int64_t n = context.output(0).shape.count();
  RangeTypes::call(context.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    using S = typename Element<T>::Sum;
    const S start = static_cast<S>(*context.input(0).as<T>()), delta = static_cast<S>(*context.input(2).as<T>());
    for (int64_t i = 0; i < n; ++i) context.output(0).as<T>()[i] = static_cast<T>(start + static_cast<S>(i) * delta);
  });
  return Status::kOk;
}

Status eye_like_infer(Context& context) {
  PENLIGHT_TRY(check_rank(context, 0, 2, 2));
  constexpr DType kTypes[] = {DType::kNone, DType::kF32,  DType::kU8,   DType::kI8,  DType::kU16, DType::kI16, DType::kI32,
                              DType::kI64,  DType::kNone, DType::kBool, DType::kF16, DType::kF64, DType::kU32, DType::kU64};
  const int64_t type = context.attributes->integer("dtype", 0);
  const DType dtype = type == 0 ? context.input(0).dtype : type > 0 && type < 14 ? kTypes[type] : DType::kNone;
  if (dtype == DType::kNone)
    return context.fail(Status::kUnsupportedOperator, "dtype %lld is not known", static_cast<long long>(type));
  context.macs = static_cast<uint64_t>(context.input(0).shape.count());
  context.shapes_suffice = true;
  return set_output(context, 0, dtype, context.input(0).shape);
}

Status eye_like_run(Context& context) {
  Tensor& y = context.output(0);
  const int64_t k = context.attributes->integer("k", 0), rows = y.shape.dims[0], columns = y.shape.dims[1];
  const size_t bytes = static_cast<size_t>(y.shape.count()) * dtype_size(y.dtype);
  if (bytes > 0) memset(y.data, 0, bytes);
  with_any_type(y.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    for (int64_t i = 0; i < rows; ++i) {
      int64_t j;
      if (checked_add(i, k, &j) && j >= 0 && j < columns) y.as<T>()[i * columns + j] = static_cast<T>(1);
    }
  });
  return Status::kOk;
}

Status one_hot_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kNumericTypes));
  PENLIGHT_TRY(check_dtype(context, 1, kNumericTypes));
  PENLIGHT_TRY(check_dtype(context, 2, kAllTypes));
  const Tensor& known = context.input(1);
  const Shape& indices = context.input(0).shape;
  if (known.shape.count() != 1) return context.fail(Status::kShapeMismatch, "depth (input 1) must be one number");
  if (known.data == nullptr) return wait_for_values(context, 1);
  const double depth = number_at(known, 0);
  int axis = 0;
  PENLIGHT_TRY(check_rank(context, 0, 0, kMaxRank - 1));
  PENLIGHT_TRY(normalize_axis(context, context.attributes->integer("axis", -1), indices.rank + 1, &axis));
  if (!(depth >= 1.0) || depth > 4.0e18) return context.fail(Status::kShapeMismatch, "depth must be positive");
  if (context.input(2).shape.count() != 2) return context.fail(Status::kShapeMismatch, "values must hold the off and the on value");
  Shape out;
  for (int i = 0; i < axis; ++i) out.dims[out.rank++] = indices.dims[i];
  out.dims[out.rank++] = static_cast<int64_t>(depth);
  for (int i = axis; i < indices.rank; ++i) out.dims[out.rank++] = indices.dims[i];
  context.state_as<int>() = axis;
  PENLIGHT_TRY(set_output(context, 0, context.input(2).dtype, out));
  context.macs = static_cast<uint64_t>(out.count());
  return Status::kOk;
}

/// An index out of range gives a row of off values, as ONNX asks.
Status one_hot_run(Context& context) {
  const Tensor &indices = context.input(0), &values = context.input(2);
  Tensor& y = context.output(0);
  const int axis = context.state_as<int>();
  const size_t size = dtype_size(y.dtype);
  const int64_t depth = y.shape.dims[axis], inner = dims_product(y.shape, axis + 1, y.shape.rank), count = indices.shape.count();
  fill_elements(y.data, values.data, size, y.shape.count());
  for (int64_t k = 0; k < count; ++k) {
    const double index = number_at(indices, k);
    if (!(index >= -static_cast<double>(depth) && index < static_cast<double>(depth))) continue;
    const int64_t whole = static_cast<int64_t>(index), row = whole < 0 ? whole + depth : whole;
    const int64_t at = (k / inner * depth + row) * inner + k % inner;
    copy_element(values.as<char>() + size, y.as<char>() + static_cast<size_t>(at) * size, size);
  }
  return Status::kOk;
}

Status trilu_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  PENLIGHT_TRY(check_rank(context, 0, 2, kMaxRank));
  if (context.input(1).present() && (context.input(1).dtype != DType::kI64 || context.input(1).shape.count() != 1))
    return context.fail(Status::kShapeMismatch, "k must be one int64");
  context.macs = static_cast<uint64_t>(context.input(0).shape.count());
  return set_output(context, 0, context.input(0).dtype, context.input(0).shape);
}

Status trilu_run(Context& context) {
  const Tensor& x = context.input(0);
  if (x.shape.count() == 0) return Status::kOk;
  const bool upper = context.attributes->integer("upper", 1) != 0;
  const int64_t columns = x.shape.dims[x.shape.rank - 1], rows = x.shape.dims[x.shape.rank - 2];
  const int64_t given = context.input(1).present() ? *context.input(1).as<int64_t>() : 0;
  const int64_t k = given < -rows ? -rows : given > columns ? columns : given;
  const size_t size = dtype_size(x.dtype), row_bytes = static_cast<size_t>(columns) * size;
  for (int64_t r = 0; r < x.shape.count() / columns; ++r) {
    int64_t split = r % rows + k + (upper ? 0 : 1);  // the first column above, or the first that is dropped
    split = split < 0 ? 0 : split > columns ? columns : split;
    const size_t cut = static_cast<size_t>(split) * size;
    const char* from = x.as<char>() + static_cast<size_t>(r) * row_bytes;
    char* to = context.output(0).as<char>() + static_cast<size_t>(r) * row_bytes;
    memset(to, 0, row_bytes);
    memcpy(to + (upper ? cut : 0), from + (upper ? cut : 0), upper ? row_bytes - cut : cut);
  }
  return Status::kOk;
}

}  // namespace penlight
