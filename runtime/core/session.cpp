// SPDX-License-Identifier: Apache-2.0
#include "session.h"

#include "core/declared.h"
#include "core/kept.h"
#include "core/platform.h"

namespace penlight {
namespace {

struct OperandCounts {
  size_t inputs = 0;
  size_t outputs = 0;
  size_t omitted = 0;  // of the outputs
};

OperandCounts count_operands(FlatTables nodes) {
  OperandCounts counts;
  for (size_t i = 0; i < nodes.count(); ++i) {
    const FlatVector<int32_t> outputs = nodes[i].get(PenNode::kOutputs);
    for (size_t j = 0; j < outputs.count(); ++j) counts.omitted += outputs[j] < 0;
    counts.inputs += nodes[i].get(PenNode::kInputs).count();
    counts.outputs += outputs.count();
  }
  return counts;
}

/// Gives rows their places one behind the other. No sum overflows: the file has bytes for each operand, and few of the rest.
class RowPlacer {
 public:
  explicit RowPlacer(unsigned char* start) : start_(start) {}

  template <typename T>
  void place(Row<T>& row, size_t count) {
    place_bytes(row, count, sizeof(T));
  }
  size_t used() const { return used_; }

 private:
  PENLIGHT_ONCE void place_bytes(RowBytes& row, size_t count, size_t element_size) {
    row.set(start_ == nullptr ? nullptr : start_ + used_, count);
    used_ += (count * element_size + 7) / 8 * 8;
  }

  unsigned char* start_;
  size_t used_ = 0;
};

/// Places all rows from `start` on and returns how many bytes they take. Those in front of the operands start as zeros; the others
/// are written before they are read: pages that nothing writes to take no memory.
size_t place_rows(penlight_session& session, const OperandCounts& operands, unsigned char* start) {
  const FlatTable method = session.method;
  const FlatTable file = session.program->root;
  const size_t nodes = method.get(PenMethod::kNodes).count();
  const size_t inputs = method.get(PenMethod::kInputs).count();
  const size_t outputs = method.get(PenMethod::kOutputs).count();
  const size_t items = operands.outputs + nodes + outputs;  // of a plan at most: values, scratch, copies
  RowPlacer rows(start);
  rows.place(session.nodes, nodes);
  rows.place(session.bodies, session.is_body() ? 0 : file.get(PenProgram::kBodies).count());
  rows.place(session.kept, session.keeper == &session ? file.get(PenProgram::kStates).count() : 0);
  rows.place(session.values, session.value_count + operands.omitted);
  rows.place(session.operands, operands.inputs + operands.outputs);
  rows.place(session.inputs, inputs);
  rows.place(session.outputs, outputs);
  rows.place(session.arguments, session.is_body() || method_state_count(method) > 0 ? inputs : 0);
  rows.place(session.symbols, file.get(PenProgram::kSymbols).count());
  rows.place(session.output_slots, outputs);
  rows.place(session.items, items);
  rows.place(session.plan_work, 2 * items);
  return rows.used();
}

void copy_indices(Row<uint32_t>& to, FlatVector<uint32_t> from) {
  for (size_t i = 0; i < to.count(); ++i) to[i] = from[i];
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

penlight_session* session_allocate(Memory& memory) {
  void* place = memory.allocate(sizeof(penlight_session), alignof(penlight_session));
  return place == nullptr ? nullptr : new (InPlace{place}) penlight_session();
}

Status session_read_method(penlight_session& session, penlight_error& error) {
  session.value_count = session.method.get(PenMethod::kValues).count();
  const OperandCounts operands = count_operands(session.method.get(PenMethod::kNodes));
  session.tables_bytes = place_rows(session, operands, nullptr);
  session.tables = static_cast<unsigned char*>(session.memory.allocate(session.tables_bytes));
  if (session.tables == nullptr) {
    session.nodes.set(nullptr, 0);  // closing looks at these
    session.bodies.set(nullptr, 0);
    session.kept.set(nullptr, 0);
    return session.memory.failure(error, "session");
  }
  place_rows(session, operands, session.tables);
  memset(session.tables, 0, static_cast<size_t>(reinterpret_cast<unsigned char*>(session.operands.data()) - session.tables));
  copy_indices(session.inputs, session.method.get(PenMethod::kInputs));
  copy_indices(session.outputs, session.method.get(PenMethod::kOutputs));
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
  session.keeper = options.states_of == nullptr ? &session : options.states_of->keeper;
  Status status = session_read_method(session, error);
  if (status == Status::kOk) status = session_open_kept(session, error);
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
  session.memory.release(session.tables, session.tables_bytes);
}

}  // namespace penlight
