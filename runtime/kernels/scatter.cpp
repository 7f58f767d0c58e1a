// Writes at places that an index tensor names, in the order of the updates. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "index.h"

namespace penlight {

namespace {

enum class ScatterReduction { kNone, kAdd, kMul, kMax, kMin };

struct ScatterState {
  int axis = 0, tuple = 0;
  ScatterReduction reduction = ScatterReduction::kNone;
};

Status scatter_operands(Context& context, ScatterState* state) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  PENLIGHT_TRY(check_dtype(context, 1, kIndexTypes));
  PENLIGHT_TRY(check_same_dtype(context, 2, 0));
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  const char* text = context.attributes->text("reduction");
  const char* names[] = {"none", "add", "mul", "max", "min"};
  *state = ScatterState{};
  for (int i = 0; text != nullptr && i < 5; ++i)
    if (strcmp(text, names[i]) == 0) {
      state->reduction = static_cast<ScatterReduction>(i);
      text = nullptr;
    }
  if (text != nullptr) return context.fail(Status::kInvalidProgram, "reduction '%s' is not known", text);
  if (state->reduction != ScatterReduction::kNone) PENLIGHT_TRY(check_dtype(context, 0, kNumericTypes));
  const auto updates =
      saturating_add(static_cast<uint64_t>(context.input(1).shape.count()), static_cast<uint64_t>(context.input(2).shape.count()));
  context.macs = saturating_add(static_cast<uint64_t>(context.input(0).shape.count()), saturating_mul(2, updates));
  return set_output(context, 0, context.input(0).dtype, context.input(0).shape);
}

using ScatterCombine = void (*)(ScatterReduction reduction, const void* from, void* to, int64_t n);

template <typename T>
void scatter_combine(ScatterReduction reduction, const void* from, void* to, int64_t n) {
  using S = typename Element<T>::Sum;
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  for (int64_t i = 0; i < n; ++i) switch (reduction) {
      case ScatterReduction::kAdd:
        y[i] = static_cast<T>(static_cast<S>(y[i]) + static_cast<S>(x[i]));
        break;
      case ScatterReduction::kMul:
        y[i] = static_cast<T>(static_cast<S>(y[i]) * static_cast<S>(x[i]));
        break;
      case ScatterReduction::kMax:
        y[i] = y[i] < x[i] ? x[i] : y[i];
        break;
      case ScatterReduction::kMin:
        y[i] = x[i] < y[i] ? x[i] : y[i];
        break;
      case ScatterReduction::kNone:
        y[i] = x[i];
        break;
    }
}

ScatterCombine scatter_function(DType dtype) {
  ScatterCombine combine = nullptr;
  with_any_type(dtype, [&](auto tag) { combine = scatter_combine<typename decltype(tag)::Type>; });
  return combine;
}

void copy_scatter_data(Context& context) {
  const Tensor& x = context.input(0);
  memcpy(context.output(0).data, x.data, static_cast<size_t>(x.shape.count()) * dtype_size(x.dtype));
}

}  // namespace

Status scatter_elements_infer(Context& context) {
  ScatterState& state = context.state_as<ScatterState>();
  PENLIGHT_TRY(scatter_operands(context, &state));
  const Shape &x = context.input(0).shape, &indices = context.input(1).shape;
  PENLIGHT_TRY(normalize_axis(context, context.attributes->integer("axis", 0), x.rank, &state.axis));
  if (!same_shape(indices, context.input(2).shape))
    return context.fail(Status::kShapeMismatch, "indices and updates differ in shape");
  PENLIGHT_TRY(check_rank(context, 1, x.rank, x.rank));
  for (int d = 0; d < x.rank; ++d)
    if (d != state.axis && indices.dims[d] > x.dims[d])
      return context.fail(Status::kShapeMismatch, "the indices have size %lld along dimension %d, the data has %lld",
                          static_cast<long long>(indices.dims[d]), d, static_cast<long long>(x.dims[d]));
  return Status::kOk;
}

Status scatter_elements_run(Context& context) {
  const ScatterState& state = context.state_as<ScatterState>();
  const Tensor &x = context.input(0), &indices = context.input(1), &updates = context.input(2);
  if (x.shape.count() == 0) return Status::kOk;
  const int64_t count = indices.shape.count();
  const size_t size = dtype_size(x.dtype);
  const ScatterCombine combine = scatter_function(x.dtype);
  copy_scatter_data(context);
  for (int64_t k = 0; k < count; ++k) {
    int64_t place = 0;
    PENLIGHT_TRY(element_place(context, x.shape, indices, state.axis, k, &place));
    combine(state.reduction, updates.as<char>() + static_cast<size_t>(k) * size,
            context.output(0).as<char>() + static_cast<size_t>(place) * size, 1);
  }
  return Status::kOk;
}

Status scatter_nd_infer(Context& context) {
  ScatterState& state = context.state_as<ScatterState>();
  PENLIGHT_TRY(scatter_operands(context, &state));
  PENLIGHT_TRY(check_rank(context, 1, 1, kMaxRank));
  const Shape &x = context.input(0).shape, &indices = context.input(1).shape, &updates = context.input(2).shape;
  const int64_t tuple = indices.dims[indices.rank - 1];
  if (tuple < 1 || tuple > x.rank)
    return context.fail(Status::kShapeMismatch, "tuples of %lld do not fit rank %d", static_cast<long long>(tuple), x.rank);
  state.tuple = static_cast<int>(tuple);
  bool fits = updates.rank == indices.rank - 1 + x.rank - state.tuple;
  for (int i = 0; fits && i < updates.rank; ++i)
    fits = updates.dims[i] == (i < indices.rank - 1 ? indices.dims[i] : x.dims[i - (indices.rank - 1) + state.tuple]);
  return fits ? Status::kOk
              : context.fail(Status::kShapeMismatch, "the updates do not have the shape that indices and data ask for");
}

Status scatter_nd_run(Context& context) {
  const ScatterState& state = context.state_as<ScatterState>();
  const Tensor &x = context.input(0), &indices = context.input(1), &updates = context.input(2);
  if (x.shape.count() == 0) return Status::kOk;
  const int64_t tuples = dims_product(indices.shape, 0, indices.shape.rank - 1);
  const int64_t row = dims_product(x.shape, state.tuple, x.shape.rank);
  const size_t size = dtype_size(x.dtype);
  const ScatterCombine combine = scatter_function(x.dtype);
  copy_scatter_data(context);
  for (int64_t k = 0; k < tuples; ++k) {
    int64_t place = 0;
    PENLIGHT_TRY(tuple_place(context, x.shape, 0, state.tuple, indices, k, &place));
    combine(state.reduction, updates.as<char>() + static_cast<size_t>(k * row) * size,
            context.output(0).as<char>() + static_cast<size_t>(place) * size, row);
  }
  return Status::kOk;
}

}  // namespace penlight
