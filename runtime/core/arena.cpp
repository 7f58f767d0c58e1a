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
      if (!output(i)) return false;
    }
    return true;
  }

  size_t count() const { return count_; }

 private:
  bool node(uint32_t step) {
    NodeRecord& record = session_.nodes[step];
    for (int i = 0; i < record.input_count; ++i) use(session_.node_inputs(record)[i], step);
    for (int i = 0; i < record.output_count; ++i) {
      ValueRecord& value = session_.values[static_cast<size_t>(session_.node_outputs(record)[i])];
      if (!in_arena(value.place)) continue;
      value.item = static_cast<uint32_t>(count_);
      if (!add(tensor_bytes(value.tensor), step)) return false;
    }
    record.scratch_offset = count_;
    return record.scratch_bytes == 0 || add(record.scratch_bytes, step);
  }

  void use(int32_t index, uint32_t step) {
    if (index < 0) return;
    ValueRecord& value = session_.values[static_cast<size_t>(index)];
    value.last_step = step;
    if (value.item != kNoItem) session_.items[value.item].last = step;
  }

  /// An output lives to the end; one that is an input gets bytes to be copied to.
  bool output(size_t index) {
    const ValueRecord& value = session_.values[session_.outputs[index]];
    use(static_cast<int32_t>(session_.outputs[index]), end_);
    session_.output_slots[index] = count_;
    return value.place != Place::kInput || add(tensor_bytes(value.tensor), end_);
  }

  bool add(size_t size, uint32_t step) {
    if (size > PTRDIFF_MAX - kArenaAlignment) return false;
    size = (size + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    session_.items[count_++] = {size, 0, step, step};
    return true;
  }

  penlight_session& session_;
  const uint32_t end_;
  size_t count_ = 0;
};

/// Puts the planned offsets where the items were noted.
void take_offsets(penlight_session& session) {
  const Row<PlanItem>& items = session.items;
  for (size_t i = 0; i < session.values.count(); ++i) {
    if (in_arena(session.values[i].place)) session.values[i].offset = items[session.values[i].item].offset;
  }
  for (size_t i = 0; i < session.nodes.count(); ++i) {
    NodeRecord& record = session.nodes[i];
    if (!record.folded && record.scratch_bytes > 0) record.scratch_offset = items[record.scratch_offset].offset;
  }
  for (size_t i = 0; i < session.outputs.count(); ++i) {
    if (session.values[session.outputs[i]].place == Place::kInput) session.output_slots[i] = items[session.output_slots[i]].offset;
  }
}

void describe_block(size_t offset, size_t size, size_t first, size_t last, penlight_plan_entry* entry) {
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
  const size_t size = (record.scratch_bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
  describe_block(record.scratch_offset, size, node, node, entry);
}

/// Keeps an arena that is large enough: a smaller batch after a larger one costs no heap call.
Status reserve_arena(penlight_session& session, size_t bytes, penlight_error& error) {
  // One unit more than needed, so that tensors without elements have an address inside.
  const size_t needed = bytes + kArenaAlignment;
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
  size_t total = 0;
  uint32_t* work = session.plan_work.data();
  if (!items.collect() || !plan_arena(session.items.data(), items.count(), work, work + items.count(), &total) ||
      total > PTRDIFF_MAX - kArenaAlignment) {
    return fail(error, Status::kOutOfMemory,
                "the tensors of one run do not fit into this machine's address space; use smaller inputs");
  }
  take_offsets(session);
  session.arena_bytes = total;
  if (!session_is_free_of_overlap(session)) {
    return fail(error, Status::kInvalidProgram, "internal error: the memory plan overlaps, please report this file");
  }
  return reserve_arena(session, total, error);
}

void session_describe_plan(const penlight_session& session, size_t index, penlight_plan_entry* entry) {
  *entry = penlight_plan_entry{};
  if (index >= session.value_count) return describe_scratch(session, index - session.value_count, entry);
  entry->name = session.value(index).get(PenValue::kName);
  const Tensor& tensor = session.values[index].tensor;
  entry->dtype = static_cast<penlight_dtype>(tensor.dtype);
  entry->rank = static_cast<uint32_t>(tensor.shape.rank);
  memcpy(entry->shape, tensor.shape.dims, sizeof(entry->shape));
  if (!in_arena(session.values[index].place) || session.values[index].item == kNoItem) return;  // a failed run leaves places behind
  const PlanItem& item = session.items[session.values[index].item];
  describe_block(item.offset, item.size, item.first, item.last, entry);
}

}  // namespace penlight
