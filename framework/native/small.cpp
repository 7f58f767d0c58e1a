// Kernels for arrays so small that NumPy's call costs more than the work. SPDX-License-Identifier: Apache-2.0
//
// Each takes what `Backend.kernels` says and declines with NotImplemented what is not small, float32 and in rows.
#include "small.h"

#include <algorithm>
#include <vector>

#include "kernels/gemm.h"
#include "training.h"
#include "workers.h"

namespace penlight {

namespace {

constexpr size_t kGrain = 16384;               // elements of a thread
constexpr double kSmallProduct = 1024 * 1024;  // multiply-adds; beyond them the BLAS of NumPy is as fast

bool is_number(PyObject* array) { return is_plain(array) && PyArray_NDIM(as_array(array)) == 0; }

struct Plus {
  float operator()(float a, float b) const { return a + b; }
};
struct Minus {
  float operator()(float a, float b) const { return a - b; }
};
struct Times {
  float operator()(float a, float b) const { return a * b; }
};
struct Over {
  float operator()(float a, float b) const { return a / b; }
};

/// y = f(a, b); each of a and b has the elements of y, or is a single number.
template <typename Function>
PyObject* combine(PyObject* a, PyObject* b) {
  const Function f;
  const bool a_is_number = is_number(a), b_is_number = is_number(b);
  PyObject* y = new_like(a_is_number ? b : a);
  if (y == nullptr) return nullptr;
  const npy_intp n = PyArray_SIZE(as_array(y));
  const float *from = floats(a), *with = floats(b);
  float* to = writable_floats(y);
  if (a_is_number) {
    for (npy_intp i = 0; i < n; ++i) to[i] = f(*from, with[i]);
  } else if (b_is_number) {
    for (npy_intp i = 0; i < n; ++i) to[i] = f(from[i], *with);
  } else {
    for (npy_intp i = 0; i < n; ++i) to[i] = f(from[i], with[i]);
  }
  return y;
}

bool fit(PyObject* a, PyObject* b) { return is_small(a) && is_small(b) && (is_number(a) || is_number(b) || same_shape(a, b)); }

template <typename Function>
PyObject* binary(PyObject*, PyObject* const* args, Py_ssize_t count) {
  return count == 3 && fit(args[1], args[2]) ? combine<Function>(args[1], args[2]) : decline();
}

/// Whether a saved input, or what stands in for it, has the shape of an array.
bool has_shape(PyObject* input, PyObject* array) {
  if (PyArray_Check(input)) return same_shape(input, array);
  return is_saved(input) && Py_SIZE(input) == PyArray_NDIM(as_array(array)) &&
         std::equal(as_saved(input)->dims, as_saved(input)->dims + Py_SIZE(input), PyArray_DIMS(as_array(array)));
}

/// Two tensors of one dtype as they are; anything else is for Python to promote.
PyObject* promote(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count == 2 && is_tensor(args[0]) && is_tensor(args[1])) {
    PyObject *a = as_tensor(args[0])->data, *b = as_tensor(args[1])->data;
    if (PyArray_Check(a) && PyArray_Check(b) && PyArray_DESCR(as_array(a)) == PyArray_DESCR(as_array(b)))
      return PyTuple_Pack(2, args[0], args[1]);
  }
  return PyObject_Vectorcall(callbacks.promote, args, static_cast<size_t>(count), nullptr);
}

/// (first, second) of which null stands for None; null after an error.
PyObject* pair(Ref first, Ref second) { return PyTuple_Pack(2, first ? first.get() : Py_None, second ? second.get() : Py_None); }

/// Whether each needed input of a binary operator has the shape of the gradient, so that nothing is to be summed.
bool is_unbroadcast(PyObject* const* args, Py_ssize_t count) {
  if (count != 6 || !PyArray_CheckExact(args[2])) return false;
  return (!needs(args, 0) || has_shape(args[4], args[2])) && (!needs(args, 1) || has_shape(args[5], args[2]));
}

PyObject* add_backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (!is_unbroadcast(args, count)) return decline();
  return pair(needs(args, 0) ? Ref::share(args[2]) : Ref(), needs(args, 1) ? Ref::share(args[2]) : Ref());
}

PyObject* mul_backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (!is_unbroadcast(args, count)) return decline();
  Ref first, second;
  if ((needs(args, 0) && !fit(args[2], args[5])) || (needs(args, 1) && !fit(args[2], args[4]))) return decline();
  if (needs(args, 0) && !(first = Ref(combine<Times>(args[2], args[5])))) return nullptr;
  if (needs(args, 1) && !(second = Ref(combine<Times>(args[2], args[4])))) return nullptr;
  return pair(std::move(first), std::move(second));
}

/// Runs a loop over n elements, without the interpreter lock where it takes long.
template <typename Body>
void run_loop(npy_intp n, Body&& body) {
  if (n < kThreaded) {
    body();
    return;
  }
  PyThreadState* state = PyEval_SaveThread();
  body();
  PyEval_RestoreThread(state);
}

PyObject* relu(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 2 || !is_plain(args[1])) return decline();
  PyObject* y = new_like(args[1]);
  if (y == nullptr) return nullptr;
  const npy_intp n = PyArray_SIZE(as_array(y));
  run_loop(n, [&] {
    unary_f32(Unary::kRelu, UnaryParameters{}, floats(args[1]), writable_floats(y), static_cast<size_t>(n),
              n < kThreaded ? Parallel{} : workers());
  });
  return y;
}

PyObject* relu_backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 5 || !is_plain(args[2]) || !is_plain(args[3]) || !same_shape(args[2], args[3])) return decline();
  Ref dx(new_like(args[2]));
  if (!dx) return nullptr;
  const npy_intp n = PyArray_SIZE(as_array(args[2]));
  run_loop(n, [&] {
    parallel_ranges(n < kThreaded ? Parallel{} : workers(), static_cast<size_t>(n), kGrain, [&](size_t begin, size_t end) {
      training_table().relu_gradient(floats(args[2]) + begin, floats(args[3]) + begin, writable_floats(dx.get()) + begin,
                                     end - begin);
    });
  });
  return PyTuple_Pack(1, dx.get());
}

constexpr int64_t kTiny = 512;          // elements of the right side; packing it would take longer than the product
constexpr int64_t kTinyProduct = 4096;  // multiply-adds

/// The same for sizes of a few, row by row and without packing.
void multiply_tiny(const Gemm& gemm) {
  float right[kTiny], row[kTiny];
  const int64_t n = gemm.n;
  for (int64_t p = 0; p < gemm.k; ++p)
    for (int64_t j = 0; j < n; ++j) right[p * n + j] = gemm.b[p * gemm.b_depth + j * gemm.b_column];
  for (int64_t i = 0; i < gemm.m; ++i) {
    for (int64_t j = 0; j < n; ++j) row[j] = gemm.bias == nullptr ? 0.0f : gemm.bias[j * gemm.bias_column];
    for (int64_t p = 0; p < gemm.k; ++p) {
      const float factor = gemm.a[i * gemm.a_row + p * gemm.a_depth];
      for (int64_t j = 0; j < n; ++j) row[j] += factor * right[p * n + j];
    }
    std::copy_n(row, n, gemm.c + i * gemm.c_row);
  }
}

/// C = A B on this thread.
void multiply(Gemm gemm) {
  if (gemm.n * gemm.k <= kTiny && gemm.m * gemm.n * gemm.k <= kTinyProduct) return multiply_tiny(gemm);
  thread_local std::vector<float> scratch;
  int64_t wanted = 0;
  if (!gemm_scratch_floats(gemm, &wanted)) return;  // sizes here are small
  if (scratch.size() < static_cast<size_t>(wanted)) scratch.resize(static_cast<size_t>(wanted));
  gemm_f32(gemm, scratch.data(), Parallel{});
}

/// The sizes of y (rows, columns) = x (rows, depth) times a matrix.
struct Sizes {
  npy_intp rows, columns, depth;
  bool are_small() const {
    return rows > 0 && columns > 0 && depth > 0 &&
           static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(depth) <= kSmallProduct;
  }
};

npy_intp last(PyObject* array) { return PyArray_DIM(as_array(array), PyArray_NDIM(as_array(array)) - 1); }

bool is_matrix(PyObject* array) { return is_plain(array) && PyArray_NDIM(as_array(array)) == 2; }

PyObject* linear(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 4 || !is_matrix(args[1]) || !is_matrix(args[2]) || last(args[1]) != last(args[2])) return decline();
  const Sizes s{PyArray_DIM(as_array(args[1]), 0), PyArray_DIM(as_array(args[2]), 0), last(args[2])};
  PyObject* bias = args[3];
  if (!s.are_small()) return decline();
  if (!is_none(bias) && (!is_plain(bias) || PyArray_NDIM(as_array(bias)) != 1 || last(bias) != s.columns)) return decline();
  const npy_intp shape[] = {s.rows, s.columns};
  PyObject* y = PyArray_SimpleNew(2, const_cast<npy_intp*>(shape), NPY_FLOAT);
  if (y == nullptr) return nullptr;
  Gemm gemm;
  gemm.m = s.rows;
  gemm.n = s.columns;
  gemm.k = s.depth;
  gemm.a = floats(args[1]);
  gemm.a_row = s.depth;
  gemm.b = floats(args[2]);
  gemm.b_depth = 1;
  gemm.b_column = s.depth;
  gemm.c = writable_floats(y);
  gemm.c_row = s.columns;
  if (!is_none(bias)) {
    gemm.bias = floats(bias);
    gemm.bias_column = 1;
  }
  multiply(gemm);
  return y;
}

/// The place of an element of a matrix: row * `row` + column * `column`.
struct Steps {
  npy_intp row, column;
};

/// a (rows, depth) times b (depth, columns); the steps say whether one is transposed.
PyObject* product(PyObject* a, Steps a_steps, PyObject* b, Steps b_steps, const Sizes& s) {
  npy_intp shape[] = {s.rows, s.columns};
  PyObject* y = PyArray_SimpleNew(2, shape, NPY_FLOAT);
  if (y == nullptr) return nullptr;
  Gemm gemm;
  gemm.m = s.rows;
  gemm.n = s.columns;
  gemm.k = s.depth;
  gemm.a = floats(a);
  gemm.a_row = a_steps.row;
  gemm.a_depth = a_steps.column;
  gemm.b = floats(b);
  gemm.b_depth = b_steps.row;
  gemm.b_column = b_steps.column;
  gemm.c = writable_floats(y);
  gemm.c_row = s.columns;
  multiply(gemm);
  return y;
}

PyObject* column_sums(PyObject* grad, const Sizes& s) {
  npy_intp shape[] = {s.columns};
  PyObject* sums = PyArray_ZEROS(1, shape, NPY_FLOAT, 0);
  if (sums == nullptr) return nullptr;
  float* to = writable_floats(sums);
  const float* from = floats(grad);
  for (npy_intp r = 0; r < s.rows; ++r)
    for (npy_intp j = 0; j < s.columns; ++j) to[j] += from[r * s.columns + j];
  return sums;
}

PyObject* linear_backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  PyObject *grad = args[2], *x = args[4], *weight = args[5];
  if (count != 7 || !is_matrix(grad)) return decline();
  if ((needs(args, 1) && !is_matrix(x)) || (needs(args, 0) && !is_matrix(weight))) return decline();
  Sizes s{PyArray_DIM(as_array(grad), 0), last(grad), 1};
  s.depth = needs(args, 1) ? last(x) : needs(args, 0) ? last(weight) : 1;
  if (!s.are_small()) return decline();
  Ref results(PyTuple_New(3));
  if (!results) return nullptr;
  for (Py_ssize_t i = 0; i < 3; ++i) {
    PyObject* result = Py_None;
    if (!needs(args, i))
      Py_INCREF(Py_None);
    else if (i == 0)
      result = product(grad, {s.columns, 1}, weight, {s.depth, 1}, {s.rows, s.depth, s.columns});
    else if (i == 1)
      result = product(grad, {1, s.columns}, x, {s.depth, 1}, {s.columns, s.depth, s.rows});
    else
      result = column_sums(grad, s);
    if (result == nullptr) return nullptr;
    PyTuple_SET_ITEM(results.get(), i, result);
  }
  return results.release();
}

PyObject* matmul(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 3 || !is_matrix(args[1]) || !is_matrix(args[2]) || last(args[1]) != PyArray_DIM(as_array(args[2]), 0))
    return decline();
  const Sizes s{PyArray_DIM(as_array(args[1]), 0), last(args[2]), last(args[1])};
  return s.are_small() ? product(args[1], {s.depth, 1}, args[2], {s.columns, 1}, s) : decline();
}

PyObject* matmul_backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  PyObject *grad = args[2], *a = args[4], *b = args[5];
  if (count != 6 || !is_matrix(grad) || (needs(args, 0) && !is_matrix(b)) || (needs(args, 1) && !is_matrix(a))) return decline();
  const npy_intp rows = PyArray_DIM(as_array(grad), 0), columns = last(grad);
  const npy_intp depth = needs(args, 1) ? last(a) : needs(args, 0) ? PyArray_DIM(as_array(b), 0) : 0;
  if (!Sizes{rows, columns, depth}.are_small()) return decline();
  Ref first, second;
  if (needs(args, 0) && !(first = Ref(product(grad, {columns, 1}, b, {1, columns}, {rows, depth, columns})))) return nullptr;
  if (needs(args, 1) && !(second = Ref(product(a, {1, depth}, grad, {columns, 1}, {depth, columns, rows})))) return nullptr;
  return pair(std::move(first), std::move(second));
}

PyObject* sub_backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (!is_unbroadcast(args, count) || !is_small(args[2])) return decline();
  Ref second(needs(args, 1) ? new_like(args[2]) : nullptr);
  if (needs(args, 1) && !second) return nullptr;
  for (npy_intp i = 0; second && i < PyArray_SIZE(as_array(args[2])); ++i) writable_floats(second.get())[i] = -floats(args[2])[i];
  return pair(needs(args, 0) ? Ref::share(args[2]) : Ref(), std::move(second));
}

/// Whether a reduction without kept dimensions runs over all of `dims` dimensions.
bool reduces_all(PyObject* op, Py_ssize_t dims) {
  static PyObject* dims_name = PyUnicode_InternFromString("dims");
  static PyObject* keep_name = PyUnicode_InternFromString("keepdim");
  const Ref over(PyObject_GetAttr(op, dims_name)), keeps(PyObject_GetAttr(op, keep_name));
  PyErr_Clear();
  return over && keeps && PyTuple_Check(over.get()) && PyTuple_GET_SIZE(over.get()) == dims && keeps.get() == Py_False;
}

/// The sum of everything, in double precision.
PyObject* sum(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 2 || !is_small(args[1]) || !reduces_all(args[0], PyArray_NDIM(as_array(args[1])))) return decline();
  PyObject* y = PyArray_SimpleNew(0, nullptr, NPY_FLOAT);
  if (y == nullptr) return nullptr;
  double total = 0;
  for (npy_intp i = 0; i < PyArray_SIZE(as_array(args[1])); ++i) total += static_cast<double>(floats(args[1])[i]);
  *writable_floats(y) = static_cast<float>(total);
  return y;
}

PyObject* sum_backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 5 || !is_number(args[2]) || !is_saved(args[4])) return decline();
  const Py_ssize_t dims = Py_SIZE(args[4]);
  if (!reduces_all(args[0], dims)) return decline();
  const Ref dx(PyArray_SimpleNew(static_cast<int>(dims), as_saved(args[4])->dims, NPY_FLOAT));
  if (!dx) return nullptr;
  std::fill_n(writable_floats(dx.get()), PyArray_SIZE(as_array(dx.get())), *floats(args[2]));
  return PyTuple_Pack(1, dx.get());
}

/// (how many targets count, the smallest of them, the largest); None where they are not int64 in rows. No target counts: (0, 0, 0).
PyObject* class_range(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 2 || !PyArray_CheckExact(args[0]) || PyArray_TYPE(as_array(args[0])) != NPY_INT64 ||
      !PyArray_ISCARRAY_RO(as_array(args[0])))
    return Ref::share(Py_None).release();
  const int64_t ignored = PyLong_AsLongLong(args[1]);
  if (ignored == -1 && PyErr_Occurred() != nullptr) return nullptr;
  const int64_t* classes = static_cast<const int64_t*>(PyArray_DATA(as_array(args[0])));
  long long kept = 0, low = 0, high = 0;
  for (npy_intp i = 0; i < PyArray_SIZE(as_array(args[0])); ++i) {
    if (classes[i] == ignored) continue;
    low = kept == 0 || classes[i] < low ? classes[i] : low;
    high = kept == 0 || classes[i] > high ? classes[i] : high;
    ++kept;
  }
  return Py_BuildValue("LLL", kept, low, high);
}

/// Adds one to each count, kept as a float32 array of one element, and returns them; None where one is kept otherwise.
PyObject* advance(PyObject*, PyObject* counts) {
  if (!PyList_Check(counts)) return Ref::share(Py_None).release();
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(counts); ++i)
    if (!is_number(PyList_GET_ITEM(counts, i)) || !PyArray_ISWRITEABLE(as_array(PyList_GET_ITEM(counts, i))))
      return Ref::share(Py_None).release();
  Ref numbers(PyList_New(PyList_GET_SIZE(counts)));
  for (Py_ssize_t i = 0; numbers && i < PyList_GET_SIZE(counts); ++i) {
    PyObject* number = PyLong_FromDouble(static_cast<double>(*writable_floats(PyList_GET_ITEM(counts, i)) += 1));
    if (number == nullptr) return nullptr;
    PyList_SET_ITEM(numbers.get(), i, number);
  }
  return numbers.release();
}

PyMethodDef kernels[] = {
    {"promote", fast(promote), METH_FASTCALL, "promote(a, b): both operands as tensors of their common dtype."},
    {"small_add", fast(binary<Plus>), METH_FASTCALL, nullptr},
    {"small_sub", fast(binary<Minus>), METH_FASTCALL, nullptr},
    {"small_mul", fast(binary<Times>), METH_FASTCALL, nullptr},
    {"small_div", fast(binary<Over>), METH_FASTCALL, nullptr},
    {"small_add_backward", fast(add_backward), METH_FASTCALL, nullptr},
    {"small_mul_backward", fast(mul_backward), METH_FASTCALL, nullptr},
    {"small_relu", fast(relu), METH_FASTCALL, nullptr},
    {"small_relu_backward", fast(relu_backward), METH_FASTCALL, nullptr},
    {"small_linear", fast(linear), METH_FASTCALL, nullptr},
    {"small_linear_backward", fast(linear_backward), METH_FASTCALL, nullptr},
    {"small_matmul", fast(matmul), METH_FASTCALL, nullptr},
    {"small_matmul_backward", fast(matmul_backward), METH_FASTCALL, nullptr},
    {"small_sub_backward", fast(sub_backward), METH_FASTCALL, nullptr},
    {"small_sum", fast(sum), METH_FASTCALL, nullptr},
    {"small_sum_backward", fast(sum_backward), METH_FASTCALL, nullptr},
    {"class_range", fast(class_range), METH_FASTCALL,
     "class_range(target, ignore_index): (how many count, smallest, largest), or None where they are not int64 in rows."},
    {"advance", advance, METH_O,
     "advance(counts): adds one to each float32 count in place; their list, or None where one is kept otherwise."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_plain(PyObject* held, PyObject* gradient, bool is_owned) {
  if (!is_owned || !is_plain(held) || !is_plain(gradient) || !same_shape(held, gradient)) return false;
  const npy_intp n = PyArray_SIZE(as_array(held));
  if (n > kSmall && n < kThreaded) return false;
  const float* from = floats(gradient);
  float* to = writable_floats(held);
  const auto add = [from, to](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) to[i] += from[i];
  };
  if (n <= kSmall) {
    add(0, static_cast<size_t>(n));
    return true;
  }
  Py_BEGIN_ALLOW_THREADS;
  parallel_ranges(workers(), static_cast<size_t>(n), kGrain, add);
  Py_END_ALLOW_THREADS;
  return true;
}

bool add_small_kernels(PyObject* module) { return PyModule_AddFunctions(module, kernels) == 0; }

}  // namespace penlight
