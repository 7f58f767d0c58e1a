// The classes of operators: they fill the fields of an instance, and make one instance for equal arguments.
// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <cstddef>
#include <vector>

#include "call.h"

namespace penlight {

namespace {

/// A class of operators: a class of Python, and what `declare` says about its fields.
struct OperatorClass {
  PyHeapTypeObject head;
  PyObject* field_names;  // tuple, null before `declare`
  PyObject* defaults;     // tuple: of the last fields
  PyObject* instances;    // dict: arguments and their types -> instance
  PyObject* single;       // the instance without arguments, or null
  const OperatorInfo* info;
};

constexpr Py_ssize_t kMostInstances = 1024;  // a program with ever new arguments must not leak

OperatorClass* as_class(PyObject* type) { return reinterpret_cast<OperatorClass*>(type); }
PyTypeObject* as_type(PyObject* type) { return reinterpret_cast<PyTypeObject*>(type); }

/// The arguments of a call as vectorcall passes them.
struct Given {
  PyObject* const* values;  // the positional ones, then those by name
  Py_ssize_t positional;
  PyObject* names;  // tuple, or null
  Py_ssize_t named() const { return names == nullptr ? 0 : PyTuple_GET_SIZE(names); }
};

/// The place of a field, or -1; names of arguments are nearly always interned.
Py_ssize_t place_of(PyObject* field_names, PyObject* name) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(field_names); ++i)
    if (PyTuple_GET_ITEM(field_names, i) == name) return i;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(field_names); ++i)
    if (PyUnicode_Compare(PyTuple_GET_ITEM(field_names, i), name) == 0) return i;
  return -1;
}

bool refuse(PyObject* type, const char* what, PyObject* name) {
  PyErr_Format(PyExc_TypeError, "%s: %s %R; its arguments are %R", as_type(type)->tp_name, what, name, as_class(type)->field_names);
  return false;
}

/// Places the arguments, borrowed, at their fields; null stays where none came.
bool place(PyObject* type, const Given& given, PyObject** values) {
  const OperatorClass* self = as_class(type);
  const Py_ssize_t count = PyTuple_GET_SIZE(self->field_names);
  if (given.positional > count) {
    PyErr_Format(PyExc_TypeError, "%s: expected at most %zd arguments, came %zd; its arguments are %R", as_type(type)->tp_name,
                 count, given.positional, self->field_names);
    return false;
  }
  std::copy_n(given.values, given.positional, values);
  for (Py_ssize_t k = 0; k < given.named(); ++k) {
    PyObject* name = PyTuple_GET_ITEM(given.names, k);
    const Py_ssize_t at = place_of(self->field_names, name);
    if (at < 0) return PyErr_Occurred() == nullptr && refuse(type, "unknown argument", name);
    if (values[at] != nullptr) return refuse(type, "two values came for the argument", name);
    values[at] = given.values[given.positional + k];
  }
  const Py_ssize_t required = count - PyTuple_GET_SIZE(self->defaults);
  for (Py_ssize_t i = 0; i < count; ++i) {
    if (values[i] != nullptr) continue;
    if (i < required) return refuse(type, "missing argument", PyTuple_GET_ITEM(self->field_names, i));
    values[i] = PyTuple_GET_ITEM(self->defaults, i - required);
  }
  return true;
}

PyObject* call_as_class(PyObject* type, const Given& given) {
  Ref args(PyTuple_New(given.positional)), named(given.named() > 0 ? PyDict_New() : nullptr);
  if (!args || (given.named() > 0 && !named)) return nullptr;
  for (Py_ssize_t i = 0; i < given.positional; ++i) PyTuple_SET_ITEM(args.get(), i, Ref::share(given.values[i]).release());
  for (Py_ssize_t k = 0; k < given.named(); ++k)
    if (PyDict_SetItem(named.get(), PyTuple_GET_ITEM(given.names, k), given.values[given.positional + k]) < 0) return nullptr;
  return PyType_Type.tp_call(type, args.get(), named.get());
}

PyObject* construct(PyObject* type, const Given& given) {
  const OperatorClass* self = as_class(type);
  const Py_ssize_t count = PyTuple_GET_SIZE(self->field_names);
  constexpr Py_ssize_t kUsual = 16;
  PyObject* usual[kUsual] = {};
  std::vector<PyObject*> more(count > kUsual ? static_cast<size_t>(count) : 0);
  PyObject** values = more.empty() ? usual : more.data();
  if (!place(type, given, values)) return nullptr;
  Ref instance(as_type(type)->tp_alloc(as_type(type), 0));
  for (Py_ssize_t i = 0; instance && i < count; ++i)
    if (PyObject_GenericSetAttr(instance.get(), PyTuple_GET_ITEM(self->field_names, i), values[i]) < 0) return nullptr;
  return instance.release();
}

/// Under a trace there is no sharing: a SymInt equals the int of its value.
bool shares(const Given& given) { return given.named() == 0 && thread_mode().tracer == nullptr; }

/// The arguments, then their types: 1, 1.0 and True are equal, and not the same argument. Null for 0.0, which equals -0.0.
Ref key_of(const Given& given) {
  const Py_ssize_t n = given.positional;
  for (Py_ssize_t i = 0; i < n; ++i)
    if (PyFloat_CheckExact(given.values[i]) && PyFloat_AS_DOUBLE(given.values[i]) == 0) return Ref();
  Ref key(PyTuple_New(2 * n));
  for (Py_ssize_t i = 0; key && i < n; ++i) {
    PyTuple_SET_ITEM(key.get(), i, Ref::share(given.values[i]).release());
    PyTuple_SET_ITEM(key.get(), n + i, Ref::share(reinterpret_cast<PyObject*>(Py_TYPE(given.values[i]))).release());
  }
  return key;
}

PyObject* find_or_make(PyObject* type, const Given& given) {
  OperatorClass* self = as_class(type);
  const Ref key = key_of(given);
  if (!key) return PyErr_Occurred() == nullptr ? construct(type, given) : nullptr;
  PyObject* found = PyDict_GetItemWithError(self->instances, key.get());
  if (found != nullptr) return Ref::share(found).release();
  if (PyErr_Occurred() != nullptr) {  // an argument without a hash
    if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) return nullptr;
    PyErr_Clear();
    return construct(type, given);
  }
  Ref made(construct(type, given));
  if (!made) return nullptr;
  if (PyDict_GET_SIZE(self->instances) >= kMostInstances) PyDict_Clear(self->instances);
  return PyDict_SetItem(self->instances, key.get(), made.get()) == 0 ? made.release() : nullptr;
}

PyObject* call(PyObject* type, const Given& given) {
  OperatorClass* self = as_class(type);
  if (self->field_names == nullptr) return call_as_class(type, given);
  if (!shares(given)) return construct(type, given);
  if (given.positional > 0) return find_or_make(type, given);
  if (self->single == nullptr) self->single = construct(type, given);
  return Ref::share(self->single).release();
}

PyObject* class_vectorcall(PyObject* type, PyObject* const* values, size_t flags, PyObject* names) {
  return call(type, Given{values, PyVectorcall_NARGS(flags), names});
}

/// Only where something calls through the slot, `f(*args, **named)` for one.
PyObject* class_call(PyObject* type, PyObject* args, PyObject* named) {
  std::vector<PyObject*> values(&PyTuple_GET_ITEM(args, 0), &PyTuple_GET_ITEM(args, 0) + PyTuple_GET_SIZE(args));
  const Ref names(named == nullptr ? nullptr : PySequence_Tuple(named));
  if (named != nullptr && !names) return nullptr;
  for (Py_ssize_t k = 0; names && k < PyTuple_GET_SIZE(names.get()); ++k)
    values.push_back(PyDict_GetItem(named, PyTuple_GET_ITEM(names.get(), k)));
  return call(type, Given{values.data(), PyTuple_GET_SIZE(args), names.get()});
}

int class_traverse(PyObject* type, visitproc visit, void* arg) {
  OperatorClass* self = as_class(type);
  Py_VISIT(self->field_names);
  Py_VISIT(self->defaults);
  Py_VISIT(self->instances);
  Py_VISIT(self->single);
  return PyType_Type.tp_traverse(type, visit, arg);
}

/// The instances lead back to the class; names and defaults stay, since a finaliser may still make an instance.
int class_clear(PyObject* type) {
  Py_CLEAR(as_class(type)->single);
  if (as_class(type)->instances != nullptr) PyDict_Clear(as_class(type)->instances);
  return PyType_Type.tp_clear(type);
}

void class_dealloc(PyObject* type) {
  OperatorClass* self = as_class(type);
  Py_CLEAR(self->field_names);
  Py_CLEAR(self->defaults);
  Py_CLEAR(self->instances);
  Py_CLEAR(self->single);
  PyType_Type.tp_dealloc(type);
}

/// cls.declare(field_names, defaults), both tuples.
PyObject* class_declare(PyObject* type, PyObject* args) {
  OperatorClass* self = as_class(type);
  PyObject *field_names = nullptr, *defaults = nullptr;
  if (PyArg_ParseTuple(args, "O!O!:declare", &PyTuple_Type, &field_names, &PyTuple_Type, &defaults) == 0) return nullptr;
  if (self->field_names != nullptr) return PyErr_Format(PyExc_TypeError, "declare: %s has its fields", as_type(type)->tp_name);
  self->instances = PyDict_New();
  if (self->instances == nullptr) return nullptr;
  self->field_names = Ref::share(field_names).release();
  self->defaults = Ref::share(defaults).release();
  as_type(type)->tp_vectorcall = class_vectorcall;
  Py_RETURN_NONE;
}

PyObject* class_field_names(PyObject* type, void*) {
  PyObject* field_names = as_class(type)->field_names;
  return field_names == nullptr ? PyTuple_New(0) : Ref::share(field_names).release();
}

PyObject* class_field_defaults(PyObject* type, void*) {
  PyObject* defaults = as_class(type)->defaults;
  return defaults == nullptr ? PyTuple_New(0) : Ref::share(defaults).release();
}

/// "(dim, keepdim=False)", which inspect.signature reads.
PyObject* class_text_signature(PyObject* type, void*) {
  const OperatorClass* self = as_class(type);
  if (self->field_names == nullptr) Py_RETURN_NONE;
  const Py_ssize_t count = PyTuple_GET_SIZE(self->field_names), required = count - PyTuple_GET_SIZE(self->defaults);
  Ref text(PyUnicode_FromString("("));
  for (Py_ssize_t i = 0; text && i < count; ++i) {
    PyObject* name = PyTuple_GET_ITEM(self->field_names, i);
    const char* comma = i > 0 ? ", " : "";
    text = Ref(i < required
                   ? PyUnicode_FromFormat("%U%s%U", text.get(), comma, name)
                   : PyUnicode_FromFormat("%U%s%U=%R", text.get(), comma, name, PyTuple_GET_ITEM(self->defaults, i - required)));
  }
  return text ? PyUnicode_FromFormat("%U)", text.get()) : nullptr;
}

PyMethodDef class_methods[] = {
    {"declare", class_declare, METH_VARARGS, "declare(field_names, defaults): what instances hold, and the last defaults."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef class_properties[] = {
    {"field_names", class_field_names, nullptr, "The names of the arguments, in order.", nullptr},
    {"field_defaults", class_field_defaults, nullptr, "The defaults of the last arguments.", nullptr},
    {"__text_signature__", class_text_signature, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyTypeObject class_type() {
  PyTypeObject type = blank_type("penlight._native.OperatorType", "The class of operator classes.", sizeof(OperatorClass),
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL);
  type.tp_call = class_call;
  type.tp_vectorcall_offset = offsetof(PyTypeObject, tp_vectorcall);
  type.tp_traverse = class_traverse;
  type.tp_clear = class_clear;
  type.tp_dealloc = class_dealloc;
  type.tp_methods = class_methods;
  type.tp_getset = class_properties;
  return type;
}

PyTypeObject OperatorTypeType = class_type();

PyObject* names_of_instance(PyObject* self) { return field_names_of(reinterpret_cast<PyObject*>(Py_TYPE(self))); }

/// The values of the fields as a tuple.
Ref values_of(PyObject* self, PyObject* field_names) {
  const Py_ssize_t count = PyTuple_GET_SIZE(field_names);
  Ref values(PyTuple_New(count));
  for (Py_ssize_t i = 0; values && i < count; ++i) {
    PyObject* value = PyObject_GetAttr(self, PyTuple_GET_ITEM(field_names, i));
    if (value == nullptr) return Ref();
    PyTuple_SET_ITEM(values.get(), i, value);
  }
  return values;
}

PyObject* instance_compare(PyObject* self, PyObject* other, int operation) {
  PyObject* field_names = names_of_instance(self);
  if ((operation != Py_EQ && operation != Py_NE) || field_names == nullptr || Py_TYPE(self) != Py_TYPE(other))
    return Ref::share(Py_NotImplemented).release();
  const Ref a = values_of(self, field_names), b = values_of(other, field_names);
  return a && b ? PyObject_RichCompare(a.get(), b.get(), operation) : nullptr;
}

Py_hash_t instance_hash(PyObject* self) {
  PyObject* field_names = names_of_instance(self);
  if (field_names == nullptr) return PyBaseObject_Type.tp_hash(self);
  const Ref values = values_of(self, field_names);
  return values ? PyObject_Hash(values.get()) : -1;
}

PyObject* instance_repr(PyObject* self) {
  PyObject* field_names = names_of_instance(self);
  if (field_names == nullptr) return PyBaseObject_Type.tp_repr(self);
  const Ref values = values_of(self, field_names);
  Ref text(PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(self)), "__qualname__"));
  for (Py_ssize_t i = 0; values && text && i < PyTuple_GET_SIZE(field_names); ++i)
    text = Ref(PyUnicode_FromFormat("%U%s%U=%R", text.get(), i > 0 ? ", " : "(", PyTuple_GET_ITEM(field_names, i),
                                    PyTuple_GET_ITEM(values.get(), i)));
  if (!values || !text) return nullptr;
  return PyUnicode_FromFormat("%U%s", text.get(), PyTuple_GET_SIZE(field_names) > 0 ? ")" : "()");
}

/// Instances are shared, so nobody may change one. Those of classes with an `__init__` of their own are not.
int instance_set(PyObject* self, PyObject* name, PyObject* value) {
  if (names_of_instance(self) == nullptr) return PyObject_GenericSetAttr(self, name, value);
  PyErr_Format(PyExc_AttributeError, "%s: cannot change %R: operators are immutable; make another one", Py_TYPE(self)->tp_name,
               name);
  return -1;
}

PyTypeObject base_type() {
  PyTypeObject type = blank_type("penlight._native.OperatorBase", "Equality, hash and text by the fields.", sizeof(PyObject),
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE);
  type.tp_new = PyType_GenericNew;
  type.tp_richcompare = instance_compare;
  type.tp_hash = instance_hash;
  type.tp_repr = instance_repr;
  type.tp_setattro = instance_set;
  return type;
}

PyTypeObject OperatorBaseType = base_type();

}  // namespace

const OperatorInfo** info_place(PyTypeObject* type) {
  PyObject* object = reinterpret_cast<PyObject*>(type);
  return Py_TYPE(object) == &OperatorTypeType ? &as_class(object)->info : nullptr;
}

PyObject* make_operator(PyObject* type, PyObject* const* args, Py_ssize_t count) { return call(type, Given{args, count, nullptr}); }

PyObject* field_names_of(PyObject* type) {
  return PyObject_TypeCheck(type, &OperatorTypeType) ? as_class(type)->field_names : nullptr;
}

bool add_operator_type(PyObject* module) {
  OperatorTypeType.tp_base = &PyType_Type;
  if (PyType_Ready(&OperatorTypeType) < 0 || PyType_Ready(&OperatorBaseType) < 0) return false;
  Py_INCREF(&OperatorTypeType);
  Py_INCREF(&OperatorBaseType);
  return PyModule_AddObject(module, "OperatorType", reinterpret_cast<PyObject*>(&OperatorTypeType)) == 0 &&
         PyModule_AddObject(module, "OperatorBase", reinterpret_cast<PyObject*>(&OperatorBaseType)) == 0;
}

}  // namespace penlight
