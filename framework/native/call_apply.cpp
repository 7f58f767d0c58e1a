// One operator call: kernel or reference, a node on the tape, a record in the trace. SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <unordered_map>
#include <vector>

#include "call.h"

namespace penlight {

Callbacks callbacks = {};

namespace {

/// Up to this many inputs a call takes no memory for its arguments.
constexpr size_t kUsualInputs = 12;

/// Arguments of a call of Python with room before them, as vectorcall wants it.
class Arguments {
 public:
  explicit Arguments(size_t count) : more_(count > kUsualInputs ? count : 0), at_(more_.empty() ? usual_ : more_.data()) {}
  PyObject*& operator[](size_t i) { return at_[i]; }
  PyObject** from(size_t i) { return at_ + i; }

 private:
  PyObject* usual_[kUsualInputs];
  std::vector<PyObject*> more_;
  PyObject** at_;
};

/// Gives back the references to arrays when a call ends.
class Held {
 public:
  Held(PyObject** first, Py_ssize_t count) : first_(first), count_(count) {}
  Held(const Held&) = delete;
  ~Held() {
    for (Py_ssize_t i = 0; i < count_; ++i) Py_DECREF(first_[i]);
  }

 private:
  PyObject** first_;
  Py_ssize_t count_;
};

bool is_numpy(PyObject* array) { return PyArray_CheckExact(array); }

/// The context of this thread in which NumPy is quiet; it belongs to the thread state and dies with it.
PyObject* quiet_context() {
  static PyObject* key = PyUnicode_InternFromString("penlight.quiet");
  thread_local PyObject* context = nullptr;
  thread_local uint64_t owner = 0;
  PyThreadState* state = PyThreadState_Get();
  if (context != nullptr && owner == PyThreadState_GetID(state)) return context;
  PyObject* locals = PyThreadState_GetDict();
  context = PyDict_GetItem(locals, key);
  if (context == nullptr) {
    Ref made(PyObject_CallNoArgs(callbacks.make_context));
    if (!made || PyDict_SetItem(locals, key, made.get()) < 0) return nullptr;
    context = made.get();
  }
  owner = PyThreadState_GetID(state);
  return context;
}

/// Enters the quiet context, unless this thread is in it already.
class Quiet {
 public:
  Quiet() {
    if (depth()++ > 0) return;
    context_ = quiet_context();
    if (context_ != nullptr && PyContext_Enter(context_) < 0) {
      PyErr_Clear();
      context_ = nullptr;
    }
  }
  Quiet(const Quiet&) = delete;
  ~Quiet() {
    --depth();
    if (context_ == nullptr) return;
    PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
    PyErr_Fetch(&type, &value, &trace);
    if (PyContext_Exit(context_) < 0) PyErr_Clear();
    PyErr_Restore(type, value, trace);
  }

 private:
  static int& depth() {
    thread_local int value = 0;
    return value;
  }
  PyObject* context_ = nullptr;
};

bool is_dynamic(PyObject* type, PyObject* name, PyObject* fields) {
  if (fields != nullptr && PySequence_Contains(fields, name) == 1) return true;
  Ref value(PyObject_GetAttr(type, name));
  if (!value) PyErr_Clear();
  return !value || Py_TYPE(value.get())->tp_descr_get != nullptr;
}

bool truth(PyObject* op, PyObject* name, bool* result) {
  Ref value(PyObject_GetAttr(op, name));
  const int is_true = value ? PyObject_IsTrue(value.get()) : -1;
  *result = is_true == 1;
  return is_true >= 0;
}

bool read_saves(PyObject* op, OperatorInfo* info) {
  Ref saves(PyObject_GetAttr(op, names.saves_inputs));
  if (!saves) return false;
  if (saves.get() == Py_True) {
    info->saves = OperatorInfo::kAll;
  } else if (PyUnicode_Check(saves.get())) {
    info->saves = OperatorInfo::kOthers;
  } else if (PyTuple_Check(saves.get()) && PyTuple_GET_SIZE(saves.get()) > 0) {
    info->saves = OperatorInfo::kFlags;
    info->flag_count = PyTuple_GET_SIZE(saves.get());
    for (Py_ssize_t k = 0; k < info->flag_count && k < 32; ++k)
      if (PyObject_IsTrue(PyTuple_GET_ITEM(saves.get(), k)) == 1) info->flags |= 1u << k;
  } else {
    info->saves = OperatorInfo::kShapes;
  }
  return true;
}

bool read_info(PyObject* op, OperatorInfo* info) {
  Ref name(PyObject_GetAttr(op, names.name));
  if (!name) return false;
  Ref backward_name(PyUnicode_FromFormat("%U.backward", name.get()));
  if (!backward_name || !read_saves(op, info)) return false;
  if (!truth(op, names.saves_output, &info->saves_output) || !truth(op, names.is_view, &info->is_view)) return false;
  if (!truth(op, names.may_copy, &info->may_copy) || !truth(op, names.complex_gradient, &info->complex_gradient)) return false;
  Ref outputs(PyObject_GetAttr(op, names.outputs)), backward(PyObject_GetAttr(op, names.backward));
  Ref gradient(PyObject_GetAttr(op, names.gradient));
  if (!outputs || !backward || !gradient) return false;
  info->outputs = PyLong_AsSsize_t(outputs.get());
  info->has_backward = !is_none(backward.get());
  info->has_gradient = PyObject_RichCompareBool(gradient.get(), callbacks.available, Py_EQ) == 1;
  PyObject* interned = name.release();
  PyUnicode_InternInPlace(&interned);
  info->name = interned;
  interned = backward_name.release();
  PyUnicode_InternInPlace(&interned);
  info->backward_name = interned;
  return PyErr_Occurred() == nullptr;
}

/// Whether every instance of the class of `op` says the same.
bool is_fixed(PyObject* op) {
  PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(op));
  PyObject* fields = field_names_of(type);
  const Ref own(PyObject_GetAttr(op, names.instance));
  PyErr_Clear();
  for (PyObject* name : {names.name, names.saves_inputs, names.saves_output, names.is_view, names.may_copy, names.outputs,
                         names.gradient, names.complex_gradient})
    if (is_dynamic(type, name, fields) || (own && PyDict_Contains(own.get(), name) == 1)) return false;
  return true;
}

/// The result of a reference, which may be a NumPy scalar, as an array; those of a device stay as they are.
PyObject* to_array(Ref result, PyObject* xp) {
  if (!result || is_numpy(result.get())) return result.release();
  if (!PyArray_IsAnyScalar(result.get()) && PyObject_HasAttrString(result.get(), "__cuda_array_interface__"))
    return result.release();
  return PyObject_CallMethodOneArg(xp == nullptr ? callbacks.numpy : xp, names.asarray, result.get());
}

/// The result, or a tuple of them, as arrays.
PyObject* to_arrays(Ref result, PyObject* xp) {
  if (!result || !PyTuple_CheckExact(result.get())) return to_array(std::move(result), xp);
  const Py_ssize_t count = PyTuple_GET_SIZE(result.get());
  Ref arrays(PyTuple_New(count));
  for (Py_ssize_t i = 0; arrays && i < count; ++i) {
    PyObject* array = to_array(Ref::share(PyTuple_GET_ITEM(result.get(), i)), xp);
    if (array == nullptr) return nullptr;
    PyTuple_SET_ITEM(arrays.get(), i, array);
  }
  return arrays.release();
}

Ref tuple_of(PyObject* const* items, Py_ssize_t count) {
  Ref tuple(PyTuple_New(count));
  for (Py_ssize_t i = 0; tuple && i < count; ++i) PyTuple_SET_ITEM(tuple.get(), i, Ref::share(items[i]).release());
  return tuple;
}

/// Lets Python explain the error that is set; ours and unexpected ones pass through it unchanged.
PyObject* explain(PyObject* op, PyObject* const* arrays, Py_ssize_t n) {
  if (!PyErr_ExceptionMatches(PyExc_ValueError) && !PyErr_ExceptionMatches(PyExc_TypeError) &&
      !PyErr_ExceptionMatches(PyExc_IndexError))
    return nullptr;
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  if (trace != nullptr) PyException_SetTraceback(value, trace);
  Ref held_type(type), held_value(value), held_trace(trace), all(tuple_of(arrays, n));
  if (!all) return nullptr;
  Ref(PyObject_CallFunctionObjArgs(callbacks.refuse_forward, op, all.get(), value, nullptr));
  return nullptr;
}

/// The kernel table and array module of arrays, whose device is current while `visit` lives; `*xp` null stands for NumPy. False
/// after an error.
bool find_backend(PyObject* op, PyObject* const* arrays, Py_ssize_t n, bool on_cpu, Ref* kernels, Ref* xp, Visit* visit) {
  *kernels = Ref::share(callbacks.cpu_kernels);
  if (on_cpu) return true;
  const Ref backend(visit->enter(op, arrays, n));
  if (!backend) return false;
  *kernels = Ref(PyObject_GetAttr(backend.get(), names.kernels));
  *xp = Ref(PyObject_GetAttr(backend.get(), names.xp));
  return *kernels && *xp;
}

/// args: [spare, spare, operator's place, arrays...]. The kernel's result, NotImplemented where there is none, or null.
PyObject* try_table(PyObject* kernels, PyObject* name, PyObject* op, Arguments& args, size_t count) {
  PyObject* kernel = PyDict_GetItemWithError(kernels, name);
  if (kernel == nullptr) return PyErr_Occurred() != nullptr ? nullptr : Ref::share(Py_NotImplemented).release();
  args[2] = op;
  return PyObject_Vectorcall(kernel, args.from(2), (count + 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
}

PyObject* try_kernel(PyObject* kernels, PyObject* name, PyObject* op, Arguments& args, size_t count) {
  if (kernels == callbacks.cpu_kernels) {
    Ref result(try_table(callbacks.small_kernels, name, op, args, count));
    if (result.get() != Py_NotImplemented) return result.release();
  }
  return try_table(kernels, name, op, args, count);
}

PyObject* run_reference(PyObject* method, PyObject* op, PyObject* xp, Arguments& args, size_t count) {
  const Quiet quiet;
  args[1] = op;
  args[2] = xp == nullptr ? callbacks.numpy : xp;
  return PyObject_VectorcallMethod(method, args.from(1), (count + 2) | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
}

/// The result arrays of an operator; arrays are args[3...].
PyObject* run_forward(PyObject* op, const OperatorInfo& info, Arguments& args, Py_ssize_t n, bool on_cpu) {
  Ref kernels, xp;
  Visit visit;
  if (!find_backend(op, args.from(3), n, on_cpu, &kernels, &xp, &visit)) return nullptr;
  const size_t count = static_cast<size_t>(n);
  Ref result(try_kernel(kernels.get(), info.name, op, args, count));
  if (result.get() == Py_NotImplemented && on_cpu && has_half(args.from(3), n)) {
    const Ref all(tuple_of(args.from(3), n));
    result = Ref(all ? PyObject_CallFunctionObjArgs(callbacks.half_forward, op, all.get(), nullptr) : nullptr);
  }
  if (result.get() == Py_NotImplemented)
    result = Ref(to_arrays(Ref(run_reference(names.forward, op, xp.get(), args, count)), xp.get()));
  return result ? result.release() : explain(op, args.from(3), n);
}

/// 'f', 'c' and so on; 'V' is bfloat16.
char kind_of(PyObject* array) {
  if (PyArray_Check(array)) return PyArray_DESCR(as_array(array))->kind;
  Ref dtype(PyObject_GetAttr(array, names.dtype));
  Ref kind(dtype ? PyObject_GetAttr(dtype.get(), names.kind) : nullptr);
  const char* text = kind ? PyUnicode_AsUTF8(kind.get()) : nullptr;
  PyErr_Clear();
  return text == nullptr ? '?' : text[0];
}

bool is_real_floating(char kind) { return kind == 'f' || kind == 'V'; }

bool put_on_tape(PyObject* output, PyObject* node, Py_ssize_t index) {
  TensorObject* t = as_tensor(output);
  assign(t->requires_grad, Py_True);
  assign(t->node, node);
  if (index > 0) {
    Ref position(PyLong_FromSsize_t(index));
    if (!position) return false;
    assign(t->index, position.get());
  }
  return true;
}

/// The addresses [low, high) that an array covers.
void extent(PyArrayObject* array, const char** low, const char** high) {
  *low = *high = PyArray_BYTES(array);
  for (int d = 0; d < PyArray_NDIM(array); ++d) {
    const npy_intp span = (PyArray_DIM(array, d) - 1) * PyArray_STRIDE(array, d);
    (span < 0 ? *low : *high) += span;
  }
  *high += PyArray_ITEMSIZE(array);
}

bool may_share_memory(PyObject* a, PyObject* b) {
  if (!PyArray_Check(a) || !PyArray_Check(b)) return true;
  if (PyArray_SIZE(as_array(a)) == 0 || PyArray_SIZE(as_array(b)) == 0) return false;
  const char *a_low, *a_high, *b_low, *b_high;
  extent(as_array(a), &a_low, &a_high);
  extent(as_array(b), &b_low, &b_high);
  return a_low < b_high && b_low < a_high;
}

/// Whether an array owns its memory, so that it is no view.
bool has_base(PyObject* array) {
  if (PyArray_Check(array)) return PyArray_BASE(as_array(array)) != nullptr;
  Ref base(PyObject_GetAttr(array, names.base));
  PyErr_Clear();
  return base && !is_none(base.get());
}

/// Lets a view share the version counter of its source and remember how it was made.
bool link_view(PyObject* op, const OperatorInfo& info, TensorObject* source, TensorObject* view) {
  if (!has_base(view->data) || (info.may_copy && !may_share_memory(view->data, source->data))) return true;
  if (is_none(source->version)) {
    Ref version(fresh_version());
    if (!version) return false;
    assign(source->version, version.get());
  }
  assign(view->version, source->version);
  if (!thread_mode().enabled || !is_real_floating(kind_of(source->data))) return true;
  PyObject* base = is_none(source->base) ? reinterpret_cast<PyObject*>(source) : source->base;
  assign(view->base, base);
  const Py_ssize_t depth = PyTuple_GET_SIZE(source->views);
  Ref views(PyTuple_New(depth + 1));
  if (!views) return false;
  for (Py_ssize_t i = 0; i <= depth; ++i)
    PyTuple_SET_ITEM(views.get(), i, Ref::share(i < depth ? PyTuple_GET_ITEM(source->views, i) : op).release());
  assign(view->views, views.get());
  assign(view->stamp, as_tensor(base)->rebased);
  return true;
}

struct Call {
  PyObject* op;
  const OperatorInfo& info;
  PyObject* const* tensors;
  Py_ssize_t count;
  bool taped;  // an input requires a gradient, and the mode wants it
};

PyObject* wrap_one(const Call& call, PyObject* array) {
  Ref output(wrap_array(array));
  if (!output) return nullptr;
  const char kind = call.taped ? kind_of(array) : '?';
  if (is_real_floating(kind) || kind == 'c') {
    if (kind == 'c' && !call.info.complex_gradient && !Ref(PyObject_CallOneArg(callbacks.refuse_complex, call.op))) return nullptr;
    Ref node(make_node(call.op, call.info, call.tensors, call.count, &array, 1));
    if (!node || !put_on_tape(output.get(), node.get(), 0)) return nullptr;
    assign(as_tensor(output.get())->version, as_node(node.get())->output_version);
  }
  if (call.info.is_view && !link_view(call.op, call.info, as_tensor(call.tensors[0]), as_tensor(output.get()))) return nullptr;
  return output.release();
}

PyObject* wrap_many(const Call& call, PyObject* arrays) {
  const Py_ssize_t count = PyTuple_GET_SIZE(arrays);
  Ref outputs(PyTuple_New(count));
  for (Py_ssize_t i = 0; outputs && i < count; ++i) {
    PyObject* output = wrap_array(PyTuple_GET_ITEM(arrays, i));
    if (output == nullptr) return nullptr;
    PyTuple_SET_ITEM(outputs.get(), i, output);
  }
  if (!outputs || !call.taped) return outputs.release();
  Ref node(make_node(call.op, call.info, call.tensors, call.count, &PyTuple_GET_ITEM(arrays, 0), count));
  if (!node) return nullptr;
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* output = PyTuple_GET_ITEM(outputs.get(), i);
    assign(as_tensor(output)->version, as_node(node.get())->output_version);
    if (is_real_floating(kind_of(as_tensor(output)->data)) && !put_on_tape(output, node.get(), i)) return nullptr;
  }
  return outputs.release();
}

/// A view whose base was written to gets its node anew.
bool sync_view(PyObject* tensor) {
  const TensorObject* t = as_tensor(tensor);
  if (is_none(t->base) || as_tensor(t->base)->rebased == t->stamp) return true;
  return static_cast<bool>(Ref(PyObject_CallMethodNoArgs(tensor, names.sync_view)));
}

PyObject* call_operator(PyObject* op, PyObject* const* tensors, Py_ssize_t n) {
  Arguments args(static_cast<size_t>(n) + 3);
  bool wants = false, on_cpu = true;
  for (Py_ssize_t i = 0; i < n; ++i) {
    if (!is_none(tensors[i]) && !is_tensor(tensors[i]))
      return PyErr_Format(PyExc_TypeError, "%s: expected a Tensor, came %s; use penlight.tensor", Py_TYPE(op)->tp_name,
                          Py_TYPE(tensors[i])->tp_name);
    if (!is_none(tensors[i]) && !sync_view(tensors[i])) return nullptr;
  }
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* array = is_none(tensors[i]) ? Py_None : as_tensor(tensors[i])->data;
    args[static_cast<size_t>(i) + 3] = Ref::share(array).release();
    if (is_none(array)) continue;
    on_cpu = on_cpu && is_numpy(array);
    wants = wants || wants_gradient(as_tensor(tensors[i]));
  }
  const Held held(args.from(3), n);
  const OperatorInfo* found = operator_info(op);
  if (found == nullptr) return nullptr;
  const OperatorInfo info = *found;  // the reference may call other operators
  Ref result(run_forward(op, info, args, n, on_cpu));
  if (!result) return nullptr;
  const Call call{op, info, tensors, n, wants && thread_mode().enabled};
  return PyTuple_CheckExact(result.get()) ? wrap_many(call, result.get()) : wrap_one(call, result.get());
}

PyObject* call_and_record(PyObject* op, PyObject* const* tensors, Py_ssize_t n) {
  Ref output(call_operator(op, tensors, n));
  if (!output || thread_mode().tracer == nullptr) return output.release();
  Ref inputs(tuple_of(tensors, n));
  if (!inputs) return nullptr;
  Ref tracer = Ref::share(thread_mode().tracer);
  if (!Ref(PyObject_CallMethodObjArgs(tracer.get(), names.record, op, inputs.get(), output.get(), nullptr))) return nullptr;
  return output.release();
}

PyObject* apply(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count < 1) return PyErr_Format(PyExc_TypeError, "apply: expected an operator and its tensors");
  return apply_operator(args[0], args + 1, count - 1);
}

/// What the backward of a call reads; from a node, or from what stands in for one.
struct Taped {
  PyObject* self;
  Ref op, inputs, outputs, needs;
};

/// The tuple of the lowest `count` bits as True and False.
PyObject* bits(unsigned long flags, Py_ssize_t count) {
  PyObject* tuple = PyTuple_New(count);
  for (Py_ssize_t i = 0; tuple != nullptr && i < count; ++i) PyTuple_SET_ITEM(tuple, i, PyBool_FromLong(flags >> i & 1));
  return tuple;
}

/// For each input whether its gradient is wanted; the tuples for few inputs are made once.
Ref needs_of(const NodeObject* node) {
  constexpr Py_ssize_t kFew = 3;
  static PyObject* made[kFew + 1][1 << kFew] = {};
  const Py_ssize_t count = node->edge_count;
  unsigned long flags = 0;
  for (Py_ssize_t i = 0; i < count && i < kFew; ++i) flags |= (node->edges[i].target != nullptr ? 1ul : 0ul) << i;
  if (count <= kFew) {
    PyObject*& known = made[count][flags];
    if (known == nullptr) known = bits(flags, count);
    return Ref::share(known);
  }
  Ref needs(PyTuple_New(count));
  for (Py_ssize_t i = 0; needs && i < count; ++i)
    PyTuple_SET_ITEM(needs.get(), i, PyBool_FromLong(node->edges[i].target != nullptr ? 1 : 0));
  return needs;
}

/// The same of a sequence of edges, of which None leads nowhere.
Ref needs_of(PyObject* edges) {
  const Ref all(edges == nullptr ? nullptr : PySequence_Tuple(edges));
  Ref needs(all ? PyTuple_New(PyTuple_GET_SIZE(all.get())) : nullptr);
  for (Py_ssize_t i = 0; needs && i < PyTuple_GET_SIZE(all.get()); ++i)
    PyTuple_SET_ITEM(needs.get(), i, PyBool_FromLong(is_none(PyTuple_GET_ITEM(all.get(), i)) ? 0 : 1));
  return needs;
}

bool all_numpy(PyObject* grads) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(grads); ++i)
    if (!is_none(PyList_GET_ITEM(grads, i)) && !is_numpy(PyList_GET_ITEM(grads, i))) return false;
  return true;
}

/// Whether these are a tuple of NumPy arrays and None.
bool are_arrays(PyObject* results) {
  if (!PyTuple_CheckExact(results)) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(results); ++i)
    if (!is_none(PyTuple_GET_ITEM(results, i)) && !is_numpy(PyTuple_GET_ITEM(results, i))) return false;
  return true;
}

/// Gradients that came as NumPy scalars, as arrays.
PyObject* checked_gradients(Ref results, PyObject* xp) {
  if (results && are_arrays(results.get())) return results.release();
  Ref list(results ? PySequence_List(results.get()) : nullptr);
  for (Py_ssize_t i = 0; list && i < PyList_GET_SIZE(list.get()); ++i) {
    PyObject* result = PyList_GET_ITEM(list.get(), i);
    if (is_none(result) || is_numpy(result)) continue;
    PyObject* array = to_array(Ref::share(result), xp);
    if (array == nullptr || PyList_SetItem(list.get(), i, array) < 0) return nullptr;
  }
  return list.release();
}

PyObject* by_vjp(PyObject* node, PyObject* grads) {
  return PyObject_CallFunctionObjArgs(callbacks.backward_by_vjp, node, grads, nullptr);
}

/// Kernel or reference of a gradient; NotImplemented where neither takes the call.
PyObject* call_backward(const Taped& taped, const OperatorInfo& info, PyObject* grads) {
  const Py_ssize_t inputs = PySequence_Fast_GET_SIZE(taped.inputs.get());
  PyObject *op = taped.op.get(), *outputs = taped.outputs.get();
  const bool on_cpu = all_numpy(grads), is_single = info.outputs == 1;
  Ref kernels, xp;
  Visit visit;
  if (!find_backend(op, &PyList_GET_ITEM(grads, 0), PyList_GET_SIZE(grads), on_cpu, &kernels, &xp, &visit)) return nullptr;
  const size_t count = static_cast<size_t>(inputs) + 3;
  Arguments args(count + 3);  // spare, operator, xp, needs, grad, output, inputs...
  args[3] = taped.needs.get();
  args[4] = is_single ? PyList_GET_ITEM(grads, 0) : grads;
  args[5] = is_single && !is_none(outputs) ? PyTuple_GET_ITEM(outputs, 0) : outputs;
  for (Py_ssize_t i = 0; i < inputs; ++i) {
    PyObject* input = PySequence_Fast_GET_ITEM(taped.inputs.get(), i);
    args[static_cast<size_t>(i) + 6] = Ref::share(is_tensor(input) ? as_tensor(input)->data : input).release();
  }
  const Held held(args.from(6), inputs);
  Ref results(try_kernel(kernels.get(), info.backward_name, op, args, count));
  if (results.get() == Py_NotImplemented && on_cpu && has_half(&PyList_GET_ITEM(grads, 0), PyList_GET_SIZE(grads)))
    results = Ref(PyObject_CallFunctionObjArgs(callbacks.half_backward, taped.self, grads, nullptr));
  if (results.get() == Py_NotImplemented) results = Ref(run_reference(names.backward, op, xp.get(), args, count));
  return results.get() == Py_NotImplemented ? results.release() : checked_gradients(std::move(results), xp.get());
}

PyObject* run_taped(const Taped& taped, PyObject* grads) {
  const OperatorInfo* found = operator_info(taped.op.get());
  if (found == nullptr) return nullptr;
  const OperatorInfo info = *found;
  if (!info.has_backward) return by_vjp(taped.self, grads);
  Ref results(call_backward(taped, info, grads));
  return results.get() == Py_NotImplemented ? by_vjp(taped.self, grads) : results.release();
}

PyObject* run_backward_of(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 2) return PyErr_Format(PyExc_TypeError, "run_backward: expected a node and its gradients");
  const Ref grads(PySequence_List(args[1]));
  if (!grads) return nullptr;
  if (is_node(args[0])) return run_backward(as_node(args[0]), grads.get());
  const Ref inputs(PyObject_GetAttr(args[0], names.inputs)), edges(PyObject_GetAttr(args[0], names.edges));
  if (!inputs || !edges) return nullptr;
  const Taped taped{args[0], Ref(PyObject_GetAttr(args[0], names.op)), Ref(PySequence_Tuple(inputs.get())),
                    Ref(PyObject_GetAttr(args[0], names.outputs)), needs_of(edges.get())};
  return taped.op && taped.inputs && taped.outputs && taped.needs ? run_taped(taped, grads.get()) : nullptr;
}

/// run_forward(operator, arrays, on_cpu=True), which looks itself where the arrays live.
PyObject* run_forward_of(PyObject*, PyObject* const* given, Py_ssize_t count) {
  if (count < 2) return PyErr_Format(PyExc_TypeError, "run_forward: expected an operator and its arrays");
  const Ref arrays(PySequence_Tuple(given[1]));
  const OperatorInfo* found = arrays ? operator_info(given[0]) : nullptr;
  if (found == nullptr) return nullptr;
  const OperatorInfo info = *found;
  const Py_ssize_t n = PyTuple_GET_SIZE(arrays.get());
  Arguments args(static_cast<size_t>(n) + 3);
  bool on_cpu = true;
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* array = PyTuple_GET_ITEM(arrays.get(), i);
    args[static_cast<size_t>(i) + 3] = array;
    on_cpu = on_cpu && (is_none(array) || is_numpy(array));
  }
  return run_forward(given[0], info, args, n, on_cpu);
}

struct Field {
  const char* name;
  PyObject** place;
};

const Field callback_fields[] = {
    {"tensor_type", &callbacks.tensor_type},
    {"numpy", &callbacks.numpy},
    {"dtypes", &callbacks.dtypes},
    {"cpu_kernels", &callbacks.cpu_kernels},
    {"small_kernels", &callbacks.small_kernels},
    {"promote", &callbacks.promote},
    {"available", &callbacks.available},
    {"make_context", &callbacks.make_context},
    {"backend_of_all", &callbacks.backend_of_all},
    {"refuse_forward", &callbacks.refuse_forward},
    {"refuse_complex", &callbacks.refuse_complex},
    {"refuse_version", &callbacks.refuse_version},
    {"refuse_released", &callbacks.refuse_released},
    {"refuse_gradient", &callbacks.refuse_gradient},
    {"backward_by_vjp", &callbacks.backward_by_vjp},
    {"gradients_of_node", &callbacks.gradients_of_node},
    {"run_hooks", &callbacks.run_hooks},
    {"half_forward", &callbacks.half_forward},
    {"half_backward", &callbacks.half_backward},
    {"half_add", &callbacks.half_add},
    {"check_anomaly", &callbacks.check_anomaly},
    {"explain_anomaly", &callbacks.explain_anomaly},
    {"node_methods", &callbacks.node_methods},
};

PyObject* configure(PyObject*, PyObject*, PyObject* given) {
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t position = 0;
  while (given != nullptr && PyDict_Next(given, &position, &key, &value) != 0) {
    const Field* found = nullptr;
    for (const Field& field : callback_fields)
      if (PyUnicode_CompareWithASCIIString(key, field.name) == 0) found = &field;
    if (found == nullptr) return PyErr_Format(PyExc_TypeError, "configure: unknown name %R", key);
    PyObject* old = *found->place;
    *found->place = Ref::share(value).release();
    Py_XDECREF(old);
  }
  Py_RETURN_NONE;
}

PyCFunction fast(PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef functions[] = {
    {"apply", fast(apply), METH_FASTCALL,
     "apply(operator, *tensors): runs an operator on tensors; a Tensor, or a tuple of them where it has several outputs."},
    {"run_forward", fast(run_forward_of), METH_FASTCALL,
     "run_forward(operator, arrays): the result array, or a tuple of them, by a kernel or by the reference."},
    {"run_backward", fast(run_backward_of), METH_FASTCALL,
     "run_backward(node, gradients): the gradients of a node's inputs as arrays, of arrays."},
    {"configure", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(configure)), METH_VARARGS | METH_KEYWORDS,
     "Sets functions of the Python side by name."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* Visit::enter(PyObject* op, PyObject* const* arrays, Py_ssize_t n) {
  const Ref all(tuple_of(arrays, n));
  Ref found(all ? PyObject_CallFunctionObjArgs(callbacks.backend_of_all, op, all.get(), nullptr) : nullptr);
  if (!found || !PyTuple_CheckExact(found.get())) return found.release();
  leave_ = Ref::share(PyTuple_GET_ITEM(found.get(), 1));
  return Ref::share(PyTuple_GET_ITEM(found.get(), 0)).release();
}

Visit::~Visit() {
  if (!leave_) return;
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  if (!Ref(PyObject_CallNoArgs(leave_.get()))) PyErr_WriteUnraisable(leave_.get());
  PyErr_Restore(type, value, trace);
}

bool has_half(PyObject* const* arrays, Py_ssize_t n) {
  for (Py_ssize_t i = 0; i < n; ++i) {
    if (!is_numpy(arrays[i]) || PyArray_ITEMSIZE(as_array(arrays[i])) != 2) continue;
    const char kind = PyArray_DESCR(as_array(arrays[i]))->kind;
    if (kind == 'f' || kind == 'V') return true;
  }
  return false;
}

PyObject* apply_operator(PyObject* op, PyObject* const* tensors, Py_ssize_t count) {
  if (thread_mode().autocast == nullptr) return call_and_record(op, tensors, count);
  Ref autocast = Ref::share(thread_mode().autocast), given(tuple_of(tensors, count));
  if (!given) return nullptr;
  Ref cast(PyObject_CallMethodObjArgs(autocast.get(), names.cast, op, given.get(), nullptr));
  Ref used(cast ? PySequence_Tuple(cast.get()) : nullptr);
  return used ? call_and_record(op, &PyTuple_GET_ITEM(used.get(), 0), PyTuple_GET_SIZE(used.get())) : nullptr;
}

const OperatorInfo* operator_info(PyObject* op) {
  static std::unordered_map<PyObject*, OperatorInfo> fixed;
  thread_local OperatorInfo dynamic;
  const OperatorInfo** place = info_place(Py_TYPE(op));
  if (place != nullptr && *place != nullptr) return *place;
  PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(op));
  const auto found = fixed.find(type);
  if (found != fixed.end()) return &found->second;
  OperatorInfo info;
  if (!read_info(op, &info)) return nullptr;
  constexpr size_t kMost = 4096;  // classes that are made in a loop must not fill the memory
  if (!is_fixed(op) || fixed.size() >= kMost) {
    dynamic = info;
    return &dynamic;
  }
  Py_INCREF(type);
  const OperatorInfo* kept = &(fixed[type] = info);  // elements of such a map stay where they are
  if (place != nullptr) *place = kept;
  return kept;
}

PyObject* run_backward(NodeObject* node, PyObject* grads) {
  const Taped taped{reinterpret_cast<PyObject*>(node), Ref::share(node->op), Ref(PySequence_Fast(node->inputs, "inputs")),
                    Ref::share(node->outputs), needs_of(node)};
  return taped.inputs && taped.needs ? run_taped(taped, grads) : nullptr;
}

bool add_calls(PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace penlight
