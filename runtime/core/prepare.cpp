// SPDX-License-Identifier: Apache-2.0
#include "core/session.h"

namespace penlight {
namespace {

// What shape arithmetic produces is far smaller; larger results are computed while running.
constexpr int64_t kLargestFolded = 1024;

/// Forgets what depends on shapes, and points constants to the file.
void prepare_reset(penlight_session& session) {
  session.prepared = false;
  session.outputs_in_arena = false;
  session.arena_bytes = 0;
  session.macs = 0;
  session.folded.rewind();
  for (size_t i = 0; i < session.tensors.count(); ++i) {
    session.tensors[i] = Tensor();
    session.places[i] = Place::kNowhere;
    session.item_of_value[i] = kNoItem;
  }
  for (size_t i = 0; i < session.nodes.count(); ++i) session.nodes[i].folded = false;
}

void prepare_constant(penlight_session& session, size_t index) {
  const FlatTable value = session.value(index);
  if (!value.declares(PenValue::kConstant.slot)) return;
  Tensor& tensor = session.tensors[index];
  tensor.dtype = static_cast<DType>(value.get(PenValue::kDtype));
  const FlatTables dims = value.get(PenValue::kShape);
  tensor.shape.rank = static_cast<int>(dims.count());
  for (size_t i = 0; i < dims.count(); ++i) tensor.shape.dims[i] = dims[i].get(PenDim::kConstant);
  // Kernels only read their inputs; the cast does not open the file for writing.
  tensor.data = const_cast<unsigned char*>(session.program->span_data(value.get(PenValue::kConstant)));
  session.places[index] = Place::kConstant;
}

/// Prepares one node: shapes and dtypes of its outputs, and their data when that is cheap to know now.
class NodePreparation {
 public:
  NodePreparation(penlight_session& session, size_t node, penlight_error& error)
      : session_(session), node_(node), record_(session.nodes[node]), error_(error), call_(session, node, false) {}

  Status run() {
    session_.kernel_message[0] = '\0';
    Status status = record_.kernel->infer(call_.context);
    if (status != Status::kOk) return node_failure(session_, node_, status, error_);
    status = take_outputs();
    if (status == Status::kOk) status = count_macs();
    if (status == Status::kOk) status = keep_state();
    if (status == Status::kOk && can_fold()) status = fold();
    return status;
  }

 private:
  size_t output_value(int i) const { return static_cast<size_t>(session_.node_outputs(record_)[i]); }

  Status take_outputs() {
    for (int i = 0; i < record_.output_count; ++i) {
      Tensor& output = call_.context.outputs[i];
      output.data = nullptr;
      if (output.dtype == DType::kNone) {
        if (call_.context.output_wanted(i)) return complain("output %d has no dtype", i);
        continue;
      }
      if (output.shape.rank < 0 || output.shape.rank > kMaxRank || !shape_fits(output.shape)) {
        return complain("output %d is too large for this machine", i);
      }
      session_.tensors[output_value(i)] = output;
      session_.places[output_value(i)] = Place::kArena;
      if (!call_.context.output_wanted(i)) continue;
      const Status status = session_check_declared(session_, output_value(i), output, error_);
      if (status != Status::kOk) return status;
    }
    return Status::kOk;
  }

  Status complain(const char* format, int output) {
    MessageWriter(session_.kernel_message, sizeof(session_.kernel_message)).append(format, output);
    return node_failure(session_, node_, Status::kInvalidProgram, error_);
  }

  Status count_macs() {
    record_.macs = call_.context.macs;
    record_.scratch_bytes = call_.context.scratch_bytes;
    record_.nanoseconds = 0;
    if (__builtin_add_overflow(session_.macs, record_.macs, &session_.macs)) session_.macs = UINT64_MAX;
    if (session_.mac_budget == 0 || session_.macs <= session_.mac_budget) return Status::kOk;
    return fail(error_, Status::kBudgetExceeded,
                "up to node %zu '%.60s' (%s) a run takes %llu multiply-accumulates, the budget is %llu; raise it", node_,
                session_.node(node_).get(PenNode::kName), record_.kernel->name, static_cast<unsigned long long>(session_.macs),
                static_cast<unsigned long long>(session_.mac_budget));
  }

  Status keep_state() {
    record_.state_bytes = call_.context.state_bytes;
    record_.state_offset = node_ == 0 ? 0 : next_offset(session_.nodes[node_ - 1]);
    if (!session_.states.grow(session_.memory, next_offset(record_))) return session_.memory.failure(error_, "node states");
    if (record_.state_bytes > 0) memcpy(session_.states.data() + record_.state_offset, call_.context.state, record_.state_bytes);
    return Status::kOk;
  }

  static size_t next_offset(const NodeRecord& record) { return record.state_offset + record.state_bytes; }

  bool can_fold() const {
    const Context& context = call_.context;
    for (int i = 0; i < context.output_count; ++i) {
      if (context.outputs[i].present() && context.outputs[i].shape.count() > kLargestFolded) return false;
    }
    for (int i = 0; !context.shapes_suffice && i < context.input_count; ++i) {
      if (context.inputs[i].present() && context.inputs[i].data == nullptr) return false;
    }
    return true;
  }

  Status fold() {
    Context& context = call_.context;
    for (int i = 0; i < context.output_count; ++i) {
      Tensor& output = context.outputs[i];
      if (!output.present()) continue;
      output.data = session_.folded.allocate(session_.memory, static_cast<size_t>(tensor_bytes(output.dtype, output.shape)) + 1);
      if (output.data == nullptr) return session_.memory.failure(error_, "shape arithmetic");
      session_.tensors[output_value(i)].data = output.data;
      session_.places[output_value(i)] = Place::kFolded;
    }
    context.scratch = session_.memory.allocate(record_.scratch_bytes, kArenaAlignment);
    if (context.scratch == nullptr) return session_.memory.failure(error_, "shape arithmetic");
    const Status status = record_.kernel->run(context);
    session_.memory.release(context.scratch, record_.scratch_bytes);
    record_.folded = true;
    return status == Status::kOk ? status : node_failure(session_, node_, status, error_);
  }

  penlight_session& session_;
  const size_t node_;
  NodeRecord& record_;
  penlight_error& error_;
  NodeCall call_;
};

Status prepare_nodes(penlight_session& session, penlight_error& error) {
  for (size_t i = 0; i < session.nodes.count(); ++i) {
    if (session.cancel != nullptr && *session.cancel != 0) return fail(error, Status::kCancelled, "cancelled before node %zu", i);
    const Status status = NodePreparation(session, i, error).run();
    if (status != Status::kOk) return status;
  }
  return Status::kOk;
}

Status check_outputs(const penlight_session& session, penlight_error& error) {
  for (size_t i = 0; i < session.outputs.count(); ++i) {
    const size_t value = session.outputs[i];
    const Status status = session_check_declared(session, value, session.tensors[value], error);
    if (status != Status::kOk) return status;
  }
  return Status::kOk;
}

}  // namespace

Status session_prepare(penlight_session& session, const penlight_tensor* inputs, size_t count, penlight_error& error) {
  prepare_reset(session);
  for (size_t i = 0; i < session.value_count; ++i) prepare_constant(session, i);
  Status status = session_bind(session, inputs, count, error);
  if (status == Status::kOk) status = prepare_nodes(session, error);
  if (status == Status::kOk) status = check_outputs(session, error);
  if (status == Status::kOk) status = session_plan(session, error);
  session.prepared = status == Status::kOk;
  return status;
}

}  // namespace penlight
