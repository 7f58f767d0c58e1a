// SPDX-License-Identifier: Apache-2.0
//
// Checks a memory plan without trusting the planner: walks the nodes backwards, keeps the set of live blocks sorted by offset, and
// looks at both neighbours of each block that becomes live. It shares no code and no lifetimes with arena.cpp and planner.cpp.
#include "core/session.h"

namespace penlight {
namespace {

class OverlapWalk {
 public:
  explicit OverlapWalk(penlight_session& session) : session_(session), live_(session.plan_work.data()) {
    for (size_t i = 0; i < session.values.count(); ++i) session.values[i].is_marked = false;
  }

  bool run() {
    for (size_t i = 0; i < session_.outputs.count(); ++i) {
      if (!enter(session_.outputs[i])) return false;
    }
    if (!output_copies()) return false;
    for (size_t step = session_.nodes.count(); step-- > 0;) {
      if (!session_.nodes[step].folded && !node(session_.nodes[step])) return false;
    }
    return true;
  }

 private:
  bool node(const NodeRecord& record) {
    const int32_t* outputs = session_.node_outputs(record);
    for (int i = 0; i < record.output_count; ++i) {
      if (!enter(static_cast<size_t>(outputs[i]))) return false;
    }
    for (int i = 0; i < record.input_count; ++i) {
      const int32_t value = session_.node_inputs(record)[i];
      if (value >= 0 && !enter(static_cast<size_t>(value))) return false;
    }
    if (record.scratch_bytes > 0 && !is_free(record.scratch_offset, record.scratch_bytes)) return false;
    for (int i = 0; i < record.output_count; ++i) leave(static_cast<size_t>(outputs[i]));
    return true;
  }

  /// Outputs that are inputs are copied when all nodes are done: their slots meet the other outputs and each other.
  bool output_copies() const {
    for (size_t i = 0; i < session_.outputs.count(); ++i) {
      if (!is_copy(i)) continue;
      if (!is_free(session_.output_slots[i], bytes(session_.outputs[i]))) return false;
      for (size_t j = 0; j < i; ++j) {
        if (is_copy(j) &&
            meets(session_.output_slots[i], bytes(session_.outputs[i]), session_.output_slots[j], bytes(session_.outputs[j]))) {
          return false;
        }
      }
    }
    return true;
  }

  bool is_copy(size_t output) const { return session_.values[session_.outputs[output]].place == Place::kInput; }

  static bool meets(size_t a, size_t a_size, size_t b, size_t b_size) { return a < b + b_size && b < a + a_size; }

  size_t bytes(size_t value) const { return tensor_bytes(session_.values[value].tensor); }

  /// Number of live blocks that start before `offset`.
  size_t rank(size_t offset) const {
    size_t low = 0;
    size_t high = count_;
    while (low < high) {
      const size_t middle = (low + high) / 2;
      if (session_.values[live_[middle]].offset < offset)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

  bool is_free(size_t offset, size_t size) const {
    if (offset > session_.arena_bytes || size > session_.arena_bytes - offset) return false;
    const size_t at = rank(offset);
    if (at > 0 && session_.values[live_[at - 1]].offset + bytes(live_[at - 1]) > offset) return false;
    return at == count_ || session_.values[live_[at]].offset >= offset + size;
  }

  bool lives_in_arena(size_t value) const { return in_arena(session_.values[value].place) && bytes(value) > 0; }

  bool enter(size_t value) {
    if (!lives_in_arena(value) || session_.values[value].is_marked) return true;
    if (!is_free(session_.values[value].offset, bytes(value))) return false;
    const size_t at = rank(session_.values[value].offset);
    memmove(live_ + at + 1, live_ + at, (count_ - at) * sizeof(*live_));
    live_[at] = static_cast<uint32_t>(value);
    ++count_;
    session_.values[value].is_marked = true;
    return true;
  }

  void leave(size_t value) {
    if (!lives_in_arena(value)) return;
    const size_t at = rank(session_.values[value].offset);
    --count_;
    memmove(live_ + at, live_ + at + 1, (count_ - at) * sizeof(*live_));
  }

  penlight_session& session_;
  uint32_t* live_;  // values, sorted by offset
  size_t count_ = 0;
};

}  // namespace

bool session_is_free_of_overlap(penlight_session& session) { return OverlapWalk(session).run(); }

}  // namespace penlight
