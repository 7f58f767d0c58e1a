// Shortcuts: a function of Python whose plain calls are made here. SPDX-License-Identifier: Apache-2.0
//
// Most calls of `add` have two float32 tensors, and then promotion, keywords and the frame of a Python function are half of the
// time. A shortcut makes such a call itself, and leaves all others to the function that it stands in front of.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <iterator>

#include "call.h"

namespace penlight {

namespace {

/// Makes the call if it is a plain one: true, and the result or null after an error.
using Attempt = bool (*)(PyObject* type, PyObject* const* args, Py_ssize_t count, PyObject** result);

struct Kind {
  const char* name;
  Attempt attempt;
};

struct ShortcutObject {
  PyObject_HEAD vectorcallfunc call;
  PyObject* function;
  PyObject* type;  // of the operator
  const Kind* kind;
};

ShortcutObject* as_shortcut(PyObject* object) { return reinterpret_cast<ShortcutObject*>(object); }

/// The number of the dtype of a NumPy tensor if it is float32 or float64; -1 for anything else.
int plain_type(PyObject* object) {
  if (!is_tensor(object) || !PyArray_CheckExact(as_tensor(object)->data)) return -1;
  const int type = PyArray_TYPE(as_array(as_tensor(object)->data));
  return type == NPY_FLOAT || type == NPY_DOUBLE ? type : -1;
}

int dims_of(PyObject* tensor) { return PyArray_NDIM(as_array(as_tensor(tensor)->data)); }

bool apply_to(PyObject* type, PyObject* const* given, Py_ssize_t given_count, PyObject* const* tensors, Py_ssize_t count,
              PyObject** result) {
  const Ref op(make_operator(type, given, given_count));
  *result = op ? apply_operator(op.get(), tensors, count) : nullptr;
  return true;
}

/// A number as a float32 tensor without dimensions, made once; null for what is rare: 0, NaN, large integers, other classes.
PyObject* constant(PyObject* number) {
  static PyObject* made = PyDict_New();
  constexpr double kExact = 1 << 24;
  constexpr Py_ssize_t kMost = 4096;
  double value = 0;
  if (PyFloat_CheckExact(number))
    value = PyFloat_AS_DOUBLE(number);
  else if (PyLong_CheckExact(number) && std::fabs(value = PyLong_AsDouble(number)) > kExact)
    value = 0;
  if (PyErr_Occurred() != nullptr) PyErr_Clear();
  if (value == 0 || std::isnan(value) || thread_mode().tracer != nullptr) return nullptr;
  PyObject* found = PyDict_GetItemWithError(made, number);
  if (found != nullptr) return found;
  const Ref array(PyArray_SimpleNew(0, nullptr, NPY_FLOAT));
  if (!array) return nullptr;
  *static_cast<float*>(PyArray_DATA(as_array(array.get()))) = static_cast<float>(value);
  const Ref t(wrap_array(array.get()));
  if (PyDict_GET_SIZE(made) >= kMost) PyDict_Clear(made);
  return t && PyDict_SetItem(made, number, t.get()) == 0 ? PyDict_GetItemWithError(made, number) : nullptr;
}

/// Two tensors of one dtype, or a float32 tensor and a number.
bool binary(PyObject* type, PyObject* const* args, Py_ssize_t count, PyObject** result) {
  const int kind = count == 2 ? plain_type(args[0]) : -1;
  if (kind < 0) return false;
  if (plain_type(args[1]) == kind) return apply_to(type, nullptr, 0, args, 2, result);
  const Ref other(kind == NPY_FLOAT ? Ref::share(constant(args[1])) : Ref());
  if (!other) return PyErr_Occurred() != nullptr;
  PyObject* const tensors[] = {args[0], other.get()};
  return apply_to(type, nullptr, 0, tensors, 2, result);
}

/// Two tensors of one dtype that are matrices, or stacks of them.
bool product(PyObject* type, PyObject* const* args, Py_ssize_t count, PyObject** result) {
  const int kind = count == 2 ? plain_type(args[0]) : -1;
  if (kind < 0 || plain_type(args[1]) != kind || dims_of(args[0]) < 2 || dims_of(args[1]) < 2) return false;
  return apply_to(type, nullptr, 0, args, 2, result);
}

/// x, weight, and a bias, None or nothing.
bool linear(PyObject* type, PyObject* const* args, Py_ssize_t count, PyObject** result) {
  if (count != 2 && count != 3) return false;
  PyObject* const tensors[] = {args[0], args[1], count == 3 ? args[2] : Py_None};
  return apply_to(type, nullptr, 0, tensors, 3, result);
}

bool unary(PyObject* type, PyObject* const* args, Py_ssize_t count, PyObject** result) {
  return count == 1 && plain_type(args[0]) >= 0 && apply_to(type, nullptr, 0, args, 1, result);
}

/// The dimension that an int names, or -1.
int dim_of(PyObject* number, int dims) {
  if (!PyLong_CheckExact(number)) return -1;
  const long dim = PyLong_AsLong(number);
  if (dim == -1 && PyErr_Occurred() != nullptr) PyErr_Clear();
  return dim < -dims || dim >= dims ? -1 : static_cast<int>(dim < 0 ? dim + dims : dim);
}

/// A tensor and a dimension, the last one if none is given.
bool along(PyObject* type, PyObject* const* args, Py_ssize_t count, PyObject** result) {
  if (count < 1 || count > 2 || plain_type(args[0]) < 0) return false;
  const int dims = dims_of(args[0]), dim = count == 1 ? dims - 1 : dim_of(args[1], dims);
  if (dim < 0) return false;
  const Ref number(PyLong_FromLong(dim));
  PyObject* const given[] = {number.get()};
  return number && apply_to(type, given, 1, args, 1, result);
}

/// The order of `dims` dimensions with two of them exchanged, as a tuple.
PyObject* exchanged(int dims, int a, int b) {
  PyObject* order = PyTuple_New(dims);
  for (int d = 0; order != nullptr && d < dims; ++d) PyTuple_SET_ITEM(order, d, PyLong_FromLong(d == a ? b : d == b ? a : d));
  return order;
}

/// A tensor and two dimensions to exchange.
bool exchange(PyObject* type, PyObject* const* args, Py_ssize_t count, PyObject** result) {
  constexpr int kMost = 4;
  static PyObject* operators[kMost + 1][kMost][kMost] = {};  // such an operator holds no size, so that traces may share it too
  if (count != 3 || !is_tensor(args[0]) || !PyArray_CheckExact(as_tensor(args[0])->data) || dims_of(args[0]) > kMost) return false;
  const int dims = dims_of(args[0]), a = dim_of(args[1], dims), b = dim_of(args[2], dims);
  if (a < 0 || b < 0) return false;
  PyObject*& op = operators[dims][a][b];
  if (op == nullptr) {
    const Ref order(exchanged(dims, a, b));
    PyObject* const given[] = {order.get()};
    op = order ? make_operator(type, given, 1) : nullptr;
  }
  *result = op != nullptr ? apply_operator(op, args, 1) : nullptr;
  return true;
}

const Kind kinds[] = {{"binary", binary}, {"product", product}, {"linear", linear},
                      {"unary", unary},   {"along", along},     {"exchange", exchange}};

PyObject* shortcut_call(PyObject* self, PyObject* const* args, size_t flags, PyObject* keywords) {
  PyObject* result = nullptr;
  const ShortcutObject* shortcut = as_shortcut(self);
  if (keywords == nullptr && shortcut->kind->attempt(shortcut->type, args, PyVectorcall_NARGS(flags), &result)) return result;
  return PyObject_Vectorcall(shortcut->function, args, flags, keywords);
}

/// Shortcut(kind, operator class, function)
PyObject* shortcut_new(PyTypeObject* type, PyObject* args, PyObject*) {
  const char* kind = nullptr;
  PyObject *operator_type = nullptr, *function = nullptr;
  if (PyArg_ParseTuple(args, "sO!O:Shortcut", &kind, &PyType_Type, &operator_type, &function) == 0) return nullptr;
  const Kind* found =
      std::find_if(std::begin(kinds), std::end(kinds), [&](const Kind& known) { return std::strcmp(kind, known.name) == 0; });
  if (found == std::end(kinds)) return PyErr_Format(PyExc_ValueError, "Shortcut: unknown kind %s", kind);
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  as_shortcut(self)->call = shortcut_call;
  as_shortcut(self)->function = Ref::share(function).release();
  as_shortcut(self)->type = Ref::share(operator_type).release();
  as_shortcut(self)->kind = found;
  return self;
}

void shortcut_dealloc(PyObject* self) {
  PyObject_GC_UnTrack(self);
  Py_XDECREF(as_shortcut(self)->function);
  Py_XDECREF(as_shortcut(self)->type);
  Py_TYPE(self)->tp_free(self);
}

int shortcut_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(as_shortcut(self)->function);
  Py_VISIT(as_shortcut(self)->type);
  return 0;
}

/// A method of the object that it is looked up on, like a function of Python.
PyObject* shortcut_bind(PyObject* self, PyObject* object, PyObject*) {
  return object == nullptr || is_none(object) ? Ref::share(self).release() : PyMethod_New(self, object);
}

PyObject* shortcut_repr(PyObject* self) { return PyObject_Repr(as_shortcut(self)->function); }

/// Copies and pickles by its name, like a function of Python.
PyObject* shortcut_reduce(PyObject* self, PyObject*) { return PyObject_GetAttrString(as_shortcut(self)->function, "__qualname__"); }

PyMethodDef shortcut_methods[] = {
    {"__reduce__", shortcut_reduce, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyObject* shortcut_wrapped(PyObject* self, void*) { return Ref::share(as_shortcut(self)->function).release(); }

PyObject* shortcut_arguments(PyObject* self, void*) {
  return Py_BuildValue("(sO)", as_shortcut(self)->kind->name, as_shortcut(self)->type);
}

/// An attribute that classes have as well, so that it would be found there.
PyObject* shortcut_attribute(PyObject* self, void* name) {
  return PyObject_GetAttrString(as_shortcut(self)->function, static_cast<const char*>(name));
}

char doc[] = "__doc__", module_name[] = "__module__";

PyGetSetDef shortcut_properties[] = {
    {"__wrapped__", shortcut_wrapped, nullptr, nullptr, nullptr},
    {"__doc__", shortcut_attribute, nullptr, nullptr, doc},
    {"__module__", shortcut_attribute, nullptr, nullptr, module_name},
    {"shortcut", shortcut_arguments, nullptr, "The kind and the class of the operator.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

/// All else that is asked of it is that of the function: name, annotations, whatever was set there.
PyObject* shortcut_getattr(PyObject* self, PyObject* name) {
  PyObject* found = PyObject_GenericGetAttr(self, name);
  if (found != nullptr || PyErr_ExceptionMatches(PyExc_AttributeError) == 0) return found;
  PyErr_Clear();
  return PyObject_GetAttr(as_shortcut(self)->function, name);
}

PyTypeObject shortcut_type() {
  PyTypeObject type =
      blank_type("penlight._native.Shortcut", nullptr, sizeof(ShortcutObject),
                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR);
  type.tp_new = shortcut_new;
  type.tp_dealloc = shortcut_dealloc;
  type.tp_traverse = shortcut_traverse;
  type.tp_repr = shortcut_repr;
  type.tp_call = PyVectorcall_Call;
  type.tp_vectorcall_offset = offsetof(ShortcutObject, call);
  type.tp_getattro = shortcut_getattr;
  type.tp_descr_get = shortcut_bind;
  type.tp_methods = shortcut_methods;
  type.tp_getset = shortcut_properties;
  return type;
}

PyTypeObject ShortcutType = shortcut_type();

}  // namespace

bool add_shortcuts(PyObject* module) {
  if (PyType_Ready(&ShortcutType) < 0) return false;
  Py_INCREF(&ShortcutType);
  return PyModule_AddObject(module, "Shortcut", reinterpret_cast<PyObject*>(&ShortcutType)) == 0;
}

}  // namespace penlight
