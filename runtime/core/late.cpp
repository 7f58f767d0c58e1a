// Nodes whose shapes depend on values: inferred and run one by one, in blocks of memory. SPDX-License-Identifier: Apache-2.0
#include "core/session.h"

namespace penlight {
namespace {

/// One node whose turn has come; all its inputs have data.
class LateNode {
 public:
  LateNode(penlight_session& session, size_t node, penlight_error& error)
      : session_(session), node_(node), record_(session.nodes[node]), error_(error), call_(session, node, false) {}

  Status run() {
    Context& context = call_.context;
    Status status = record_.kernel->infer(context);
    for (int i = 0; i < record_.output_count; ++i) context.outputs[i].data = nullptr;
    if (status != Status::kOk) return node_failure(session_, node_, status, error_);
    record_.macs = context.macs;
    status = session_spend(session_, context.macs, error_);
    if (status == Status::kOk && !context.shaped_by_run) status = allocate_outputs();
    if (status == Status::kOk) status = allocate_scratch();
    if (status == Status::kOk) status = run_kernel();
    session_.root->blocks.release(context.scratch);
    return status == Status::kOk ? keep_outputs() : drop_outputs(status);
  }

 private:
  Status allocate_outputs() {
    for (int i = 0; i < record_.output_count; ++i) {
      Tensor& output = call_.context.outputs[i];
      const Status status = session_take_output(session_, node_, i, call_.context, place(), error_);
      if (status != Status::kOk) return status;
      if (!output.present()) continue;
      output.data = session_.root->blocks.allocate(session_.memory, tensor_bytes(output.dtype, output.shape));
      if (output.data == nullptr) return session_.memory.failure(error_, "values sized by data");
    }
    return Status::kOk;
  }

  /// kBounded here only says that the shape is not the last word, so that it is not compared with the file's yet.
  Place place() const { return call_.context.sized_by_data ? Place::kBounded : Place::kBlock; }

  Status allocate_scratch() {
    call_.context.scratch = session_.root->blocks.allocate(session_.memory, call_.context.scratch_bytes);
    return call_.context.scratch != nullptr ? Status::kOk : session_.memory.failure(error_, "scratch memory");
  }

  Status run_kernel() {
    const Status status = record_.kernel->run(call_.context);
    return status == Status::kOk ? status : node_failure(session_, node_, status, error_);
  }

  Status keep_outputs() {
    Status status = Status::kOk;
    for (int i = 0; status == Status::kOk && i < record_.output_count; ++i) {
      status = session_take_output(session_, node_, i, call_.context, Place::kBlock, error_);
    }
    return status == Status::kOk ? status : drop_outputs(status);
  }

  Status drop_outputs(Status status) {
    for (int i = 0; i < record_.output_count; ++i) {
      const auto value = static_cast<size_t>(session_.node_outputs(record_)[i]);
      session_.root->blocks.release(call_.context.outputs[i].data);
      session_.values[value].tensor = Tensor();
      session_.values[value].place = Place::kBlock;
    }
    return status;
  }

  penlight_session& session_;
  const size_t node_;
  NodeRecord& record_;
  penlight_error& error_;
  NodeCall call_;
};

void release_value(penlight_session& session, size_t value) {
  if (session.values[value].place != Place::kBlock) return;
  session.root->blocks.release(session.values[value].tensor.data);
  session.values[value].tensor = Tensor();
}

}  // namespace

Status session_run_late(penlight_session& session, size_t node, penlight_error& error) {
  return LateNode(session, node, error).run();
}

void session_release_after(penlight_session& session, size_t step) {
  const NodeRecord& record = session.nodes[step];
  const int32_t* operands = session.node_inputs(record);
  for (size_t i = 0; i < size_t{record.input_count} + record.output_count; ++i) {
    if (operands[i] < 0) continue;
    const auto value = static_cast<size_t>(operands[i]);
    if (session.values[value].last_step <= step) release_value(session, value);
  }
}

void session_release_blocks(penlight_session& session) {
  for (size_t i = 0; i < session.values.count(); ++i) release_value(session, i);
}

Status session_spend(penlight_session& session, uint64_t macs, penlight_error& error) {
  penlight_session& root = *session.root;
  if (__builtin_add_overflow(root.spent, macs, &root.spent)) root.spent = UINT64_MAX;
  if (root.mac_budget == 0 || root.spent <= root.mac_budget) return Status::kOk;
  return fail(error, Status::kBudgetExceeded, "this run takes more than the budget of %llu multiply-accumulates; raise it",
              static_cast<unsigned long long>(root.mac_budget));
}

}  // namespace penlight
