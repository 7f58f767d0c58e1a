// The mode of a thread: whether calls are taped, and who looks at them. SPDX-License-Identifier: Apache-2.0
#include "call.h"

namespace penlight {

namespace {

thread_local Mode current_mode;

char flag, functions;  // their addresses say what a field is that was not set: False, ()

PyObject* get_enabled(PyObject*, void*) { return PyBool_FromLong(current_mode.enabled ? 1 : 0); }

int set_enabled(PyObject*, PyObject* value, void*) {
  const int truth = value == nullptr ? -1 : PyObject_IsTrue(value);
  if (truth >= 0) current_mode.enabled = truth != 0;
  return truth < 0 ? -1 : 0;
}

template <PyObject* Mode::*kField>
PyObject* get(PyObject*, void* kind) {
  PyObject* value = current_mode.*kField;
  if (value != nullptr) return Ref::share(value).release();
  return kind == &functions ? PyTuple_New(0) : Ref::share(kind == &flag ? Py_False : Py_None).release();
}

/// None and False are kept as null, so that threads that never set anything own nothing.
template <PyObject* Mode::*kField>
int set(PyObject*, PyObject* value, void*) {
  const bool is_default = value == nullptr || is_none(value) || value == Py_False;
  PyObject* old = current_mode.*kField;
  current_mode.*kField = is_default ? nullptr : Ref::share(value).release();
  Py_XDECREF(old);
  return 0;
}

PyGetSetDef properties[] = {
    {"enabled", get_enabled, set_enabled, "Whether calls are written to the tape.", nullptr},
    {"tracer", get<&Mode::tracer>, set<&Mode::tracer>, "The trace that records calls, or None.", nullptr},
    {"autocast", get<&Mode::autocast>, set<&Mode::autocast>, "What casts the inputs of calls, or None.", nullptr},
    {"on_node", get<&Mode::on_node>, set<&Mode::on_node>, "Called with each new node, or None.", nullptr},
    {"anomaly", get<&Mode::anomaly>, set<&Mode::anomaly>, "True where nodes keep their stack and gradients are checked.", &flag},
    {"inference", get<&Mode::inference>, set<&Mode::inference>, "True within inference_mode.", &flag},
    {"after_backward", get<&Mode::after_backward>, set<&Mode::after_backward>,
     "Functions that are called once, when the backward under way is done.", &functions},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyTypeObject mode_type() {
  PyTypeObject type = blank_type("penlight._native.Mode", "The mode of the calling thread.", sizeof(PyObject), Py_TPFLAGS_DEFAULT);
  type.tp_getset = properties;
  return type;
}

PyTypeObject ModeType = mode_type();

}  // namespace

Mode& thread_mode() { return current_mode; }

bool add_mode(PyObject* module) {
  if (PyType_Ready(&ModeType) < 0) return false;
  PyObject* mode = PyType_GenericAlloc(&ModeType, 0);
  return mode != nullptr && PyModule_AddObject(module, "mode", mode) == 0;
}

}  // namespace penlight
