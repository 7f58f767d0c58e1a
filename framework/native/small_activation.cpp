// Small kernels of activations, softmax and views, see small.h. SPDX-License-Identifier: Apache-2.0
#include "kernels/normalize.h"
#include "kernels/vector_math.h"
#include "small.h"
#include "training.h"

namespace penlight {

namespace {

size_t size_of(PyObject* array) { return static_cast<size_t>(PyArray_SIZE(as_array(array))); }

template <Unary kFunction>
PyObject* unary(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 2 || !is_small(args[1])) return decline();
  PyObject* y = new_like(args[1]);
  if (y != nullptr) unary_f32(kFunction, UnaryParameters{}, floats(args[1]), writable_floats(y), size_of(y), Parallel{});
  return y;
}

/// Whether gradient and output are small and of one shape.
bool fits(PyObject* const* args, Py_ssize_t count) {
  return count == 5 && is_small(args[2]) && is_small(args[3]) && same_shape(args[2], args[3]);
}

struct OfTanh {
  float operator()(float g, float y) const { return g * (1.0f - y * y); }
};
struct OfSigmoid {
  float operator()(float g, float y) const { return g * (y * (1.0f - y)); }
};

/// dx = f(grad, output)
template <typename Function>
PyObject* backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (!fits(args, count)) return decline();
  const Ref dx(new_like(args[2]));
  if (!dx) return nullptr;
  const Function f;
  const float *g = floats(args[2]), *y = floats(args[3]);
  float* to = writable_floats(dx.get());
  for (size_t i = 0; i < size_of(dx.get()); ++i) to[i] = f(g[i], y[i]);
  return PyTuple_Pack(1, dx.get());
}

/// The size of the last dimension of an array if `op` works along it; 0 where it does not.
npy_intp width_of(PyObject* op, PyObject* array) {
  static PyObject* name = PyUnicode_InternFromString("dim");
  const int dims = PyArray_NDIM(as_array(array));
  const Ref dim(dims > 0 ? PyObject_GetAttr(op, name) : nullptr);
  const bool is_last = dim && PyLong_Check(dim.get()) && PyLong_AsLong(dim.get()) == dims - 1;
  PyErr_Clear();
  return is_last ? PyArray_DIM(as_array(array), dims - 1) : 0;
}

template <bool kLogarithm>
PyObject* softmax(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 2 || !is_small(args[1])) return decline();
  const npy_intp width = width_of(args[0], args[1]);
  if (width == 0) return decline();
  PyObject* y = new_like(args[1]);
  if (y != nullptr)
    softmax_rows_f32(floats(args[1]), writable_floats(y), static_cast<int64_t>(size_of(y)) / width, width, kLogarithm, Parallel{});
  return y;
}

template <bool kLogarithm>
PyObject* softmax_backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (!fits(args, count)) return decline();
  const npy_intp width = width_of(args[0], args[3]);
  if (width == 0) return decline();
  const Ref dx(new_like(args[3]));
  if (!dx) return nullptr;
  const TrainingTable& table = training_table();
  const size_t n = static_cast<size_t>(width);
  for (size_t at = 0; at < size_of(dx.get()); at += n) {
    const float *g = floats(args[2]) + at, *y = floats(args[3]) + at;
    float* to = writable_floats(dx.get()) + at;
    if (kLogarithm)
      table.log_softmax_gradient(g, y, sum_f32(g, width), to, n);
    else
      table.softmax_gradient(g, y, dot_f32(g, y, width), to, n);
  }
  return PyTuple_Pack(1, dx.get());
}

/// The places in `dims` of the operator, or of their inverse, as NumPy takes them; false where they are not those of an array.
bool read_order(PyObject* op, int count, bool is_inverse, npy_intp* order) {
  static PyObject* name = PyUnicode_InternFromString("dims");
  const Ref dims(PyObject_GetAttr(op, name));
  bool fits = dims && PyTuple_CheckExact(dims.get()) && PyTuple_GET_SIZE(dims.get()) == count;
  for (int d = 0; fits && d < count; ++d) {
    const long from = PyLong_AsLong(PyTuple_GET_ITEM(dims.get(), d));
    fits = from >= 0 && from < count;
    if (fits) order[is_inverse ? from : d] = is_inverse ? d : from;
  }
  PyErr_Clear();
  return fits;
}

/// The array with its dimensions in the order of the operator.
PyObject* permuted(PyObject* op, PyObject* array, bool is_inverse) {
  npy_intp order[NPY_MAXDIMS];
  const int dims = PyArray_NDIM(as_array(array));
  if (!read_order(op, dims, is_inverse, order)) return decline();
  PyArray_Dims permutation{order, dims};
  return PyArray_Transpose(as_array(array), &permutation);
}

PyObject* permute(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return count == 2 && PyArray_CheckExact(args[1]) ? permuted(args[0], args[1], false) : decline();
}

PyObject* permute_backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 5 || !PyArray_CheckExact(args[2])) return decline();
  const Ref dx(permuted(args[0], args[2], true));
  if (!dx || dx.get() == Py_NotImplemented) return dx ? decline() : nullptr;
  return PyTuple_Pack(1, dx.get());
}

PyMethodDef kernels[] = {
    {"small_tanh", fast(unary<Unary::kTanh>), METH_FASTCALL, nullptr},
    {"small_tanh_backward", fast(backward<OfTanh>), METH_FASTCALL, nullptr},
    {"small_sigmoid", fast(unary<Unary::kSigmoid>), METH_FASTCALL, nullptr},
    {"small_sigmoid_backward", fast(backward<OfSigmoid>), METH_FASTCALL, nullptr},
    {"small_exp", fast(unary<Unary::kExp>), METH_FASTCALL, nullptr},
    {"small_softmax", fast(softmax<false>), METH_FASTCALL, nullptr},
    {"small_softmax_backward", fast(softmax_backward<false>), METH_FASTCALL, nullptr},
    {"small_log_softmax", fast(softmax<true>), METH_FASTCALL, nullptr},
    {"small_log_softmax_backward", fast(softmax_backward<true>), METH_FASTCALL, nullptr},
    {"small_permute", fast(permute), METH_FASTCALL, nullptr},
    {"small_permute_backward", fast(permute_backward), METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_small_activations(PyObject* module) { return PyModule_AddFunctions(module, kernels) == 0; }

}  // namespace penlight
