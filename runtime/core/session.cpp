// SPDX-License-Identifier: Apache-2.0
#include "session.h"

#include "core/declared.h"
#include "core/kept.h"

// Here, so that they are there once.
penlight_session::penlight_session() = default;
penlight_session::~penlight_session() = default;

namespace penlight {
namespace {

size_t count_operands(FlatTables nodes, PenNumbers<int32_t> side) {
  size_t total = 0;
  for (size_t i = 0; i < nodes.count(); ++i) total += nodes[i].get(side).count();
  return total;
}

size_t count_omitted_outputs(FlatTables nodes) {
  size_t total = 0;
  for (size_t i = 0; i < nodes.count(); ++i) {
    const FlatVector<int32_t> outputs = nodes[i].get(PenNode::kOutputs);
    for (size_t j = 0; j < outputs.count(); ++j) total += outputs[j] < 0;
  }
  return total;
}

bool copy_indices(Array<uint32_t>& to, Memory& memory, FlatVector<uint32_t> from) {
  if (!to.reset(memory, from.count())) return false;
  for (size_t i = 0; i < from.count(); ++i) to[i] = from[i];
  return true;
}

bool allocate_tables(penlight_session& session, FlatTables nodes, size_t tensors) {
  Memory& memory = session.memory;
  const size_t outputs = count_operands(nodes, PenNode::kOutputs);
  const size_t items = outputs + nodes.count() + session.outputs.count();  // of a plan at most: values, scratch, copies
  return session.nodes.reset(memory, nodes.count()) &&
         session.operands.reset(memory, count_operands(nodes, PenNode::kInputs) + outputs) &&
         session.tensors.reset(memory, tensors) && session.places.reset(memory, tensors) &&
         session.offsets.reset(memory, tensors) && session.item_of_value.reset(memory, tensors) &&
         session.overlap_marks.reset(memory, tensors) && session.last_steps.reset(memory, tensors) &&
         session.items.reserve(memory, items) && session.plan_work.reserve(memory, 2 * items) &&
         session.output_slots.reset(memory, session.outputs.count()) &&
         session.symbols.reset(memory, session.program->root.get(PenProgram::kSymbols).count());
}

/// Copies the nodes' operands; an output that is left out gets a value of its own behind those of the file.
void read_nodes(penlight_session& session) {
  const FlatTables nodes = session.method.get(PenMethod::kNodes);
  const FlatTables operators = session.program->root.get(PenProgram::kOperators);
  size_t next_operand = 0;
  size_t next_omitted = session.value_count;
  for (size_t i = 0; i < nodes.count(); ++i) {
    NodeRecord& record = session.nodes[i];
    const FlatVector<int32_t> inputs = nodes[i].get(PenNode::kInputs);
    const FlatVector<int32_t> outputs = nodes[i].get(PenNode::kOutputs);
    const uint32_t op = nodes[i].get(PenNode::kOperator);
    record.kernel = session.program->kernels[op];
    record.version = static_cast<int>(operators[op].get(PenOperator::kVersion));
    record.first_operand = static_cast<uint32_t>(next_operand);
    record.input_count = static_cast<uint16_t>(inputs.count());
    record.output_count = static_cast<uint16_t>(outputs.count());
    for (size_t j = 0; j < inputs.count(); ++j) session.operands[next_operand++] = inputs[j];
    for (size_t j = 0; j < outputs.count(); ++j) {
      if (outputs[j] >= 0) record.wanted_outputs |= uint64_t{1} << j;
      session.operands[next_operand++] = outputs[j] >= 0 ? outputs[j] : static_cast<int32_t>(next_omitted++);
    }
  }
}

}  // namespace

Status session_read_method(penlight_session& session, penlight_error& error) {
  const FlatTables nodes = session.method.get(PenMethod::kNodes);
  session.value_count = session.method.get(PenMethod::kValues).count();
  const size_t tensors = session.value_count + count_omitted_outputs(nodes);
  const bool enough = copy_indices(session.inputs, session.memory, session.method.get(PenMethod::kInputs)) &&
                      copy_indices(session.outputs, session.memory, session.method.get(PenMethod::kOutputs)) &&
                      allocate_tables(session, nodes, tensors);
  if (!enough) return session.memory.failure(error, "session");
  session.visible_outputs = session.outputs.count();
  read_nodes(session);
  return Status::kOk;
}

namespace {

#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
constexpr bool kRoundsEachStep = false;  // the x87 registers of old processors
#else
constexpr bool kRoundsEachStep = true;
#endif

Status start_threads(penlight_session& session, const penlight_session_options& options, penlight_error& error) {
  if (options.thread_pool != nullptr) {
    session.threads = *options.thread_pool;
    return Status::kOk;
  }
  if (options.threads <= 1) return Status::kOk;
  if (options.threads > kMaxThreads) {
    return fail(error, Status::kInvalidArgument, "threads is %u; expected at most %zu", options.threads, kMaxThreads);
  }
  const Status status = thread_pool_create(session.memory, options.threads, &session.own_threads, error);
  if (status == Status::kOk) session.threads = thread_pool_interface(session.own_threads);
  return status;
}

}  // namespace

Status session_open(penlight_session& session, const penlight_program& program, size_t method,
                    const penlight_session_options& options, penlight_error& error) {
  session.root = &session;
  session.program = &program;
  session.method = program.method(method);
  session.mac_budget = options.mac_budget;
  session.cancel = options.cancel;
  session.profile = options.profile != 0;
  session.deterministic = options.deterministic != 0;
  session.low_memory = options.low_memory != 0;
  if (session.deterministic && !kRoundsEachStep)
    return fail(error, Status::kInvalidArgument, "deterministic: this build keeps more digits than it stores; compile with SSE2");
  Status status = session_read_method(session, error);
  if (status == Status::kOk) status = session_open_kept(session, options.states_of, error);
  if (status == Status::kOk) status = start_threads(session, options, error);
  return status == Status::kOk ? session_open_bodies(session, error) : status;
}

void session_close(penlight_session& session) {
  session_close_bodies(session);
  thread_pool_free(session.memory, session.own_threads);
  for (size_t i = 0; i < session.nodes.count(); ++i) session_release_packed(session, session.nodes[i]);
  session.folded.clear(session.memory);
  session.blocks.clear(session.memory);
  session_close_kept(session);
  session.memory.release(session.arena, session.arena_capacity);
}

}  // namespace penlight
