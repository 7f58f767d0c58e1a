// Constants that a node's kernel keeps in another order. SPDX-License-Identifier: Apache-2.0
#include "core/session.h"

namespace penlight {

/// None under a budget: the memory it grants is for what a run cannot do without.
uint64_t session_constant_inputs(const penlight_session& session, const NodeRecord& record) {
  const penlight_session& root = *session.root;
  uint64_t inputs = 0;
  if (root.low_memory || root.memory.budget() != 0) return inputs;
  for (int i = 0; i < record.input_count; ++i) {
    const int32_t value = session.node_inputs(record)[i];
    if (value >= 0 && session.values[static_cast<size_t>(value)].place == Place::kConstant) inputs |= uint64_t{1} << i;
  }
  return inputs;
}

void session_release_packed(penlight_session& session, NodeRecord& record) {
  session.memory.release(record.packed, record.packed_bytes);
  record.packed = nullptr;
  record.packed_bytes = 0;
}

bool session_pack(penlight_session& session, NodeRecord& record, Context& context) {
  const bool kept = record.packed != nullptr && record.pack == context.pack && record.packed_bytes == context.packed_bytes;
  if (kept) return true;  // for other shapes of the inputs, but constants are what they were
  session_release_packed(session, record);
  if (context.packed_bytes == 0) return true;
  record.packed = static_cast<unsigned char*>(session.memory.allocate(context.packed_bytes, kArenaAlignment));
  if (record.packed == nullptr) return false;
  record.packed_bytes = context.packed_bytes;
  record.pack = context.pack;
  record.pack(context, record.packed);
  return true;
}

}  // namespace penlight
