// penlight_runtime._runtime: the C API for Python, and nothing else. SPDX-License-Identifier: Apache-2.0
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <atomic>
#include <string>
#include <vector>

#include "penlight.h"

namespace nb = nanobind;

namespace {

/// Names and attributes of a file, which messages quote, need not be UTF-8.
nb::object to_text(const char* text) {
  const char* nonnull = text != nullptr ? text : "";
  return nb::steal(PyUnicode_DecodeUTF8(nonnull, static_cast<Py_ssize_t>(strlen(nonnull)), "replace"));
}

[[noreturn]] void raise_failure(penlight_status status, const std::string& message) {
  nb::object exception =
      nb::module_::import_("penlight_runtime.errors").attr("failure")(static_cast<int>(status), to_text(message.c_str()));
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw nb::python_error();
}

void check(penlight_status status, const penlight_error& error) {
  if (status != PENLIGHT_OK) raise_failure(status, error.message);
}

/// A contiguous Python buffer, held while this lives. The GIL must be held on both ends.
class Buffer {
 public:
  Buffer(nb::handle object, int flags) {
    if (PyObject_GetBuffer(object.ptr(), &view_, flags) != 0) throw nb::python_error();
  }
  Buffer(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept : view_(other.view_) { other.view_.obj = nullptr; }
  ~Buffer() { PyBuffer_Release(&view_); }
  const Py_buffer& view() const { return view_; }

  /// Holds nothing yet.
  Buffer() = default;
  /// False, and no exception, where the object gives no such buffer.
  bool take(PyObject* object, int flags) {
    if (PyObject_GetBuffer(object, &view_, flags) == 0) return true;
    PyErr_Clear();
    return false;
  }

 private:
  Py_buffer view_ = {};
};

/// The dtype of a buffer in struct-module notation; 0 when we have no such dtype (big-endian, complex, text, ...).
int dtype_of(const Py_buffer& view) {
  const char* format = view.format != nullptr ? view.format : "B";
  if (format[0] == '<' || format[0] == '=' || format[0] == '@') ++format;
  if (format[0] == '\0' || format[1] != '\0') return 0;
  switch (format[0]) {
    case 'f':
      return PENLIGHT_F32;
    case 'e':
      return PENLIGHT_F16;
    case 'd':
      return PENLIGHT_F64;
    case '?':
      return PENLIGHT_BOOL;
    case 'b':
      return PENLIGHT_I8;
    case 'B':
      return PENLIGHT_U8;
    case 'h':
      return PENLIGHT_I16;
    case 'H':
      return PENLIGHT_U16;
    case 'i':
    case 'l':
    case 'q':
      return view.itemsize == 8 ? PENLIGHT_I64 : PENLIGHT_I32;
    case 'I':
    case 'L':
    case 'Q':
      return view.itemsize == 8 ? PENLIGHT_U64 : PENLIGHT_U32;
    default:
      return 0;
  }
}

penlight_tensor tensor_of(const Py_buffer& view, penlight_dtype declared) {
  penlight_tensor tensor = {};
  const int dtype = dtype_of(view);
  // The Python layer passes bfloat16, which the buffer protocol does not know, as uint16.
  tensor.dtype = dtype == PENLIGHT_U16 && declared == PENLIGHT_BF16 ? declared : static_cast<penlight_dtype>(dtype);
  tensor.data = view.buf;
  tensor.size_bytes = static_cast<size_t>(view.len);
  tensor.rank = static_cast<uint32_t>(view.ndim);
  for (int i = 0; i < view.ndim && i < PENLIGHT_MAX_RANK; ++i) tensor.shape[i] = view.shape[i];
  return tensor;
}

nb::tuple shape_tuple(const penlight_tensor& tensor) {
  nb::list shape;
  for (uint32_t i = 0; i < tensor.rank; ++i) shape.append(tensor.shape[i]);
  return nb::tuple(shape);
}

/// (name, dtype number, shape of int or str)
nb::tuple describe(const penlight_tensor_info& info) {
  nb::list shape;
  for (uint32_t i = 0; i < info.rank; ++i) {
    if (info.shape[i] >= 0)
      shape.append(info.shape[i]);
    else
      shape.append(info.symbols[i][0] != '\0' ? to_text(info.symbols[i]) : to_text("?"));
  }
  return nb::make_tuple(to_text(info.name), static_cast<int>(info.dtype), nb::tuple(shape));
}

class Program {
 public:
  Program(nb::handle data, uint64_t memory_budget, bool check_segments) : buffer_(data, PyBUF_SIMPLE) {
    penlight_program_options options = {};
    options.struct_size = sizeof(options);
    options.memory_budget_bytes = memory_budget;
    options.check_segments = check_segments ? 1 : 0;
    penlight_error error;
    penlight_status status = PENLIGHT_OK;
    {
      nb::gil_scoped_release release;
      status = penlight_program_load(buffer_.view().buf, static_cast<size_t>(buffer_.view().len), &options, &program_, &error);
    }
    check(status, error);
  }
  Program(const Program&) = delete;
  ~Program() { penlight_program_free(program_); }

  const penlight_program* get() const { return program_; }

  nb::list methods() const {
    nb::list names;
    for (size_t i = 0; i < penlight_program_method_count(program_); ++i)
      names.append(to_text(penlight_program_method_name(program_, i)));
    return names;
  }

  nb::list inputs(size_t method) const {
    nb::list result;
    penlight_tensor_info info;
    for (size_t i = 0; i < penlight_program_input_count(program_, method); ++i) {
      if (penlight_program_input_info(program_, method, i, &info) == PENLIGHT_OK) result.append(describe(info));
    }
    return result;
  }

  nb::list outputs(size_t method) const {
    nb::list result;
    penlight_tensor_info info;
    for (size_t i = 0; i < penlight_program_output_count(program_, method); ++i) {
      if (penlight_program_output_info(program_, method, i, &info) == PENLIGHT_OK) result.append(describe(info));
    }
    return result;
  }

  nb::dict metadata() const {
    nb::dict result;
    for (size_t i = 0; i < penlight_program_metadata_count(program_); ++i) {
      const char* key = nullptr;
      const char* value = nullptr;
      if (penlight_program_metadata_entry(program_, i, &key, &value) == PENLIGHT_OK) result[to_text(key)] = to_text(value);
    }
    return result;
  }

  size_t self_test() const {
    penlight_error error;
    penlight_status status = PENLIGHT_OK;
    {
      nb::gil_scoped_release release;
      status = penlight_program_self_test(program_, &error);
    }
    check(status, error);
    return penlight_program_golden_count(program_);
  }

  /// (method, [(dtype, shape, bytes) per input], [... per output]) per sample.
  nb::list golden() const {
    nb::list result;
    for (size_t i = 0; i < penlight_program_golden_count(program_); ++i) {
      result.append(nb::make_tuple(penlight_program_golden_method(program_, i), golden_side(i, penlight_program_golden_input),
                                   golden_side(i, penlight_program_golden_output)));
    }
    return result;
  }

 private:
  using GoldenFunction = penlight_status (*)(const penlight_program*, size_t, size_t, penlight_tensor*);

  nb::list golden_side(size_t golden, GoldenFunction function) const {
    nb::list result;
    penlight_tensor tensor;
    for (size_t i = 0; function(program_, golden, i, &tensor) == PENLIGHT_OK; ++i) {
      nb::bytes data(static_cast<const char*>(tensor.data), tensor.size_bytes);
      result.append(nb::make_tuple(static_cast<int>(tensor.dtype), shape_tuple(tensor), data));
    }
    return result;
  }

  Buffer buffer_;
  penlight_program* program_ = nullptr;
};

class Session {
 public:
  /// `states_of`: the session whose state tensors this one uses, or null.
  Session(const Program& program, size_t method, uint32_t threads, bool profile, uint64_t mac_budget, Session* states_of,
          bool deterministic, bool low_memory) {
    penlight_session_options options = {};
    options.struct_size = sizeof(options);
    options.threads = threads;
    options.profile = profile ? 1 : 0;
    options.mac_budget = mac_budget;
    options.deterministic = deterministic ? 1 : 0;
    options.low_memory = low_memory ? 1 : 0;
    options.cancel = &cancel_;
    options.states_of = states_of == nullptr ? nullptr : states_of->session_;
    read_declared(program.get(), method);
    penlight_error error;
    check(penlight_session_create(program.get(), method, &options, &session_, &error), error);
  }
  Session(const Session&) = delete;
  ~Session() { penlight_session_free(session_); }

  /// Plans for arrays of these shapes; `inputs` are C-contiguous arrays.
  void prepare(nb::list inputs) {
    const Busy busy(*this);
    std::vector<Buffer> buffers;
    std::vector<penlight_tensor> tensors = take(inputs, input_dtypes_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT, buffers);
    prepare_tensors(tensors);
  }

  /// Runs on C-contiguous arrays. `outputs` is a list of writable arrays or None; then `empty(shape, dtype number)` makes them.
  nb::list run(nb::list inputs, nb::object outputs, nb::callable empty) {
    const Busy busy(*this);
    cancel_ = 0;
    std::vector<Buffer> buffers;
    std::vector<penlight_tensor> in = take(inputs, input_dtypes_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT, buffers);
    if (!same_shapes(in)) prepare_tensors(in);
    if (sized_by_data()) return run_sized_by_data(in, outputs, empty);
    if (outputs.is_none()) return run_into_new(in, empty);
    nb::list arrays = nb::cast<nb::list>(outputs);
    std::vector<penlight_tensor> out = take(arrays, output_dtypes_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE, buffers);
    check_outputs(out);
    run_tensors(in, out);
    return arrays;
  }

  /// The usual case of `run`, with nothing to convert: inputs by name in arrays that are exactly of `array_type`, new outputs by
  /// name. None, and nothing has happened, where anything is otherwise; `run` then serves or refuses it.
  nb::object run_by_name(nb::dict inputs, nb::callable empty, nb::handle array_type) {
    const size_t count = input_names_.size();
    if (inputs.size() != count || count > kQuickInputs) return nb::none();
    Buffer held[kQuickInputs];
    std::vector<penlight_tensor> in(count);
    for (size_t i = 0; i < count; ++i) {
      PyObject* array = PyDict_GetItemWithError(inputs.ptr(), input_names_[i].ptr());
      if (array == nullptr && PyErr_Occurred()) throw nb::python_error();
      if (array == nullptr || !take_plain(array, array_type, input_dtypes_[i], held[i], &in[i])) return nb::none();
    }
    const Busy busy(*this);
    cancel_ = 0;
    if (!same_shapes(in)) prepare_tensors(in);
    nb::list arrays = sized_by_data() ? run_sized_by_data(in, nb::none(), empty) : run_into_new(in, empty);
    nb::dict named;
    for (size_t i = 0; i < arrays.size(); ++i) named[output_names_[i]] = arrays[i];
    return named;
  }

  void cancel() { cancel_ = 1; }

  void reset() {
    const Busy busy(*this);
    penlight_session_reset(session_);
  }

  /// (name, dtype number, shape, bytes) per state.
  nb::list states() {
    const Busy busy(*this);
    nb::list result;
    penlight_tensor tensor;
    const char* name = nullptr;
    for (size_t i = 0; penlight_session_state(session_, i, &name, &tensor) == PENLIGHT_OK; ++i) {
      nb::bytes data(static_cast<const char*>(tensor.data), tensor.size_bytes);
      result.append(nb::make_tuple(to_text(name), static_cast<int>(tensor.dtype), shape_tuple(tensor), data));
    }
    return result;
  }

  void set_state(size_t index, nb::bytes data) {
    const Busy busy(*this);
    penlight_tensor tensor;
    if (penlight_session_state(session_, index, nullptr, &tensor) != PENLIGHT_OK || data.size() != tensor.size_bytes)
      raise_failure(PENLIGHT_INVALID_ARGUMENT, "the bytes do not fill the state");
    if (tensor.size_bytes > 0) memcpy(tensor.data, data.c_str(), tensor.size_bytes);
  }

  uint64_t arena_bytes() const { return penlight_session_arena_bytes(session_); }
  uint64_t macs() const { return penlight_session_macs(session_); }

  nb::list profile() const {
    nb::list result;
    penlight_node_profile node;
    for (size_t i = 0; i < penlight_session_node_count(session_); ++i) {
      if (penlight_session_node_profile(session_, i, &node) != PENLIGHT_OK) continue;
      result.append(
          nb::make_tuple(to_text(node.name), to_text(node.operator_name), to_text(node.source), node.nanoseconds, node.macs));
    }
    return result;
  }

  /// (name, dtype number, shape, (offset, bytes, first node, last node) or None) per value, then per node for its working memory.
  nb::list plan() const {
    nb::list result;
    penlight_plan_entry entry;
    for (size_t i = 0; penlight_session_plan_entry(session_, i, &entry) == PENLIGHT_OK; ++i) {
      nb::list shape;
      for (uint32_t j = 0; j < entry.rank; ++j) shape.append(entry.shape[j]);
      nb::object block = nb::none();
      if (entry.in_arena != 0) block = nb::make_tuple(entry.offset, entry.size_bytes, entry.first_node, entry.last_node);
      result.append(nb::make_tuple(to_text(entry.name), static_cast<int>(entry.dtype), nb::tuple(shape), block));
    }
    return result;
  }

 private:
  /// Refuses a second thread: a session serves one at a time, and the GIL is released while it runs.
  class Busy {
   public:
    explicit Busy(Session& session) : session_(session) {
      if (session.busy_.exchange(true)) {
        raise_failure(PENLIGHT_INVALID_ARGUMENT, "the session is running in another thread; make one session per thread");
      }
    }
    ~Busy() { session_.busy_ = false; }

   private:
    Session& session_;
  };

  static constexpr size_t kQuickInputs = 8;  // more take the long way

  void read_declared(const penlight_program* program, size_t method) {
    penlight_tensor_info info;
    for (size_t i = 0; penlight_program_input_info(program, method, i, &info) == PENLIGHT_OK; ++i) {
      input_dtypes_.push_back(info.dtype);
      input_names_.push_back(to_text(info.name));
    }
    for (size_t i = 0; penlight_program_output_info(program, method, i, &info) == PENLIGHT_OK; ++i) {
      output_dtypes_.push_back(info.dtype);
      output_names_.push_back(to_text(info.name));
    }
  }

  /// Whether an array can be read where it lies, as what is declared.
  static bool take_plain(PyObject* array, nb::handle array_type, penlight_dtype dtype, Buffer& held, penlight_tensor* tensor) {
    if (reinterpret_cast<PyObject*>(Py_TYPE(array)) != array_type.ptr()) return false;
    if (!held.take(array, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) return false;
    const Py_buffer& view = held.view();
    const bool aligned = view.itemsize > 0 && reinterpret_cast<uintptr_t>(view.buf) % static_cast<uintptr_t>(view.itemsize) == 0;
    *tensor = tensor_of(view, dtype);
    return aligned && tensor->dtype == dtype;
  }

  nb::list run_into_new(const std::vector<penlight_tensor>& in, nb::callable empty) {
    nb::list arrays = allocate_outputs(empty);
    std::vector<Buffer> buffers;
    std::vector<penlight_tensor> out = take(arrays, output_dtypes_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE, buffers);
    run_tensors(in, out);
    return arrays;
  }

  void run_tensors(const std::vector<penlight_tensor>& in, std::vector<penlight_tensor>& out) {
    penlight_error error;
    penlight_status status = PENLIGHT_OK;
    {
      nb::gil_scoped_release release;
      status = penlight_session_run(session_, in.data(), in.size(), out.data(), out.size(), &error);
    }
    check(status, error);
  }

  static std::vector<penlight_tensor> take(nb::list arrays, const std::vector<penlight_dtype>& dtypes, int flags,
                                           std::vector<Buffer>& buffers) {
    std::vector<penlight_tensor> tensors;
    if (arrays.size() != dtypes.size()) {
      raise_failure(PENLIGHT_INVALID_ARGUMENT,
                    "expected " + std::to_string(dtypes.size()) + " arrays, got " + std::to_string(arrays.size()));
    }
    for (size_t i = 0; i < arrays.size(); ++i) {
      buffers.emplace_back(arrays[i], flags);
      tensors.push_back(tensor_of(buffers.back().view(), dtypes[i]));
    }
    return tensors;
  }

  bool same_shapes(const std::vector<penlight_tensor>& inputs) const {
    if (inputs.size() != shapes_.size()) return false;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].rank != shapes_[i].rank) return false;
      for (uint32_t j = 0; j < inputs[i].rank; ++j) {
        if (inputs[i].shape[j] != shapes_[i].shape[j]) return false;
      }
    }
    return !inputs.empty() || prepared_;
  }

  void prepare_tensors(const std::vector<penlight_tensor>& inputs) {
    shapes_.clear();
    prepared_ = false;
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].rank > PENLIGHT_MAX_RANK) raise_failure(PENLIGHT_SHAPE_MISMATCH, "arrays have at most 8 dimensions");
    }
    penlight_error error;
    penlight_status status = PENLIGHT_OK;
    {
      nb::gil_scoped_release release;
      status = penlight_session_prepare(session_, inputs.data(), inputs.size(), &error);
    }
    check(status, error);
    varies_ = false;
    shapes_ = inputs;
    prepared_ = true;
  }

  /// Whether only a run tells some output's shape.
  bool sized_by_data() const {
    penlight_tensor tensor;
    for (size_t i = 0; penlight_session_output(session_, i, &tensor) == PENLIGHT_OK; ++i) {
      for (uint32_t j = 0; j < tensor.rank; ++j) {
        if (tensor.shape[j] < 0) return true;
      }
    }
    return varies_;
  }

  /// The outputs stay in the session's memory until their sizes are known, and are copied then.
  nb::list run_sized_by_data(const std::vector<penlight_tensor>& in, nb::object outputs, nb::callable empty) {
    varies_ = true;
    penlight_error error;
    penlight_status status = PENLIGHT_OK;
    {
      nb::gil_scoped_release release;
      status = penlight_session_run(session_, in.data(), in.size(), nullptr, 0, &error);
    }
    check(status, error);
    nb::list arrays = outputs.is_none() ? allocate_outputs(empty) : nb::cast<nb::list>(outputs);
    std::vector<Buffer> buffers;
    std::vector<penlight_tensor> out = take(arrays, output_dtypes_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE, buffers);
    check_outputs(out);
    penlight_tensor tensor;
    for (size_t i = 0; i < out.size() && penlight_session_output(session_, i, &tensor) == PENLIGHT_OK; ++i) {
      if (tensor.size_bytes > 0) memcpy(out[i].data, tensor.data, tensor.size_bytes);
    }
    return arrays;
  }

  nb::list allocate_outputs(nb::callable empty) const {
    nb::list arrays;
    penlight_tensor tensor;
    for (size_t i = 0; penlight_session_output(session_, i, &tensor) == PENLIGHT_OK; ++i) {
      arrays.append(empty(shape_tuple(tensor), static_cast<int>(tensor.dtype)));
    }
    return arrays;
  }

  /// A caller's array must have just the output's shape: bytes that happen to suffice would be read with another shape.
  void check_outputs(const std::vector<penlight_tensor>& outputs) const {
    penlight_tensor tensor;
    for (size_t i = 0; i < outputs.size() && penlight_session_output(session_, i, &tensor) == PENLIGHT_OK; ++i) {
      bool same = outputs[i].dtype == tensor.dtype && outputs[i].rank == tensor.rank;
      for (uint32_t j = 0; same && j < tensor.rank; ++j) same = outputs[i].shape[j] == tensor.shape[j];
      if (same) continue;
      raise_failure(PENLIGHT_SHAPE_MISMATCH, "output " + std::to_string(i) + ": expected an array of shape " +
                                                 nb::cast<std::string>(nb::str(shape_tuple(tensor))) +
                                                 " and the declared dtype, got " +
                                                 nb::cast<std::string>(nb::str(shape_tuple(outputs[i]))));
    }
  }

  penlight_session* session_ = nullptr;
  volatile int cancel_ = 0;
  std::atomic<bool> busy_{false};
  bool prepared_ = false;
  bool varies_ = false;  // some output's shape is another in every run
  std::vector<penlight_dtype> input_dtypes_;
  std::vector<penlight_dtype> output_dtypes_;
  std::vector<nb::object> input_names_;
  std::vector<nb::object> output_names_;
  std::vector<penlight_tensor> shapes_;  // of the last prepare
};

nb::list operators() {
  nb::list result;
  penlight_operator_info info;
  for (size_t i = 0; i < penlight_operator_count(); ++i) {
    if (penlight_operator_describe(i, &info) != PENLIGHT_OK) continue;
    result.append(nb::make_tuple(to_text(info.domain), to_text(info.name), info.min_version, info.max_version));
  }
  return result;
}

}  // namespace

NB_MODULE(_runtime, m) {
  nb::set_leak_warnings(false);  // a traceback that lives to the end of the process is no reason to write to stderr
  m.doc() = "The edge runtime's C API; use penlight_runtime instead.";
  m.def("version", [] { return penlight_version(); });
  m.def("operators", &operators);
  nb::class_<Program>(m, "Program")
      .def(nb::init<nb::handle, uint64_t, bool>(), nb::arg("data"), nb::arg("memory_budget"), nb::arg("check_segments"))
      .def("methods", &Program::methods)
      .def("inputs", &Program::inputs)
      .def("outputs", &Program::outputs)
      .def("metadata", &Program::metadata)
      .def("self_test", &Program::self_test)
      .def("golden", &Program::golden);
  nb::class_<Session>(m, "Session")
      .def(nb::init<const Program&, size_t, uint32_t, bool, uint64_t, Session*, bool, bool>(), nb::keep_alive<1, 2>(),
           nb::keep_alive<1, 7>(), nb::arg("program"), nb::arg("method"), nb::arg("threads"), nb::arg("profile"),
           nb::arg("mac_budget"), nb::arg("states_of").none() = nb::none(), nb::arg("deterministic") = false,
           nb::arg("low_memory") = false)
      .def("reset", &Session::reset)
      .def("states", &Session::states)
      .def("set_state", &Session::set_state)
      .def("prepare", &Session::prepare)
      .def("run", &Session::run, nb::arg("inputs"), nb::arg("outputs").none(), nb::arg("empty"))
      .def("run_by_name", &Session::run_by_name, nb::arg("inputs"), nb::arg("empty"), nb::arg("array_type"))
      .def("cancel", &Session::cancel)
      .def("arena_bytes", &Session::arena_bytes)
      .def("macs", &Session::macs)
      .def("profile", &Session::profile)
      .def("plan", &Session::plan);
}
