// Kernels for arrays so small that NumPy's call costs more than the work. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "call.h"

namespace penlight {

/// Whether an object is a float32 array in rows, as the kernels here take it.
inline bool is_plain(PyObject* object) {
  return PyArray_CheckExact(object) && PyArray_TYPE(as_array(object)) == NPY_FLOAT && PyArray_ISCARRAY_RO(as_array(object));
}

inline const float* floats(PyObject* array) { return static_cast<const float*>(PyArray_DATA(as_array(array))); }
inline float* writable_floats(PyObject* array) { return static_cast<float*>(PyArray_DATA(as_array(array))); }

inline bool same_shape(PyObject* a, PyObject* b) { return PyArray_SAMESHAPE(as_array(a), as_array(b)); }

/// A new float32 array of the shape of another.
inline PyObject* new_like(PyObject* array) {
  return PyArray_SimpleNew(PyArray_NDIM(as_array(array)), PyArray_DIMS(as_array(array)), NPY_FLOAT);
}

constexpr npy_intp kSmall = 4096;      // elements; beyond them NumPy's vectors win over its call
constexpr npy_intp kThreaded = 32768;  // elements; from here on other threads may run meanwhile

inline PyObject* decline() { return Ref::share(Py_NotImplemented).release(); }
inline bool is_small(PyObject* array) { return is_plain(array) && PyArray_SIZE(as_array(array)) <= kSmall; }

/// Arguments of a kernel of a gradient: operator, needs, grad, output, inputs...
inline bool needs(PyObject* const* args, Py_ssize_t i) { return PySequence_Fast_GET_ITEM(args[1], i) == Py_True; }

inline PyCFunction fast(PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

/// Adds `gradient` to `held` in place if both are plain, of one shape, and small or worth several threads, and `is_owned`; false
/// where they are not.
bool add_plain(PyObject* held, PyObject* gradient, bool is_owned);

}  // namespace penlight
