// The call path: tensors, the tape, operator calls and the backward pass, on CPython's and NumPy's own interfaces.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <cstdint>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL penlight_numpy
#ifndef PENLIGHT_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

namespace penlight {

/// Owns one reference; null after an error.
class Ref {
 public:
  Ref() = default;
  explicit Ref(PyObject* owned) : object_(owned) {}
  Ref(Ref&& other) noexcept : object_(other.release()) {}
  Ref& operator=(Ref&& other) noexcept {
    PyObject* old = object_;
    object_ = other.release();
    Py_XDECREF(old);
    return *this;
  }
  ~Ref() { Py_XDECREF(object_); }
  static Ref share(PyObject* borrowed) {
    Py_XINCREF(borrowed);
    return Ref(borrowed);
  }

  PyObject* get() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }
  PyObject* release() {
    PyObject* object = object_;
    object_ = nullptr;
    return object;
  }

 private:
  PyObject* object_ = nullptr;
};

/// The C part of penlight.Tensor. No field is ever null outside of construction and collection.
struct TensorObject {
  PyObject_HEAD PyObject* data;  // the array
  PyObject* requires_grad;       // True or False
  PyObject* grad;
  PyObject* node;
  PyObject* index;
  PyObject* version;
  PyObject* base;
  PyObject* views;
  PyObject* stamp;
  PyObject* rebased;
  PyObject* hooks;
  PyObject* accumulate_hooks;
  PyObject* owns_grad;
  PyObject* traced;
};

/// Where the gradient of an input goes: to a leaf tensor, to an output of a node, or nowhere (null).
struct Edge {
  PyObject* target;
  Py_ssize_t index;
};

struct NodeObject {
  PyObject_HEAD PyObject* weak_references;
  PyObject* op;
  PyObject* hooks;           // dict of output index to list of callables, or None
  PyObject* inputs;          // tuple or list of tensors, Saved and None; None once released
  PyObject* outputs;         // tuple of arrays, or None
  PyObject* output_version;  // [version], shared with the output tensors, or None
  PyObject* origin;          // the stack of the forward call where anomalies are looked for, or None
  int64_t sequence;
  Py_ssize_t count;       // of outputs
  Py_ssize_t edge_count;  // of inputs
  Edge* edges;            // `few`, or memory of its own
  Edge few[3];
  PyObject* on_release;  // called when what was saved is freed, or None
  PyObject* versions;    // id of a saved input -> its version at the call, where that is not 0; or None
};

struct SavedObject {
  PyObject_VAR_HEAD PyObject* dtype;  // of NumPy
  PyObject* requires_grad;
  npy_intp dims[1];  // as many as the object has items
};

/// What the class of an operator says, read once.
struct OperatorInfo {
  enum Saves { kAll, kShapes, kOthers, kFlags };
  PyObject* name = nullptr;
  PyObject* backward_name = nullptr;  // "<name>.backward"
  Saves saves = kAll;
  uint32_t flags = 0;  // of kFlags: bit k for input k
  Py_ssize_t flag_count = 0;
  Py_ssize_t outputs = 1;
  bool saves_output = false, is_view = false, may_copy = false, complex_gradient = false, has_backward = false;
  bool has_gradient = false;
};

/// The mode of a thread; null stands for None.
struct Mode {
  bool enabled = true;
  PyObject* tracer = nullptr;
  PyObject* autocast = nullptr;
  PyObject* on_node = nullptr;
  PyObject* anomaly = nullptr;
  PyObject* inference = nullptr;
  PyObject* after_backward = nullptr;  // null stands for ()
};

/// The Python side, given once by penlight.ops.dispatch: what is rare, and the wording of errors.
struct Callbacks {
  PyObject* tensor_type;        // penlight.Tensor
  PyObject* numpy;              // the module
  PyObject* dtypes;             // NumPy dtype -> penlight dtype
  PyObject* cpu_kernels;        // name -> kernel
  PyObject* small_kernels;      // the same for small arrays, asked first
  PyObject* promote;            // (a, b) -> tensors of the common dtype
  PyObject* available;          // what `gradient` of a differentiable operator is
  PyObject* make_context;       // () -> a contextvars.Context in which NumPy does not warn
  PyObject* backend_of_all;     // (operator or None, arrays not all NumPy's) -> their Backend, or what Visit is about
  PyObject* refuse_forward;     // (operator, arrays, error): raises what explains the error
  PyObject* refuse_complex;     // (operator)
  PyObject* refuse_version;     // (node, position or -1 for the output, version then, version now)
  PyObject* refuse_released;    // (node)
  PyObject* refuse_gradient;    // (node)
  PyObject* backward_by_vjp;    // (node, arrays) -> arrays
  PyObject* gradients_of_node;  // (node, tensors) -> tensors, on the tape
  PyObject* run_hooks;          // (hooks, gradient) -> gradient, in tensors
  PyObject* half_forward;       // (operator, arrays), one of them float16 or bfloat16 -> result or NotImplemented
  PyObject* half_backward;      // (node, gradients), one of them float16 or bfloat16 -> results or NotImplemented
  PyObject* half_add;           // (gradient, gradient) of float16 or bfloat16 -> their sum
  PyObject* check_anomaly;      // (node, gradients, results)
  PyObject* explain_anomaly;    // (node, error), before the error goes on
  PyObject* node_methods;       // name -> function or property that nodes have besides their own
};

extern PyTypeObject TensorBaseType;
extern PyTypeObject NodeType;
extern PyTypeObject SavedType;
extern Callbacks callbacks;

Mode& thread_mode();
inline bool is_none(PyObject* object) { return object == Py_None; }
inline bool is_tensor(PyObject* object) {
  return reinterpret_cast<PyObject*>(Py_TYPE(object)) == callbacks.tensor_type || PyObject_TypeCheck(object, &TensorBaseType);
}
inline bool is_node(PyObject* object) { return PyObject_TypeCheck(object, &NodeType); }
inline bool is_saved(PyObject* object) { return Py_TYPE(object) == &SavedType; }
inline TensorObject* as_tensor(PyObject* object) { return reinterpret_cast<TensorObject*>(object); }
inline SavedObject* as_saved(PyObject* object) { return reinterpret_cast<SavedObject*>(object); }
inline NodeObject* as_node(PyObject* object) { return reinterpret_cast<NodeObject*>(object); }
inline PyArrayObject* as_array(PyObject* object) { return reinterpret_cast<PyArrayObject*>(object); }

/// Puts a new reference into a field.
inline void assign(PyObject*& field, PyObject* value) {
  PyObject* old = field;
  Py_INCREF(value);
  field = value;
  Py_XDECREF(old);
}

inline bool wants_gradient(const TensorObject* t) {
  return t->requires_grad == Py_True || (t->requires_grad != Py_False && PyObject_IsTrue(t->requires_grad) == 1);
}
/// A static type with nothing in it yet.
inline PyTypeObject blank_type(const char* name, const char* text, size_t bytes, unsigned long flags) {
  PyTypeObject type = {};
  Py_SET_REFCNT(reinterpret_cast<PyObject*>(&type), 1);
  type.tp_name = name;
  type.tp_doc = text;
  type.tp_basicsize = static_cast<Py_ssize_t>(bytes);
  type.tp_flags = flags;
  return type;
}

/// A new penlight.Tensor around an array; null after an error.
PyObject* wrap_array(PyObject* array);
/// The version counter of a tensor: 0 where nothing was ever written.
int64_t version_of(const TensorObject* t);

/// The names of the fields of a class of operators, borrowed; null for a class that has an `__init__` of its own, or any other.
PyObject* field_names_of(PyObject* type);

/// Where a class of operators keeps what `operator_info` found; null for any other class.
const OperatorInfo** info_place(PyTypeObject* type);

/// The instance of a class of operators for arguments by position. Null after an error.
PyObject* make_operator(PyObject* type, PyObject* const* args, Py_ssize_t count);

/// Runs an operator on tensors and None: a tensor, or a tuple of them. Null after an error.
PyObject* apply_operator(PyObject* op, PyObject* const* tensors, Py_ssize_t count);

/// [0], the count of writes to a piece of memory. Null after an error.
PyObject* fresh_version();

/// What the class of `op` says; valid until the next call. Null after an error.
const OperatorInfo* operator_info(PyObject* op);

/// A node for a call; `outputs` are `count` arrays. Null after an error.
PyObject* make_node(PyObject* op, const OperatorInfo& info, PyObject* const* tensors, Py_ssize_t n, PyObject* const* outputs,
                    Py_ssize_t count);
/// Raises unless what the node saved is there and unchanged.
bool check_versions(NodeObject* node);
/// False after an error of what is to be called then.
bool release_node(NodeObject* node);

/// A stay on the device of some arrays: it is the current one until this object is gone.
class Visit {
 public:
  Visit() = default;
  Visit(const Visit&) = delete;
  ~Visit();
  /// The backend of arrays that are not all NumPy's; null after an error. `op` is named in errors, or None. The callback returns
  /// the backend where the device is current already, else (backend, function that ends the stay).
  PyObject* enter(PyObject* op, PyObject* const* arrays, Py_ssize_t n);

 private:
  Ref leave_;  // makes the old device current again; null where it never changed
};

/// Whether one of the arrays is NumPy's and float16 or bfloat16.
bool has_half(PyObject* const* arrays, Py_ssize_t n);

/// The gradients of a node's inputs as a list of arrays, of `grads`, a list of arrays and None. Null after an error.
PyObject* run_backward(NodeObject* node, PyObject* grads);

/// The names that are looked up on every call, interned.
struct Names {
  PyObject *forward, *backward, *kernels, *xp, *base, *kind, *dtype, *shape, *sync_view, *record, *cast, *name, *saves_inputs,
      *saves_output, *is_view, *may_copy, *outputs, *gradient, *complex_gradient, *asarray, *copy, *op, *inputs, *edges, *instance;
};
extern Names names;

bool add_tensor_type(PyObject* module);
bool add_operator_type(PyObject* module);
bool add_node_types(PyObject* module);
bool add_mode(PyObject* module);
bool add_calls(PyObject* module);
bool add_pass(PyObject* module);
bool add_shortcuts(PyObject* module);
bool add_small_kernels(PyObject* module);
bool add_small_activations(PyObject* module);
/// Everything of the call path into penlight._native; false after an error.
bool add_call_path(PyObject* module);

}  // namespace penlight
