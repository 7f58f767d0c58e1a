// The tape: one node for each operator call. SPDX-License-Identifier: Apache-2.0
//
// Nodes carry a growing number, so that the backward pass needs a heap and no topological sort: a node is run when no node with a
// higher number is waiting, and by then all its consumers have delivered.

#include <algorithm>
#include <cstddef>

#include "call.h"

namespace penlight {

namespace {

int64_t next_sequence = 0;

PyObject* saved_make(int count, const npy_intp* dims, PyObject* dtype, PyObject* requires_grad) {
  PyObject* self = SavedType.tp_alloc(&SavedType, count);
  if (self == nullptr) return nullptr;
  std::copy_n(dims, count, as_saved(self)->dims);
  as_saved(self)->dtype = Ref::share(dtype).release();
  as_saved(self)->requires_grad = Ref::share(requires_grad).release();
  return self;
}

/// Stands in for an array of any library.
PyObject* saved_new(PyObject* array, PyObject* requires_grad) {
  if (PyArray_Check(array))
    return saved_make(PyArray_NDIM(as_array(array)), PyArray_DIMS(as_array(array)),
                      reinterpret_cast<PyObject*>(PyArray_DESCR(as_array(array))), requires_grad);
  const Ref shape(PyObject_GetAttr(array, names.shape)), dtype(PyObject_GetAttr(array, names.dtype));
  npy_intp dims[NPY_MAXDIMS];
  const int count = shape && dtype ? PyArray_IntpFromSequence(shape.get(), dims, NPY_MAXDIMS) : -1;
  return count < 0 ? nullptr : saved_make(count, dims, dtype.get(), requires_grad);
}

void saved_dealloc(PyObject* self) {
  SavedObject* saved = as_saved(self);
  Py_XDECREF(saved->dtype);
  Py_XDECREF(saved->requires_grad);
  Py_TYPE(self)->tp_free(self);
}

PyObject* saved_dtype(PyObject* self, void*) { return PyObject_GetItem(callbacks.dtypes, as_saved(self)->dtype); }

PyObject* saved_ndim(PyObject* self, void*) { return PyLong_FromSsize_t(Py_SIZE(self)); }

PyObject* saved_shape(PyObject* self, void*) {
  return PyArray_IntTupleFromIntp(static_cast<int>(Py_SIZE(self)), as_saved(self)->dims);
}

PyMemberDef saved_members[] = {
    {"requires_grad", T_OBJECT_EX, offsetof(SavedObject, requires_grad), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyGetSetDef saved_properties[] = {
    {"shape", saved_shape, nullptr, nullptr, nullptr},
    {"dtype", saved_dtype, nullptr, nullptr, nullptr},
    {"ndim", saved_ndim, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyTypeObject saved_type() {
  PyTypeObject type =
      blank_type("penlight._native.Saved",
                 "Stands in on the tape for an input whose values the gradient does not need: shape, dtype, and nothing else.",
                 offsetof(SavedObject, dims), Py_TPFLAGS_DEFAULT);
  type.tp_itemsize = sizeof(npy_intp);
  type.tp_dealloc = saved_dealloc;
  type.tp_members = saved_members;
  type.tp_getset = saved_properties;
  return type;
}

int node_traverse(PyObject* self, visitproc visit, void* arg) {
  NodeObject* node = as_node(self);
  Py_VISIT(node->op);
  Py_VISIT(node->hooks);
  Py_VISIT(node->inputs);
  Py_VISIT(node->outputs);
  Py_VISIT(node->output_version);
  Py_VISIT(node->origin);
  Py_VISIT(node->versions);
  Py_VISIT(node->on_release);
  for (Py_ssize_t i = 0; i < node->edge_count; ++i) Py_VISIT(node->edges[i].target);
  return 0;
}

int node_clear(PyObject* self) {
  NodeObject* node = as_node(self);
  PyObject** fields[] = {&node->hooks,  &node->inputs,   &node->outputs,   &node->output_version,
                         &node->origin, &node->versions, &node->on_release};
  for (PyObject** field : fields)
    if (*field != nullptr) assign(*field, Py_None);
  for (Py_ssize_t i = 0; i < node->edge_count; ++i) Py_CLEAR(node->edges[i].target);
  return 0;
}

// A chain of a million nodes is freed without a million frames of C.
void node_dealloc(PyObject* self) {
  PyObject_GC_UnTrack(self);
  Py_TRASHCAN_BEGIN(self, node_dealloc) NodeObject* node = as_node(self);
  if (node->weak_references != nullptr) PyObject_ClearWeakRefs(self);
  PyObject* fields[] = {node->op,     node->hooks,    node->inputs,    node->outputs, node->output_version,
                        node->origin, node->versions, node->on_release};
  for (PyObject* field : fields) Py_XDECREF(field);
  for (Py_ssize_t i = 0; i < node->edge_count; ++i) Py_XDECREF(node->edges[i].target);
  if (node->edges != node->few) PyMem_Free(node->edges);
  Py_TYPE(self)->tp_free(self);
  Py_TRASHCAN_END
}

bool note_version(NodeObject* node, PyObject* tensor, int64_t version) {
  if (is_none(node->versions)) {
    const Ref made(PyDict_New());
    if (!made) return false;
    assign(node->versions, made.get());
  }
  const Ref key(PyLong_FromVoidPtr(tensor)), value(PyLong_FromLongLong(version));
  return key && value && PyDict_SetItem(node->versions, key.get(), value.get()) == 0;
}

/// Fills the edges and notes the versions of the inputs.
bool link(NodeObject* node, PyObject* const* tensors, Py_ssize_t n) {
  constexpr Py_ssize_t kFew = sizeof(node->few) / sizeof(Edge);
  node->edges = n <= kFew ? node->few : static_cast<Edge*>(PyMem_Calloc(static_cast<size_t>(n), sizeof(Edge)));
  if (node->edges == nullptr) return PyErr_NoMemory() != nullptr;
  node->edge_count = n;
  for (Py_ssize_t i = 0; i < n; ++i) {
    if (is_none(tensors[i])) continue;
    const TensorObject* t = as_tensor(tensors[i]);
    if (wants_gradient(t)) {
      const bool is_leaf = is_none(t->node);
      node->edges[i].target = Ref::share(is_leaf ? tensors[i] : t->node).release();
      node->edges[i].index = is_leaf ? 0 : PyLong_AsSsize_t(t->index);
    }
    const int64_t version = version_of(t);
    if (version != 0 && !note_version(node, tensors[i], version)) return false;
  }
  return true;
}

/// Whether the gradient reads the values of input i.
bool keeps(const OperatorInfo& info, const NodeObject* node, Py_ssize_t i, Py_ssize_t wanting) {
  switch (info.saves) {
    case OperatorInfo::kAll:
      return true;
    case OperatorInfo::kShapes:
      return false;
    case OperatorInfo::kOthers:
      return wanting > (node->edges[i].target != nullptr ? 1 : 0);
    case OperatorInfo::kFlags:
      return (info.flags >> (i < info.flag_count ? i : info.flag_count - 1) & 1) != 0;
  }
  return true;
}

PyObject* save_inputs(const OperatorInfo& info, const NodeObject* node, PyObject* const* tensors, Py_ssize_t n) {
  Py_ssize_t wanting = 0;
  for (Py_ssize_t i = 0; i < n; ++i) wanting += node->edges[i].target != nullptr ? 1 : 0;
  Ref inputs(PyTuple_New(n));
  if (!inputs) return nullptr;
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* saved = tensors[i];
    if (is_none(saved) || keeps(info, node, i, wanting))
      Py_INCREF(saved);
    else
      saved = saved_new(as_tensor(saved)->data, as_tensor(saved)->requires_grad);
    if (saved == nullptr) return nullptr;
    PyTuple_SET_ITEM(inputs.get(), i, saved);
  }
  return inputs.release();
}

PyObject* node_new(PyTypeObject*, PyObject* args, PyObject*) {
  PyObject *op = nullptr, *given = nullptr, *results = nullptr;
  if (PyArg_ParseTuple(args, "OOO:Node", &op, &given, &results) == 0) return nullptr;
  const Ref inputs(PySequence_Tuple(given)), outputs(inputs ? PySequence_Tuple(results) : nullptr);
  const OperatorInfo* info = outputs ? operator_info(op) : nullptr;
  if (info == nullptr) return nullptr;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(inputs.get()); ++i) {
    PyObject* input = PyTuple_GET_ITEM(inputs.get(), i);
    if (!is_none(input) && !is_tensor(input))
      return PyErr_Format(PyExc_TypeError, "Node: expected tensors, came %s", Py_TYPE(input)->tp_name);
  }
  return make_node(op, *info, &PyTuple_GET_ITEM(inputs.get(), 0), PyTuple_GET_SIZE(inputs.get()),
                   &PyTuple_GET_ITEM(outputs.get(), 0), PyTuple_GET_SIZE(outputs.get()));
}

PyObject* node_edges(PyObject* self, void*) {
  const NodeObject* node = as_node(self);
  Ref list(PyList_New(node->edge_count));
  if (!list) return nullptr;
  for (Py_ssize_t i = 0; i < node->edge_count; ++i) {
    PyObject* target = node->edges[i].target;
    PyObject* edge = target != nullptr && is_node(target) ? Py_BuildValue("(On)", target, node->edges[i].index)
                                                          : Ref::share(target == nullptr ? Py_None : target).release();
    if (edge == nullptr) return nullptr;
    PyList_SET_ITEM(list.get(), i, edge);
  }
  return list.release();
}

PyObject* node_name(PyObject* self, void*) { return PyObject_GetAttr(as_node(self)->op, names.name); }

PyObject* node_repr(PyObject* self) {
  return PyUnicode_FromFormat("<%sNode %lld>", Py_TYPE(as_node(self)->op)->tp_name,
                              static_cast<long long>(as_node(self)->sequence));
}

/// What is not here may be written in Python: hooks on nodes, the nodes behind one.
PyObject* node_getattr(PyObject* self, PyObject* name) {
  PyObject* found = PyObject_GenericGetAttr(self, name);
  if (found != nullptr || callbacks.node_methods == nullptr || PyErr_ExceptionMatches(PyExc_AttributeError) == 0) return found;
  PyObject *kind = nullptr, *error = nullptr, *trace = nullptr;
  PyErr_Fetch(&kind, &error, &trace);
  PyObject* method = PyDict_GetItemWithError(callbacks.node_methods, name);
  if (method == nullptr) {
    PyErr_Restore(kind, error, trace);
    return nullptr;
  }
  Py_XDECREF(kind);
  Py_XDECREF(error);
  Py_XDECREF(trace);
  return Py_TYPE(method)->tp_descr_get(method, self, reinterpret_cast<PyObject*>(Py_TYPE(self)));
}

PyObject* node_check_versions(PyObject* self, PyObject*) {
  if (!check_versions(as_node(self))) return nullptr;
  Py_RETURN_NONE;
}

PyObject* node_release(PyObject* self, PyObject*) {
  if (!release_node(as_node(self))) return nullptr;
  Py_RETURN_NONE;
}

PyObject* node_add_hook(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  if (count != 2)
    return PyErr_Format(PyExc_TypeError, "add_hook: expected an output index and a function, came %zd arguments", count);
  NodeObject* node = as_node(self);
  if (is_none(node->hooks)) {
    Ref hooks(PyDict_New());
    if (!hooks) return nullptr;
    assign(node->hooks, hooks.get());
  }
  Ref empty(PyList_New(0));
  if (!empty) return nullptr;
  PyObject* list = PyDict_SetDefault(node->hooks, args[0], empty.get());
  if (list == nullptr || PyList_Append(list, args[1]) < 0) return nullptr;
  Py_RETURN_NONE;
}

PyMemberDef node_members[] = {
    {"operator", T_OBJECT_EX, offsetof(NodeObject, op), 0, "What was called."},
    {"hooks", T_OBJECT_EX, offsetof(NodeObject, hooks), 0, "Output index -> functions of its gradient; or None."},
    {"inputs", T_OBJECT_EX, offsetof(NodeObject, inputs), 0,
     "The saved inputs: tensors, Saved where the gradient needs only the shape, None; None once released."},
    {"outputs", T_OBJECT_EX, offsetof(NodeObject, outputs), 0, "The saved output arrays, or None."},
    {"output_version", T_OBJECT_EX, offsetof(NodeObject, output_version), 0, "[version], shared with the output tensors."},
    {"origin", T_OBJECT_EX, offsetof(NodeObject, origin), 0, "The stack of the call under detect_anomaly, or None."},
    {"on_release", T_OBJECT_EX, offsetof(NodeObject, on_release), 0, "Called when what was saved is freed, or None."},
    {"versions", T_OBJECT_EX, offsetof(NodeObject, versions), 0, "id of a saved input -> its version at the call; or None."},
    {"sequence", T_LONGLONG, offsetof(NodeObject, sequence), READONLY, "Grows with every node."},
    {"count", T_PYSSIZET, offsetof(NodeObject, count), READONLY, "How many outputs there are."},
    {nullptr, 0, 0, 0, nullptr},
};

PyGetSetDef node_properties[] = {
    {"edges", node_edges, nullptr, "For each input where its gradient goes: (node, output index), a leaf tensor, or None.",
     nullptr},
    {"name", node_name, nullptr, "The operator's name.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef node_methods[] = {
    {"check_versions", node_check_versions, METH_NOARGS, "Refuses saved tensors that changed in place since the call."},
    {"release", node_release, METH_NOARGS, "Frees what was saved; a second backward through this node then raises."},
    {"add_hook", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(node_add_hook)), METH_FASTCALL,
     "Calls hook(gradient) when the gradient of an output is known."},
    {nullptr, nullptr, 0, nullptr},
};

PyTypeObject node_type() {
  PyTypeObject type = blank_type("penlight._native.Node", "One operator call on the tape.", sizeof(NodeObject),
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC);
  type.tp_weaklistoffset = offsetof(NodeObject, weak_references);
  type.tp_new = node_new;
  type.tp_dealloc = node_dealloc;
  type.tp_traverse = node_traverse;
  type.tp_clear = node_clear;
  type.tp_repr = node_repr;
  type.tp_getattro = node_getattr;
  type.tp_members = node_members;
  type.tp_getset = node_properties;
  type.tp_methods = node_methods;
  return type;
}

}  // namespace

PyObject* fresh_version() {
  PyObject* list = PyList_New(1);
  if (list != nullptr) PyList_SET_ITEM(list, 0, PyLong_FromLong(0));
  return list;
}

PyTypeObject SavedType = saved_type();
PyTypeObject NodeType = node_type();

PyObject* make_node(PyObject* op, const OperatorInfo& info, PyObject* const* tensors, Py_ssize_t n, PyObject* const* outputs,
                    Py_ssize_t count) {
  Ref self(NodeType.tp_alloc(&NodeType, 0));
  if (!self) return nullptr;
  NodeObject* node = as_node(self.get());
  node->sequence = next_sequence++;
  node->count = count;
  PyObject** fields[] = {&node->hooks,  &node->inputs,   &node->outputs,   &node->output_version,
                         &node->origin, &node->versions, &node->on_release};
  for (PyObject** field : fields) *field = Ref::share(Py_None).release();
  node->op = Ref::share(op).release();
  if (!link(node, tensors, n)) return nullptr;
  Ref inputs(save_inputs(info, node, tensors, n));
  if (!inputs) return nullptr;
  assign(node->inputs, inputs.get());
  if (info.saves_output) {
    Ref saved(PyTuple_New(count)), version(fresh_version());
    if (!saved || !version) return nullptr;
    for (Py_ssize_t i = 0; i < count; ++i) PyTuple_SET_ITEM(saved.get(), i, Ref::share(outputs[i]).release());
    assign(node->outputs, saved.get());
    assign(node->output_version, version.get());
  }
  if (thread_mode().on_node != nullptr) {
    const Ref on_node = Ref::share(thread_mode().on_node);
    if (!Ref(PyObject_CallOneArg(on_node.get(), self.get()))) return nullptr;
  }
  return self.release();
}

static int64_t version_then(const NodeObject* node, PyObject* input) {
  if (is_none(node->versions)) return 0;
  const Ref key(PyLong_FromVoidPtr(input));
  PyObject* found = key ? PyDict_GetItem(node->versions, key.get()) : nullptr;
  return found == nullptr ? 0 : PyLong_AsLongLong(found);
}

bool check_versions(NodeObject* node) {
  PyObject* self = reinterpret_cast<PyObject*>(node);
  if (is_none(node->inputs)) {
    Ref(PyObject_CallFunctionObjArgs(callbacks.refuse_released, self, nullptr));
    return false;
  }
  int64_t now = is_none(node->outputs) ? 0 : PyLong_AsLongLong(PyList_GET_ITEM(node->output_version, 0));
  if (now != 0) {
    Ref(PyObject_CallFunction(callbacks.refuse_version, "OiiL", self, -1, 0, static_cast<long long>(now)));
    return false;
  }
  Ref inputs(PySequence_Fast(node->inputs, "inputs"));
  if (!inputs) return false;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(inputs.get()); ++i) {
    PyObject* input = PySequence_Fast_GET_ITEM(inputs.get(), i);
    if (!is_tensor(input) || is_none(as_tensor(input)->version)) continue;
    const int64_t before = version_then(node, input);
    now = version_of(as_tensor(input));
    if (now == before) continue;
    Ref(PyObject_CallFunction(callbacks.refuse_version, "OnLL", self, i, static_cast<long long>(before),
                              static_cast<long long>(now)));
    return false;
  }
  return true;
}

bool release_node(NodeObject* node) {
  assign(node->inputs, Py_None);
  assign(node->outputs, Py_None);
  return is_none(node->on_release) || static_cast<bool>(Ref(PyObject_CallNoArgs(node->on_release)));
}

bool add_node_types(PyObject* module) {
  if (PyType_Ready(&NodeType) < 0 || PyType_Ready(&SavedType) < 0) return false;
  Py_INCREF(&NodeType);
  Py_INCREF(&SavedType);
  return PyModule_AddObject(module, "Node", reinterpret_cast<PyObject*>(&NodeType)) == 0 &&
         PyModule_AddObject(module, "Saved", reinterpret_cast<PyObject*>(&SavedType)) == 0;
}

}  // namespace penlight
