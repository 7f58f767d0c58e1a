// SPDX-License-Identifier: Apache-2.0
#include "core/session.h"

namespace penlight {
namespace {

/// Collects what must lie in the arena, with the steps at which it lives. Node i is step i, the end of a run is one step more.
class ArenaItems {
 public:
  explicit ArenaItems(penlight_session& session) : session_(session), end_(static_cast<uint32_t>(session.nodes.count())) {}

  bool collect() {
    for (uint32_t step = 0; step < end_; ++step) {
      if (!session_.nodes[step].folded && !node(step)) return false;
    }
    for (size_t i = 0; i < session_.outputs.count(); ++i) {
      if (!output(session_.outputs[i])) return false;
    }
    return true;
  }

  size_t count() const { return count_; }

 private:
  bool node(uint32_t step) {
    const NodeRecord& record = session_.nodes[step];
    for (int i = 0; i < record.input_count; ++i) use(session_.node_inputs(record)[i], step);
    for (int i = 0; i < record.output_count; ++i) {
      const auto value = static_cast<size_t>(session_.node_outputs(record)[i]);
      if (!in_arena(session_.places[value])) continue;
      session_.item_of_value[value] = static_cast<uint32_t>(count_);
      const Tensor& tensor = session_.tensors[value];
      if (!add(tensor_bytes(tensor.dtype, tensor.shape), step)) return false;
    }
    return record.scratch_bytes == 0 || add(record.scratch_bytes, step);
  }

  void use(int32_t value, uint32_t step) {
    if (value < 0) return;
    session_.last_steps[static_cast<size_t>(value)] = step;
    const uint32_t item = session_.item_of_value[static_cast<size_t>(value)];
    if (item != kNoItem) session_.items[item].last = step;
  }

  /// An output lives to the end; one that is an input gets bytes to be copied to.
  bool output(size_t value) {
    use(static_cast<int32_t>(value), end_);
    const Tensor& tensor = session_.tensors[value];
    return session_.places[value] != Place::kInput || add(tensor_bytes(tensor.dtype, tensor.shape), end_);
  }

  bool add(uint64_t size, uint32_t step) {
    if (size > PTRDIFF_MAX - kArenaAlignment) return false;
    size = (size + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    session_.items[count_++] = {size, 0, step, step};
    return true;
  }

  penlight_session& session_;
  const uint32_t end_;
  size_t count_ = 0;
};

/// Hands the planned offsets back, in the order in which the items were collected.
void take_offsets(penlight_session& session) {
  size_t next = 0;
  for (size_t step = 0; step < session.nodes.count(); ++step) {
    NodeRecord& record = session.nodes[step];
    if (record.folded) continue;
    for (int i = 0; i < record.output_count; ++i) {
      const auto value = static_cast<size_t>(session.node_outputs(record)[i]);
      if (in_arena(session.places[value])) session.offsets[value] = session.items[next++].offset;
    }
    if (record.scratch_bytes > 0) record.scratch_offset = static_cast<size_t>(session.items[next++].offset);
  }
  for (size_t i = 0; i < session.outputs.count(); ++i) {
    if (session.places[session.outputs[i]] == Place::kInput) session.output_slots[i] = session.items[next++].offset;
  }
}

void describe_block(uint64_t offset, uint64_t size, size_t first, size_t last, penlight_plan_entry* entry) {
  entry->in_arena = 1;
  entry->offset = offset;
  entry->size_bytes = size;
  entry->first_node = first;
  entry->last_node = last;
}

void describe_scratch(const penlight_session& session, size_t node, penlight_plan_entry* entry) {
  const NodeRecord& record = session.nodes[node];
  entry->name = session.node(node).get(PenNode::kName);
  if (record.folded || record.late || record.scratch_bytes == 0) return;
  const uint64_t size = (record.scratch_bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
  describe_block(record.scratch_offset, size, node, node, entry);
}

/// Keeps an arena that is large enough: a smaller batch after a larger one costs no heap call.
Status reserve_arena(penlight_session& session, uint64_t bytes, penlight_error& error) {
  // One unit more than needed, so that tensors without elements have an address inside.
  const auto needed = static_cast<size_t>(bytes + kArenaAlignment);
  if (needed <= session.arena_capacity) return Status::kOk;
  session.memory.release(session.arena, session.arena_capacity);
  session.arena_capacity = 0;
  session.arena = static_cast<unsigned char*>(session.memory.allocate(needed, kArenaAlignment));
  if (session.arena == nullptr) return session.memory.failure(error, "arena");
  session.arena_capacity = needed;
  return Status::kOk;
}

}  // namespace

Status session_plan(penlight_session& session, penlight_error& error) {
  ArenaItems items(session);
  uint64_t total = 0;
  uint32_t* work = session.plan_work.data();
  if (!items.collect() || !plan_arena(session.items.data(), items.count(), work, work + items.count(), &total) ||
      total > PTRDIFF_MAX - kArenaAlignment) {
    return fail(error, Status::kOutOfMemory,
                "the tensors of one run do not fit into this machine's address space; use smaller inputs");
  }
  take_offsets(session);
  session.arena_bytes = total;
  if (!session_is_free_of_overlap(session)) {
    return fail(error, Status::kInvalidProgram, "internal error: the memory plan overlaps; please report this file");
  }
  return reserve_arena(session, total, error);
}

void session_describe_plan(const penlight_session& session, size_t index, penlight_plan_entry* entry) {
  *entry = penlight_plan_entry{};
  if (index >= session.value_count) return describe_scratch(session, index - session.value_count, entry);
  entry->name = session.value(index).get(PenValue::kName);
  const Tensor& tensor = session.tensors[index];
  entry->dtype = static_cast<penlight_dtype>(tensor.dtype);
  entry->rank = static_cast<uint32_t>(tensor.shape.rank);
  memcpy(entry->shape, tensor.shape.dims, sizeof(entry->shape));
  if (!in_arena(session.places[index]) || session.item_of_value[index] == kNoItem) return;  // a failed run leaves places behind
  const PlanItem& item = session.items[session.item_of_value[index]];
  describe_block(item.offset, item.size, item.first, item.last, entry);
}

}  // namespace penlight
