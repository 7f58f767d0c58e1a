// SPDX-License-Identifier: Apache-2.0
#include "core/declared.h"
#include "core/session.h"

namespace penlight {
namespace {

Shape given_shape(const penlight_tensor& tensor) {
  Shape shape;
  shape.rank = static_cast<int>(tensor.rank);
  for (uint32_t i = 0; i < tensor.rank; ++i) shape.dims[i] = tensor.shape[i];
  return shape;
}

Status refuse_input(const penlight_session& session, size_t input, const Shape& shape, const char* why, penlight_error& error) {
  const FlatTable value = session.value(session.inputs[input]);
  char shapes[256];
  MessageWriter writer(shapes, sizeof(shapes));
  append_declared(writer, *session.program, value);
  writer.append(", got ");
  writer.append_shape(shape);
  return fail(error, Status::kShapeMismatch, "input '%.60s': expected shape %s: %s", value.get(PenValue::kName), shapes, why);
}

/// The size that a symbol must have for `constant + coefficient * symbol` to be `size`.
bool solve_symbol(FlatTable dim, int64_t size, int64_t* symbol_size) {
  const int64_t coefficient = dim.get(PenDim::kTerms, 0).get(PenDimTerm::kCoefficient);
  int64_t rest = 0;
  if (__builtin_sub_overflow(size, dim.get(PenDim::kConstant), &rest) || rest == INT64_MIN || rest % coefficient != 0) return false;
  *symbol_size = rest / coefficient;
  return true;
}

Status bind_symbol(penlight_session& session, size_t input, size_t index, const Shape& shape, penlight_error& error) {
  const FlatTable dim = session.value(session.inputs[input]).get(PenValue::kShape, index);
  const uint32_t symbol = dim.get(PenDim::kTerms, 0).get(PenDimTerm::kSymbol);
  if (session.symbols[symbol] != kUnbound) return Status::kOk;
  const FlatTable table = session.program->symbol(symbol);
  const int64_t minimum = table.get(PenSymbol::kMinimum);
  const int64_t maximum = table.get(PenSymbol::kMaximum);
  int64_t size = 0;
  if (!solve_symbol(dim, shape.dims[index], &size) || size < minimum || size > maximum) {
    char why[160];
    MessageWriter(why, sizeof(why))
        .append("'%.60s' must lie between %lld and %lld", table.get(PenSymbol::kName), static_cast<long long>(minimum),
                static_cast<long long>(maximum));
    return refuse_input(session, input, shape, why, error);
  }
  session.symbols[symbol] = size;
  return Status::kOk;
}

Status bind_input(penlight_session& session, size_t input, const penlight_tensor& tensor, penlight_error& error) {
  const FlatTables dims = session.value(session.inputs[input]).get(PenValue::kShape);
  Shape shape;
  if (tensor.rank > PENLIGHT_MAX_RANK)
    return fail(error, Status::kInvalidArgument, "input %zu: rank %u is above 8", input, tensor.rank);
  shape = given_shape(tensor);
  if (!shape_fits(shape)) return refuse_input(session, input, shape, "a size is negative or the tensor is too large", error);
  // Only a body's input may be of any dtype or rank; the verifier sees to it.
  const FlatTable value = session.value(session.inputs[input]);
  const bool any_shape = !value.declares(PenValue::kShape.slot);
  if (!any_shape && dims.count() != tensor.rank)
    return refuse_input(session, input, shape, "the number of dimensions differs", error);
  for (size_t i = 0; i < dims.count(); ++i) {
    if (dims[i].get(PenDim::kUnknown) || dims[i].get(PenDim::kTerms).count() != 1) continue;
    const Status status = bind_symbol(session, input, i, shape, error);
    if (status != Status::kOk) return status;
  }
  Tensor& bound = session.values[session.inputs[input]].tensor;
  bound.dtype = static_cast<DType>(value.get(PenValue::kDtype));
  if (bound.dtype == DType::kNone) bound.dtype = static_cast<DType>(tensor.dtype);
  bound.shape = shape;
  bound.data = nullptr;
  session.values[session.inputs[input]].place = Place::kInput;
  return Status::kOk;
}

/// Compares every dimension with the file's, once all symbols are bound.
Status check_input(const penlight_session& session, size_t input, penlight_error& error) {
  const Shape& shape = session.values[session.inputs[input]].tensor.shape;
  const FlatTables dims = session.value(session.inputs[input]).get(PenValue::kShape);
  for (size_t i = 0; i < dims.count(); ++i) {
    int64_t size = 0;
    const DimState state = declared_size(dims[i], session.symbols.data(), &size);
    if (state == DimState::kUnknown && dims[i].get(PenDim::kUnknown)) continue;
    if (state != DimState::kKnown || size != shape.dims[i]) {
      char why[64];
      MessageWriter(why, sizeof(why))
          .append("dimension %zu does not agree%s", i, dims[i].get(PenDim::kTerms).count() > 0 ? " with the others" : "");
      return refuse_input(session, input, shape, why, error);
    }
  }
  return Status::kOk;
}

}  // namespace

Status session_bind(penlight_session& session, const penlight_tensor* inputs, size_t count, penlight_error& error) {
  if (count != session.inputs.count()) {
    return fail(error, Status::kInvalidArgument, "expected %zu inputs, got %zu", session.inputs.count(), count);
  }
  for (size_t i = 0; i < session.symbols.count(); ++i) session.symbols[i] = kUnbound;
  for (size_t i = 0; i < count; ++i) {
    const Status status = bind_input(session, i, inputs[i], error);
    if (status != Status::kOk) return status;
  }
  for (size_t i = 0; i < count; ++i) {
    const Status status = check_input(session, i, error);
    if (status != Status::kOk) return status;
  }
  return Status::kOk;
}

bool session_shapes_match(const penlight_session& session, const penlight_tensor* inputs, size_t count) {
  if (!session.prepared || count != session.inputs.count()) return false;
  for (size_t i = 0; i < count; ++i) {
    const Shape& shape = session.values[session.inputs[i]].tensor.shape;
    if (inputs[i].rank != static_cast<uint32_t>(shape.rank)) return false;
    if (memcmp(inputs[i].shape, shape.dims, sizeof(int64_t) * inputs[i].rank) != 0) return false;
    const bool other_dtype = static_cast<DType>(inputs[i].dtype) != session.values[session.inputs[i]].tensor.dtype;
    if (session.is_body() && other_dtype) return false;
  }
  return true;
}

Status session_check_declared(const penlight_session& session, size_t value, const Tensor& tensor, penlight_error& error) {
  const FlatTable declared = session.value(value);
  const auto dtype = static_cast<DType>(declared.get(PenValue::kDtype));
  const FlatTables dims = declared.get(PenValue::kShape);
  bool agrees = dtype == DType::kNone || dtype == tensor.dtype;
  if (declared.declares(PenValue::kShape.slot)) agrees = agrees && dims.count() == static_cast<size_t>(tensor.shape.rank);
  for (size_t i = 0; agrees && i < dims.count(); ++i) {
    int64_t size = 0;
    const DimState state = declared_size(dims[i], session.symbols.data(), &size);
    agrees = state == DimState::kUnknown || (state == DimState::kKnown && size == tensor.shape.dims[i]);
  }
  if (agrees) return Status::kOk;
  char shapes[256];
  MessageWriter writer(shapes, sizeof(shapes));
  writer.append("declared %s ", dtype_name(dtype));
  append_declared(writer, *session.program, declared);
  writer.append(", computed %s ", dtype_name(tensor.dtype));
  writer.append_shape(tensor.shape);
  return fail(error, Status::kInvalidProgram, "value '%.60s': %s", declared.get(PenValue::kName), shapes);
}

}  // namespace penlight
