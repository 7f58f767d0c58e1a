// SPDX-License-Identifier: Apache-2.0
#include "core/declared.h"
#include "core/kept.h"

namespace penlight {
namespace {

/// The tensor has the value's rank and fixed sizes, and its bytes fill its shape.
bool sample_fits(const penlight_program& program, FlatTable tensor, FlatTable value) {
  Shape declared;
  declared_shape(value, &declared);
  const Shape shape = plain_shape(tensor.get(PenGoldenTensor::kShape));
  if (shape.rank != declared.rank) return false;
  for (int i = 0; i < shape.rank; ++i) {
    if (declared.dims[i] != -1 && shape.dims[i] != declared.dims[i]) return false;
  }
  const DType dtype = static_cast<DType>(value.get(PenValue::kDtype));
  return shape_fits(shape) && span_fits(program, tensor.get(PenGoldenTensor::kData), tensor_bytes(dtype, shape), dtype_size(dtype));
}

bool samples_fit(const penlight_program& program, FlatTables tensors, FlatTables values, FlatVector<uint32_t> operands,
                 size_t states) {
  if (tensors.count() + states != operands.count()) return false;
  for (size_t i = 0; i < tensors.count(); ++i) {
    if (!sample_fits(program, tensors[i], values[operands[i]])) return false;
  }
  return true;
}

bool golden_fits(const penlight_program& program, FlatTable golden) {
  const uint32_t index = golden.get(PenGolden::kMethod);
  if (index >= program.root.get(PenProgram::kMethods).count()) return false;
  const FlatTable method = program.method(index);
  const FlatTables values = method.get(PenMethod::kValues);
  const size_t states = method_state_count(method);
  return samples_fit(program, golden.get(PenGolden::kInputs), values, method.get(PenMethod::kInputs), states) &&
         samples_fit(program, golden.get(PenGolden::kOutputs), values, method.get(PenMethod::kOutputs), states) &&
         golden.get(PenGolden::kAtol) >= 0 && golden.get(PenGolden::kRtol) >= 0;  // false for NaN
}

bool resources_fit(const penlight_program& program, FlatTable resources) {
  const uint32_t index = resources.get(PenResources::kMethod);
  if (index >= program.root.get(PenProgram::kMethods).count()) return false;
  const size_t node_macs = resources.get(PenResources::kNodeMacs).count();
  if (node_macs != 0 && node_macs != program.method(index).get(PenMethod::kNodes).count()) return false;
  const FlatTables bindings = resources.get(PenResources::kBindings);
  for (size_t i = 0; i < bindings.count(); ++i) {
    if (bindings[i].get(PenSymbolBinding::kSymbol) >= program.root.get(PenProgram::kSymbols).count()) return false;
  }
  return true;
}

}  // namespace

Status verify_samples(const penlight_program& program, penlight_error& error) {
  const FlatTables golden = program.root.get(PenProgram::kGolden);
  for (size_t i = 0; i < golden.count(); ++i) {
    if (!golden_fits(program, golden[i])) {
      return fail(error, Status::kInvalidProgram, "golden sample %zu does not fit its method's inputs and outputs", i);
    }
  }
  const FlatTables resources = program.root.get(PenProgram::kResources);
  for (size_t i = 0; i < resources.count(); ++i) {
    if (!resources_fit(program, resources[i])) {
      return fail(error, Status::kInvalidProgram, "resource statement %zu names a method, node or symbol that is not there", i);
    }
  }
  return Status::kOk;
}

}  // namespace penlight
