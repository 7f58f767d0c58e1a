// SPDX-License-Identifier: Apache-2.0
#include "core/declared.h"
#include "core/session.h"
#include "kernels/selection.h"

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
  if (!session.is_body()) session.spent = 0;
  session_release_blocks(session);
  session.has_late = false;
  session.has_run = false;
  session.folded.rewind();
  for (size_t i = 0; i < session.values.count(); ++i) {
    session.values[i] = ValueRecord();
    session.values[i].item = kNoItem;
  }
  for (size_t i = 0; i < session.nodes.count(); ++i)
    session.nodes[i].folded = session.nodes[i].late = session.nodes[i].bounded = false;
}

void prepare_constant(penlight_session& session, size_t index) {
  const FlatTable value = session.value(index);
  if (!value.declares(PenValue::kConstant.slot)) return;
  Tensor& tensor = session.values[index].tensor;
  tensor.dtype = static_cast<DType>(value.get(PenValue::kDtype));
  declared_shape(value, &tensor.shape);
  // Kernels only read their inputs; the cast does not open the file for writing.
  tensor.data = const_cast<unsigned char*>(session.program->span_data(value.get(PenValue::kConstant)));
  session.values[index].place = Place::kConstant;
}

/// Prepares one node: shapes and dtypes of its outputs, and their data when that is cheap to know now.
class NodePreparation {
 public:
  NodePreparation(penlight_session& session, size_t node, penlight_error& error)
      : session_(session), node_(node), record_(session.nodes[node]), error_(error), call_(session, node, false) {}

  Status run() {
    if (reads_late_values()) return postpone();
    call_.context.constant_inputs = session_constant_inputs(session_, record_);
    Status status = record_.kernel->infer(call_.context);
    if (status == Status::kOk && !session_pack(session_, record_, call_.context)) status = infer_without_packing();
    if (status != Status::kOk && !call_.context.needs_values) return node_failure(session_, node_, status, error_);
    if (status != Status::kOk || call_.context.shaped_by_run) return postpone();
    status = take_outputs();
    if (status == Status::kOk) status = count_macs();
    if (status == Status::kOk) status = keep_state();
    if (status == Status::kOk && can_fold()) status = fold();
    return status;
  }

 private:
  size_t output_value(int i) const { return static_cast<size_t>(session_.node_outputs(record_)[i]); }

  bool reads_late_values() const {
    for (int i = 0; i < record_.input_count; ++i) {
      const int32_t value = session_.node_inputs(record_)[i];
      if (value >= 0 && shaped_late(session_.values[static_cast<size_t>(value)].place)) return true;
    }
    return false;
  }

  Status infer_without_packing() {
    Context& context = call_.context;
    context.constant_inputs = context.packed_bytes = context.scratch_bytes = 0;
    return record_.kernel->infer(context);
  }

  /// Leaves the node to the run, where its inputs are there in full.
  Status postpone() {
    record_.late = session_.has_late = true;
    record_.macs = record_.scratch_bytes = 0;
    for (int i = 0; i < record_.output_count; ++i) session_.values[output_value(i)].place = Place::kBlock;
    call_.context.state_bytes = 0;
    return keep_state();
  }

  Status take_outputs() {
    record_.bounded = call_.context.sized_by_data;
    session_.has_late = session_.has_late || record_.bounded;
    const Place place = record_.bounded ? Place::kBounded : Place::kArena;
    for (int i = 0; i < record_.output_count; ++i) {
      call_.context.outputs[i].data = nullptr;
      const Status status = session_take_output(session_, node_, i, call_.context, place, error_);
      if (status != Status::kOk) return status;
    }
    return Status::kOk;
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

  /// Most of a state is zero, for it has room for the largest rank: only the other words are kept.
  Status keep_state() {
    constexpr size_t kMostWords = Context::kStateBytes / 8;
    static_assert(kMostWords < 256, "a byte counts them and tells the place of one");
    uint64_t words[kMostWords + 1];
    uint8_t places[kMostWords + 1];
    size_t count = 0;
    for (size_t i = 0; 8 * i < call_.context.state_bytes; ++i) {
      memcpy(&words[count], call_.context.state + 8 * i, 8);
      places[count] = static_cast<uint8_t>(i);
      if (words[count] != 0) ++count;
    }
    record_.state_words = static_cast<uint8_t>(count);
    if (count == 0) return Status::kOk;
    record_.state = static_cast<unsigned char*>(session_.folded.allocate(session_.memory, 9 * count));
    if (record_.state == nullptr) return session_.memory.failure(error_, "node states");
    memcpy(record_.state, words, 8 * count);
    memcpy(record_.state + 8 * count, places, count);
    return Status::kOk;
  }

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
      output.data = session_.folded.allocate(session_.memory, tensor_bytes(output) + 1);
      if (output.data == nullptr) return session_.memory.failure(error_, "shape arithmetic");
      session_.values[output_value(i)].tensor.data = output.data;
      session_.values[output_value(i)].place = Place::kFolded;
    }
    context.scratch = session_.memory.allocate(record_.scratch_bytes, kArenaAlignment);
    if (context.scratch == nullptr) return session_.memory.failure(error_, "shape arithmetic");
    const Status status = record_.kernel->run(context);
    session_.memory.release(context.scratch, record_.scratch_bytes);
    record_.folded = true;
    for (int i = 0; record_.bounded && i < context.output_count; ++i)
      session_.values[output_value(i)].tensor.shape = context.outputs[i].shape;
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
    if (shaped_late(session.values[value].place)) continue;  // checked when its node has run
    const Status status = session_check_declared(session, value, session.values[value].tensor, error);
    if (status != Status::kOk) return status;
  }
  return Status::kOk;
}

}  // namespace

/// A build for one model has no code for other dtypes, so that its kernels would do nothing with them.
static bool dtypes_selected(const Context& context, int output) {
  uint32_t types = uint32_t{1} << static_cast<int>(context.outputs[output].dtype);
  for (int i = 0; i < context.input_count; ++i) types |= uint32_t{1} << static_cast<int>(context.inputs[i].dtype);
  return (types & ~kSelectedTypes) == 0;
}

Status session_take_output(penlight_session& session, size_t node, int index, const Context& context, Place place,
                           penlight_error& error) {
  const Tensor& output = context.outputs[index];
  const NodeRecord& record = session.nodes[node];
  const auto value = static_cast<size_t>(session.node_outputs(record)[index]);
  const char* wrong = nullptr;
  if (output.dtype == DType::kNone) {
    if (!context.output_wanted(index)) return Status::kOk;
    wrong = "has no dtype";
  } else if (output.shape.rank < 0 || output.shape.rank > kMaxRank || !shape_fits(output.shape)) {
    wrong = "is too large for this machine";
  } else if (!dtypes_selected(context, index)) {
    wrong = "or an input has a dtype that this build, made for another model, does without";
  }
  if (wrong != nullptr) {
    MessageWriter(session.kernel_message, sizeof(session.kernel_message)).append("output %d %s", index, wrong);
    return node_failure(session, node, Status::kInvalidProgram, error);
  }
  session.values[value].tensor = output;
  session.values[value].place = place;
  if (!context.output_wanted(index) || place == Place::kBounded) return Status::kOk;
  return session_check_declared(session, value, output, error);
}

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
