// The backward pass: from the latest node to the first, on arrays, or on tensors where the pass itself is taped.
// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <queue>
#include <unordered_map>
#include <utility>

#include "call.h"
#include "small.h"

namespace penlight {

namespace {

/// A gradient that waits at an output of a node.
struct Slot {
  Ref gradient;
  bool is_owned = false;  // this pass made the array and may add to it
};

/// A node that waits for its turn, and the gradients of its outputs so far.
struct Waiting {
  Waiting() = default;
  explicit Waiting(PyObject* target) : node(Ref::share(target)) {
    const Py_ssize_t count = as_node(target)->count;
    if (count > 1) more.reset(new Slot[static_cast<size_t>(count)]);
  }
  int64_t sequence() const { return as_node(node.get())->sequence; }
  Slot& at(Py_ssize_t index) { return more == nullptr ? first : more[static_cast<size_t>(index)]; }

  Ref node;
  Slot first;
  std::unique_ptr<Slot[]> more;  // where there are several outputs
};

/// One run over the tape. Gradients that others may still hold are never written to.
class Pass {
 public:
  /// `wanted`: set of keys (id of a leaf, or (node, index)), or None; then gradients go to `.grad` of the leaves. `plan`: node ->
  /// whether to go on behind it, for the nodes that lead to what is wanted; None where nothing is.
  Pass(bool retains, bool on_tape, PyObject* wanted, PyObject* plan)
      : retains_(retains), on_tape_(on_tape), wanted_(wanted), plan_(plan) {}
  Pass(const Pass&) = delete;

  bool start(PyObject* tensor, PyObject* seed);
  bool run();
  /// Adds a gradient to `.grad` of a tensor.
  bool add_to_grad(TensorObject* leaf, Ref gradient, bool is_fresh);
  Ref from_tensor(PyObject* t) { return Ref::share(on_tape_ ? t : as_tensor(t)->data); }
  /// Key -> gradient as a tensor, of what was wanted.
  PyObject* captured();

 private:
  using Numbered = std::pair<int64_t, PyObject*>;

  Waiting& waiting(PyObject* target);
  bool next(Waiting* found);
  void put_back(Waiting node);
  bool deliver(PyObject* target, Py_ssize_t index, Ref gradient, bool is_fresh);
  bool accumulate(TensorObject* leaf, Ref gradient, bool is_fresh);
  bool store(TensorObject* leaf, Ref gradient, bool is_fresh);
  bool capture(PyObject* key, PyObject* gradient);
  bool is_wanted(PyObject* key) const { return key != nullptr && PySet_Contains(wanted_, key) == 1; }
  bool step(NodeObject* node, Waiting& gradients);
  bool pass_hooks(NodeObject* node, PyObject* grads);
  bool capture_outputs(NodeObject* node, PyObject* grads);
  bool deliver_results(NodeObject* node, PyObject* grads, PyObject* results);
  Ref hooked(PyObject* hooks, PyObject* gradient);
  Ref add(PyObject* held, PyObject* gradient, bool is_owned);
  Ref copy(PyObject* gradient);
  Ref to_tensor(PyObject* gradient) { return on_tape_ ? Ref::share(gradient) : Ref(wrap_array(gradient)); }

  const bool retains_, on_tape_;
  PyObject *const wanted_, *const plan_;
  Ref captured_{PyDict_New()};
  Waiting front_;  // the latest of the nodes that wait: in a chain it is the only one, and needs no map
  std::unordered_map<PyObject*, Waiting> behind_;
  std::priority_queue<Numbered> heap_;  // (sequence, node) of those behind
};

bool Pass::start(PyObject* tensor, PyObject* seed) {
  const TensorObject* t = as_tensor(tensor);
  const Ref target = Ref::share(is_none(t->node) ? tensor : t->node);
  return deliver(target.get(), PyLong_AsSsize_t(t->index), from_tensor(seed), false);
}

/// Lets Python add the line of the forward call to the error that is set.
void explain(PyObject* node) {
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  if (trace != nullptr) PyException_SetTraceback(value, trace);
  if (!Ref(PyObject_CallFunctionObjArgs(callbacks.explain_anomaly, node, value, nullptr))) PyErr_Clear();
  PyErr_Restore(type, value, trace);
}

void Pass::put_back(Waiting node) {
  PyObject* key = node.node.get();
  heap_.emplace(node.sequence(), key);
  behind_[key] = std::move(node);
}

/// The entry of a node, a new one if need be.
Waiting& Pass::waiting(PyObject* target) {
  if (front_.node.get() == target) return front_;
  const auto found = behind_.find(target);
  if (found != behind_.end()) return found->second;
  const int64_t sequence = as_node(target)->sequence;
  if (front_.node ? sequence < front_.sequence() : !heap_.empty() && sequence < heap_.top().first) {
    put_back(Waiting(target));
    return behind_[target];
  }
  if (front_.node) put_back(std::move(front_));
  return front_ = Waiting(target);
}

/// Takes out the latest node that waits; false where none does.
bool Pass::next(Waiting* found) {
  if (front_.node) {
    *found = std::move(front_);
    return true;
  }
  if (heap_.empty()) return false;
  const auto place = behind_.find(heap_.top().second);
  heap_.pop();
  *found = std::move(place->second);
  behind_.erase(place);
  return true;
}

bool Pass::run() {
  for (Waiting latest; next(&latest);) {
    if (step(as_node(latest.node.get()), latest)) continue;
    if (thread_mode().anomaly != nullptr) explain(latest.node.get());
    return false;
  }
  return true;
}

/// Adds a gradient to what waits at an edge. `is_fresh`: its array belongs to nobody else.
bool Pass::deliver(PyObject* target, Py_ssize_t index, Ref gradient, bool is_fresh) {
  if (!is_node(target)) return accumulate(as_tensor(target), std::move(gradient), is_fresh);
  if (!is_none(plan_) && PyDict_Contains(plan_, target) != 1) return true;
  Slot& slot = waiting(target).at(index);
  if (!slot.gradient) {
    slot.gradient = std::move(gradient);
    return true;
  }
  slot.gradient = add(slot.gradient.get(), gradient.get(), slot.is_owned);
  slot.is_owned = true;
  return static_cast<bool>(slot.gradient);
}

bool Pass::accumulate(TensorObject* leaf, Ref gradient, bool is_fresh) {
  const Ref key(is_none(wanted_) ? nullptr : PyLong_FromVoidPtr(leaf));
  if (!is_none(wanted_) && !is_wanted(key.get())) return PyErr_Occurred() == nullptr;
  if (PyObject_IsTrue(leaf->hooks) == 1) {
    gradient = hooked(leaf->hooks, gradient.get());
    is_fresh = false;
    if (!gradient) return false;
  }
  return key ? capture(key.get(), gradient.get()) : add_to_grad(leaf, std::move(gradient), is_fresh);
}

bool Pass::add_to_grad(TensorObject* leaf, Ref gradient, bool is_fresh) {
  if (!store(leaf, std::move(gradient), is_fresh)) return false;
  if (is_none(leaf->accumulate_hooks)) return true;
  const Ref hooks(PySequence_Tuple(leaf->accumulate_hooks));
  for (Py_ssize_t i = 0; hooks && i < PyTuple_GET_SIZE(hooks.get()); ++i)
    if (!Ref(PyObject_CallOneArg(PyTuple_GET_ITEM(hooks.get(), i), reinterpret_cast<PyObject*>(leaf)))) return false;
  return static_cast<bool>(hooks);
}

PyObject* Pass::captured() {
  const Ref keys(captured_ ? PyDict_Keys(captured_.get()) : nullptr);
  for (Py_ssize_t i = 0; keys && i < PyList_GET_SIZE(keys.get()); ++i) {
    PyObject* key = PyList_GET_ITEM(keys.get(), i);
    const Ref t = to_tensor(PyDict_GetItem(captured_.get(), key));
    if (!t || PyDict_SetItem(captured_.get(), key, t.get()) < 0) return nullptr;
  }
  return keys ? captured_.release() : nullptr;
}

bool Pass::store(TensorObject* leaf, Ref gradient, bool is_fresh) {
  if (is_none(leaf->grad)) {
    const Ref own = is_fresh ? std::move(gradient) : copy(gradient.get());
    const Ref grad = own ? to_tensor(own.get()) : Ref();
    if (!grad) return false;
    assign(leaf->grad, grad.get());
  } else {
    const Ref held = from_tensor(leaf->grad);
    const Ref total = add(held.get(), gradient.get(), leaf->owns_grad == leaf->grad);
    if (!total) return false;
    if (total.get() != held.get()) {
      const Ref grad = to_tensor(total.get());
      if (!grad) return false;
      assign(leaf->grad, grad.get());
    }
  }
  assign(leaf->owns_grad, leaf->grad);  // this object may be added to in place
  return true;
}

bool Pass::capture(PyObject* key, PyObject* gradient) {
  PyObject* held = PyDict_GetItemWithError(captured_.get(), key);
  if (held == nullptr) return PyErr_Occurred() == nullptr && PyDict_SetItem(captured_.get(), key, gradient) == 0;
  const Ref total = add(held, gradient, false);
  return total && PyDict_SetItem(captured_.get(), key, total.get()) == 0;
}

/// Runs one node: gradients of its outputs in, gradients of its inputs delivered along its edges.
bool Pass::step(NodeObject* node, Waiting& gradients) {
  PyObject* self = reinterpret_cast<PyObject*>(node);
  const Ref grads(PyList_New(node->count));
  if (!grads) return false;
  for (Py_ssize_t i = 0; i < node->count; ++i) {
    PyObject* gradient = gradients.at(i).gradient.release();
    PyList_SET_ITEM(grads.get(), i, gradient == nullptr ? Ref::share(Py_None).release() : gradient);
  }
  if (!is_none(node->hooks) && !pass_hooks(node, grads.get())) return false;
  if (!is_none(wanted_)) {
    if (!capture_outputs(node, grads.get())) return false;
    if (PyDict_GetItem(plan_, self) == Py_False) return true;  // nothing behind is wanted
  }
  if (!check_versions(node)) return false;
  const OperatorInfo* info = operator_info(node->op);
  if (info == nullptr) return false;
  if (!info->has_gradient) {
    Ref(PyObject_CallOneArg(callbacks.refuse_gradient, self));
    return false;
  }
  const Ref results(on_tape_ ? PyObject_CallFunctionObjArgs(callbacks.gradients_of_node, self, grads.get(), nullptr)
                             : run_backward(node, grads.get()));
  if (!results) return false;
  if (thread_mode().anomaly != nullptr &&
      !Ref(PyObject_CallFunctionObjArgs(callbacks.check_anomaly, self, grads.get(), results.get(), nullptr)))
    return false;
  if (!deliver_results(node, grads.get(), results.get())) return false;
  return retains_ || release_node(node);
}

bool Pass::pass_hooks(NodeObject* node, PyObject* grads) {
  const Ref all(PyDict_Copy(node->hooks));
  PyObject *key = nullptr, *hooks = nullptr;
  Py_ssize_t position = 0;
  while (all && PyDict_Next(all.get(), &position, &key, &hooks) != 0) {
    const Py_ssize_t index = PyLong_AsSsize_t(key);
    if (index < 0 || index >= node->count || is_none(PyList_GET_ITEM(grads, index))) continue;
    Ref changed = hooked(hooks, PyList_GET_ITEM(grads, index));
    if (!changed || PyList_SetItem(grads, index, changed.release()) < 0) return false;
  }
  return static_cast<bool>(all);
}

bool Pass::capture_outputs(NodeObject* node, PyObject* grads) {
  for (Py_ssize_t i = 0; i < node->count; ++i) {
    if (is_none(PyList_GET_ITEM(grads, i))) continue;
    const Ref key(Py_BuildValue("(On)", reinterpret_cast<PyObject*>(node), i));
    if (!key || (is_wanted(key.get()) && !capture(key.get(), PyList_GET_ITEM(grads, i)))) return false;
  }
  return PyErr_Occurred() == nullptr;
}

bool is_array_of(PyObject* holder, PyObject* array) {
  if (is_none(holder)) return false;
  const Ref items(PySequence_Fast(holder, "saved"));
  for (Py_ssize_t i = 0; items && i < PySequence_Fast_GET_SIZE(items.get()); ++i) {
    PyObject* item = PySequence_Fast_GET_ITEM(items.get(), i);
    if (item == array || (is_tensor(item) && as_tensor(item)->data == array)) return true;
  }
  return false;
}

/// Whether the array was made in this step and goes to one place only, so that a leaf may keep it without a copy.
bool is_made_here(const NodeObject* node, PyObject* grads, PyObject* results, PyObject* result) {
  if (!PyArray_Check(result) || PyArray_BASE(as_array(result)) != nullptr) return false;
  int places = 0;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(results); ++i)
    places += PySequence_Fast_GET_ITEM(results, i) == result ? 1 : 0;
  return places == 1 && !is_array_of(grads, result) && !is_array_of(node->inputs, result) && !is_array_of(node->outputs, result);
}

bool Pass::deliver_results(NodeObject* node, PyObject* grads, PyObject* given) {
  const Ref results(PySequence_Fast(given, "a gradient must return a tuple with one entry for each input"));
  if (!results) return false;
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(results.get());
  if (count != node->edge_count) {
    PyErr_Format(PyExc_ValueError, "%S: the gradient has %zd entries, expected one for each of %zd inputs",
                 Ref(PyObject_GetAttr(node->op, names.name)).get(), count, node->edge_count);
    return false;
  }
  for (Py_ssize_t i = 0; i < count; ++i) {
    const Edge& edge = node->edges[i];
    PyObject* result = PySequence_Fast_GET_ITEM(results.get(), i);
    if (edge.target == nullptr || is_none(result)) continue;
    const bool is_fresh = !on_tape_ && !is_node(edge.target) && is_made_here(node, grads, results.get(), result);
    const Ref target = Ref::share(edge.target);
    if (!deliver(target.get(), edge.index, Ref::share(result), is_fresh)) return false;
  }
  return true;
}

Ref Pass::hooked(PyObject* hooks, PyObject* gradient) {
  const Ref given = to_tensor(gradient);
  const Ref changed(given ? PyObject_CallFunctionObjArgs(callbacks.run_hooks, hooks, given.get(), nullptr) : nullptr);
  if (changed && !is_tensor(changed.get())) {
    PyErr_Format(PyExc_TypeError, "a gradient hook must return a Tensor or None, came %s", Py_TYPE(changed.get())->tp_name);
    return Ref();
  }
  return changed ? from_tensor(changed.get()) : Ref();
}

Ref Pass::add(PyObject* held, PyObject* gradient, bool is_owned) {
  if (!on_tape_ && add_plain(held, gradient, is_owned)) return Ref::share(held);
  if (!on_tape_ && has_half(&gradient, 1)) return Ref(PyObject_CallFunctionObjArgs(callbacks.half_add, held, gradient, nullptr));
  PyObject* const both[] = {held, gradient};
  Visit visit;
  if (!on_tape_ && !PyArray_Check(held) && !Ref(visit.enter(Py_None, both, 2))) return Ref();
  if (on_tape_ || !is_owned) {
    Ref total(PyNumber_Add(held, gradient));
    if (on_tape_ || !total || PyArray_Check(total.get()) || !PyArray_Check(held)) return total;
    return Ref(PyObject_CallMethodOneArg(callbacks.numpy, names.asarray, total.get()));  // NumPy's scalars of 0-dim sums
  }
  return Ref(PyNumber_InPlaceAdd(held, gradient));
}

Ref Pass::copy(PyObject* gradient) {
  if (on_tape_) return Ref::share(gradient);
  Visit visit;
  if (!PyArray_Check(gradient) && !Ref(visit.enter(Py_None, &gradient, 1))) return Ref();
  return Ref(PyObject_CallMethodNoArgs(gradient, names.copy));
}

/// run_pass(outputs, seeds, wanted, plan, retains, on_tape)
PyObject* run_pass(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 6) return PyErr_Format(PyExc_TypeError, "run_pass: expected 6 arguments, came %zd", count);
  const Ref outputs(PySequence_Tuple(args[0])), seeds(PySequence_Tuple(args[1]));
  if (!outputs || !seeds) return nullptr;
  Pass pass(PyObject_IsTrue(args[4]) == 1, PyObject_IsTrue(args[5]) == 1, args[2], args[3]);
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(outputs.get()); ++i)
    if (!pass.start(PyTuple_GET_ITEM(outputs.get(), i), PyTuple_GET_ITEM(seeds.get(), i))) return nullptr;
  return pass.run() ? pass.captured() : nullptr;
}

/// add_to_grad(tensor, gradient, on_tape)
PyObject* add_to_grad(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 3 || !is_tensor(args[0]) || !is_tensor(args[1]))
    return PyErr_Format(PyExc_TypeError, "add_to_grad: expected a tensor and its gradient");
  Pass pass(false, PyObject_IsTrue(args[2]) == 1, Py_None, Py_None);
  if (!pass.add_to_grad(as_tensor(args[0]), pass.from_tensor(args[1]), false)) return nullptr;
  Py_RETURN_NONE;
}

PyMethodDef functions[] = {
    {"run_pass", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(run_pass)), METH_FASTCALL,
     "run_pass(outputs, seeds, wanted, plan, retains, on_tape): runs the nodes behind the outputs; the wanted gradients by key."},
    {"add_to_grad", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(add_to_grad)), METH_FASTCALL,
     "add_to_grad(tensor, gradient, on_tape): adds to `.grad`, and calls the hooks that wait for that."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_pass(PyObject* module) { return PyModule_AddFunctions(module, functions) == 0; }

}  // namespace penlight
