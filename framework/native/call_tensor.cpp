// The base type of penlight.Tensor: the fields that every call reads, without a dictionary. SPDX-License-Identifier: Apache-2.0

#include <cstddef>

#include "call.h"

namespace penlight {

namespace {

PyObject* zero = nullptr;
PyObject* no_views = nullptr;

void fill(TensorObject* t, PyObject* data) {
  PyObject** nones[] = {&t->grad, &t->node, &t->version, &t->base, &t->hooks, &t->accumulate_hooks, &t->owns_grad, &t->traced};
  for (PyObject** field : nones) {
    Py_INCREF(Py_None);
    *field = Py_None;
  }
  PyObject** zeros[] = {&t->index, &t->stamp, &t->rebased};
  for (PyObject** field : zeros) {
    Py_INCREF(zero);
    *field = zero;
  }
  Py_INCREF(no_views);
  t->views = no_views;
  Py_INCREF(Py_False);
  t->requires_grad = Py_False;
  Py_INCREF(data);
  t->data = data;
}

PyObject* allocate(PyTypeObject* type, PyObject* data) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self != nullptr) fill(as_tensor(self), data);
  return self;
}

PyObject* tensor_new(PyTypeObject* type, PyObject*, PyObject*) { return allocate(type, Py_None); }

int tensor_traverse(PyObject* self, visitproc visit, void* arg) {
  TensorObject* t = as_tensor(self);
  Py_VISIT(t->data);
  Py_VISIT(t->grad);
  Py_VISIT(t->node);
  Py_VISIT(t->version);
  Py_VISIT(t->base);
  Py_VISIT(t->views);
  Py_VISIT(t->hooks);
  Py_VISIT(t->accumulate_hooks);
  Py_VISIT(t->owns_grad);
  Py_VISIT(t->traced);
  return 0;
}

/// Breaks cycles. Fields become None and not null: a finaliser may still look at the tensor.
int tensor_clear(PyObject* self) {
  TensorObject* t = as_tensor(self);
  PyObject** fields[] = {&t->data,      &t->grad,  &t->node, &t->version, &t->base, &t->hooks, &t->accumulate_hooks,
                         &t->owns_grad, &t->traced};
  for (PyObject** field : fields)
    if (*field != nullptr) assign(*field, Py_None);
  return 0;
}

// Only subclasses of Python have instances; their own dealloc limits the depth of recursion.
void tensor_dealloc(PyObject* self) {
  PyObject_GC_UnTrack(self);
  TensorObject* t = as_tensor(self);
  PyObject* fields[] = {t->data,      t->requires_grad, t->grad,  t->node,    t->index, t->version,
                        t->base,      t->views,         t->stamp, t->rebased, t->hooks, t->accumulate_hooks,
                        t->owns_grad, t->traced};
  for (PyObject* field : fields) Py_XDECREF(field);
  Py_TYPE(self)->tp_free(self);
}

constexpr int kObject = T_OBJECT_EX;  // the interpreter reads such a member without a call

PyMemberDef tensor_members[] = {
    {"_data", kObject, offsetof(TensorObject, data), 0, nullptr},
    {"requires_grad", kObject, offsetof(TensorObject, requires_grad), 0, "Whether the tape records what happens to it."},
    {"grad", kObject, offsetof(TensorObject, grad), 0, "The accumulated gradient of a leaf after backward(), or None."},
    {"_node", kObject, offsetof(TensorObject, node), 0, nullptr},
    {"_index", kObject, offsetof(TensorObject, index), 0, nullptr},
    {"_version", kObject, offsetof(TensorObject, version), 0, nullptr},
    {"_base", kObject, offsetof(TensorObject, base), 0, nullptr},
    {"_views", kObject, offsetof(TensorObject, views), 0, nullptr},
    {"_stamp", kObject, offsetof(TensorObject, stamp), 0, nullptr},
    {"_rebased", kObject, offsetof(TensorObject, rebased), 0, nullptr},
    {"_hooks", kObject, offsetof(TensorObject, hooks), 0, nullptr},
    {"_accumulate_hooks", kObject, offsetof(TensorObject, accumulate_hooks), 0, nullptr},
    {"_owns_grad", kObject, offsetof(TensorObject, owns_grad), 0, nullptr},
    {"_traced", kObject, offsetof(TensorObject, traced), 0, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyObject* from_array(PyObject*, PyObject* array) { return wrap_array(array); }

PyMethodDef functions[] = {
    {"from_array", from_array, METH_O, "Wraps an array (not a scalar) without a copy or a check."},
    {nullptr, nullptr, 0, nullptr},
};

PyTypeObject tensor_type() {
  PyTypeObject type = blank_type("penlight._native.TensorBase", "The fields of a Tensor.", sizeof(TensorObject),
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC);
  type.tp_new = tensor_new;
  type.tp_dealloc = tensor_dealloc;
  type.tp_traverse = tensor_traverse;
  type.tp_clear = tensor_clear;
  type.tp_members = tensor_members;
  return type;
}

}  // namespace

PyTypeObject TensorBaseType = tensor_type();

PyObject* wrap_array(PyObject* array) { return allocate(reinterpret_cast<PyTypeObject*>(callbacks.tensor_type), array); }

int64_t version_of(const TensorObject* t) { return is_none(t->version) ? 0 : PyLong_AsLongLong(PyList_GET_ITEM(t->version, 0)); }

bool add_tensor_type(PyObject* module) {
  zero = PyLong_FromLong(0);
  no_views = PyTuple_New(0);
  if (zero == nullptr || no_views == nullptr || PyType_Ready(&TensorBaseType) < 0) return false;
  Py_INCREF(&TensorBaseType);
  return PyModule_AddObject(module, "TensorBase", reinterpret_cast<PyObject*>(&TensorBaseType)) == 0 &&
         PyModule_AddFunctions(module, functions) == 0;
}

}  // namespace penlight
