// The parts of the call path put into one module. SPDX-License-Identifier: Apache-2.0
#define PENLIGHT_IMPORTS_NUMPY
#include "call.h"

namespace penlight {

Names names = {};

namespace {

bool intern_names() {
  const struct {
    PyObject** place;
    const char* text;
  } all[] = {
      {&names.forward, "forward"},
      {&names.backward, "backward"},
      {&names.kernels, "kernels"},
      {&names.xp, "xp"},
      {&names.base, "base"},
      {&names.kind, "kind"},
      {&names.dtype, "dtype"},
      {&names.shape, "shape"},
      {&names.sync_view, "_sync_view"},
      {&names.record, "record"},
      {&names.cast, "cast"},
      {&names.name, "name"},
      {&names.saves_inputs, "saves_inputs"},
      {&names.saves_output, "saves_output"},
      {&names.is_view, "is_view"},
      {&names.may_copy, "may_copy"},
      {&names.outputs, "outputs"},
      {&names.gradient, "gradient"},
      {&names.complex_gradient, "complex_gradient"},
      {&names.asarray, "asarray"},
      {&names.copy, "copy"},
      {&names.op, "operator"},
      {&names.inputs, "inputs"},
      {&names.edges, "edges"},
      {&names.instance, "__dict__"},
  };
  for (const auto& name : all)
    if ((*name.place = PyUnicode_InternFromString(name.text)) == nullptr) return false;
  return true;
}

bool import_numpy() { return PyArray_ImportNumPyAPI() >= 0; }

}  // namespace

bool add_call_path(PyObject* module) {
  return import_numpy() && intern_names() && add_tensor_type(module) && add_operator_type(module) && add_node_types(module) &&
         add_mode(module) && add_calls(module) && add_pass(module) && add_shortcuts(module) && add_small_kernels(module) &&
         add_small_activations(module);
}

}  // namespace penlight
