// SPDX-License-Identifier: Apache-2.0
#include "core/declared.h"
#include "core/platform.h"
#include "core/session.h"

#if PENLIGHT_CLOCK
#include <time.h>
#endif

namespace penlight {
namespace {

uint64_t clock_nanoseconds() {
#if PENLIGHT_CLOCK
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
#else
  return 0;
#endif
}

bool is_aligned(const void* data, DType dtype) { return reinterpret_cast<uintptr_t>(data) % dtype_size(dtype) == 0; }

Status check_buffer(const char* kind, size_t index, const char* name, const penlight_tensor& given, const Tensor& needed,
                    penlight_error& error) {
  const size_t bytes = tensor_bytes(needed);
  if (given.size_bytes < bytes || (given.data == nullptr && bytes > 0)) {
    return fail(error, Status::kInvalidArgument, "%s %zu '%.60s': needs a buffer of %zu bytes, got %zu", kind, index, name, bytes,
                given.data == nullptr ? size_t{0} : given.size_bytes);
  }
  if (!is_aligned(given.data, needed.dtype)) {
    return fail(error, Status::kInvalidArgument, "%s %zu '%.60s': its data must be aligned to %zu bytes", kind, index, name,
                dtype_size(needed.dtype));
  }
  return Status::kOk;
}

Status check_inputs(const penlight_session& session, const penlight_tensor* inputs, penlight_error& error) {
  for (size_t i = 0; i < session.inputs.count(); ++i) {
    const FlatTable value = session.value(session.inputs[i]);
    const DType dtype = session.values[session.inputs[i]].tensor.dtype;
    const char* name = value.get(PenValue::kName);
    if (static_cast<uint32_t>(inputs[i].dtype) != static_cast<uint32_t>(dtype)) {
      return fail(error, Status::kShapeMismatch, "input '%.60s': expected %s, got %s; convert it first", name, dtype_name(dtype),
                  dtype_name(static_cast<DType>(inputs[i].dtype)));
    }
    const Status status = check_buffer("input", i, name, inputs[i], session.values[session.inputs[i]].tensor, error);
    if (status != Status::kOk) return status;
  }
  return Status::kOk;
}

bool buffers_meet(const penlight_tensor& a, size_t a_bytes, const penlight_tensor& b, size_t b_bytes) {
  const auto a_start = reinterpret_cast<uintptr_t>(a.data);
  const auto b_start = reinterpret_cast<uintptr_t>(b.data);
  return a_bytes > 0 && b_bytes > 0 && a_start < b_start + b_bytes && b_start < a_start + a_bytes;
}

/// What a run may write of the caller's buffer: all of it, when only the run tells the size.
size_t written_bytes(const penlight_session& session, const penlight_tensor* outputs, size_t i) {
  const size_t value = session.outputs[i];
  return shaped_late(session.values[value].place) ? outputs[i].size_bytes : tensor_bytes(session.values[value].tensor);
}

/// Nodes write outputs while inputs are still read, so no buffer may overlap another.
bool outputs_are_alone(const penlight_session& session, const penlight_tensor* inputs, const penlight_tensor* outputs) {
  for (size_t i = 0; i < session.visible_outputs; ++i) {
    const size_t bytes = written_bytes(session, outputs, i);
    for (size_t j = 0; j < session.inputs.count(); ++j) {
      if (buffers_meet(outputs[i], bytes, inputs[j], tensor_bytes(session.values[session.inputs[j]].tensor))) return false;
    }
    for (size_t j = 0; j < i; ++j) {
      if (buffers_meet(outputs[i], bytes, outputs[j], written_bytes(session, outputs, j))) return false;
    }
  }
  return true;
}

Status check_outputs_given(const penlight_session& session, const penlight_tensor* inputs, const penlight_tensor* outputs,
                           penlight_error& error) {
  for (size_t i = 0; i < session.visible_outputs; ++i) {
    const size_t value = session.outputs[i];
    if (shaped_late(session.values[value].place)) continue;
    const char* name = session.value(value).get(PenValue::kName);
    const Status status = check_buffer("output", i, name, outputs[i], session.values[value].tensor, error);
    if (status != Status::kOk) return status;
  }
  if (outputs_are_alone(session, inputs, outputs)) return Status::kOk;
  return fail(error, Status::kInvalidArgument, "an output buffer overlaps another buffer; give each output memory of its own");
}

/// Points every tensor to its bytes for this run.
void place_tensors(penlight_session& session, const penlight_tensor* inputs, const penlight_tensor* outputs) {
  for (size_t i = 0; i < session.values.count(); ++i) {
    if (in_arena(session.values[i].place)) session.values[i].tensor.data = session.arena + session.values[i].offset;
  }
  for (size_t i = 0; i < session.inputs.count(); ++i) {
    session.values[session.inputs[i]].tensor.data = inputs[i].data != nullptr ? inputs[i].data : session.arena;
  }
  if (outputs == nullptr) return;
  for (size_t i = 0; i < session.visible_outputs; ++i) {
    const bool written_by_node = session.values[session.outputs[i]].place == Place::kArena && outputs[i].data != nullptr;
    if (written_by_node) session.values[session.outputs[i]].tensor.data = outputs[i].data;
  }
}

Status run_node(penlight_session& session, size_t index, penlight_error& error) {
  NodeRecord& record = session.nodes[index];
  NodeCall call(session, index, true);
  const unsigned char* places = record.state + size_t{8} * record.state_words;
  for (size_t i = 0; i < record.state_words; ++i) memcpy(call.context.state + size_t{8} * places[i], record.state + 8 * i, 8);
  call.context.scratch_bytes = record.scratch_bytes;
  call.context.packed_bytes = record.packed_bytes;
  call.context.packed = record.packed;
  call.context.scratch = session.arena + record.scratch_offset;
  const Status status = record.kernel->run(call.context);
  for (size_t i = 0; record.bounded && status == Status::kOk && i < record.output_count; ++i) {
    const auto value = static_cast<size_t>(session.node_outputs(record)[i]);
    session.values[value].tensor.shape = call.context.outputs[i].shape;
  }
  return status == Status::kOk ? status : node_failure(session, index, status, error);
}

Status run_nodes(penlight_session& session, penlight_error& error) {
  for (size_t i = 0; i < session.nodes.count(); ++i) {
    if (session.cancel != nullptr && *session.cancel != 0) return fail(error, Status::kCancelled, "cancelled before node %zu", i);
    NodeRecord& record = session.nodes[i];
    if (record.folded) continue;
    const bool late = record.late;
    const uint64_t start = session.profile ? clock_nanoseconds() : 0;
    const Status status = late ? session_run_late(session, i, error) : run_node(session, i, error);
    if (session.profile) record.nanoseconds = clock_nanoseconds() - start;
    if (status != Status::kOk) return status;
    if (late) session_release_after(session, i);
  }
  return Status::kOk;
}

/// Sizes that the run has found, against the file and the caller's buffers.
Status check_late_outputs(const penlight_session& session, const penlight_tensor* outputs, penlight_error& error) {
  for (size_t i = 0; i < session.outputs.count(); ++i) {
    const size_t value = session.outputs[i];
    if (!shaped_late(session.values[value].place)) continue;
    Status status = session_check_declared(session, value, session.values[value].tensor, error);
    const char* name = session.value(value).get(PenValue::kName);
    if (status == Status::kOk && outputs != nullptr && i < session.visible_outputs)
      status = check_buffer("output", i, name, outputs[i], session.values[value].tensor, error);
    if (status != Status::kOk) return status;
  }
  return Status::kOk;
}

/// Outputs that no node of this run writes: constants and folded ones when the caller gives buffers, and inputs always. The caller
/// gives no buffers for states.
void copy_outputs(penlight_session& session, const penlight_tensor* outputs) {
  for (size_t i = 0; i < session.outputs.count(); ++i) {
    const Tensor& tensor = session.values[session.outputs[i]].tensor;
    const Place place = session.values[session.outputs[i]].place;
    const bool given = outputs != nullptr && i < session.visible_outputs;
    if (place == Place::kArena || (!given && place != Place::kInput)) continue;  // it lies where it is looked for
    void* to = given ? outputs[i].data : session.arena + session.output_slots[i];
    if (tensor_bytes(tensor) > 0) memcpy(to, tensor.data, tensor_bytes(tensor));
  }
}

/// Sizes that the file does not fix are -1. The bytes are those of the upper bound, 0 when there is none.
void describe_late(const penlight_session& session, size_t value, penlight_tensor* to) {
  const FlatTable declared = session.value(value);
  *to = penlight_tensor{};
  Tensor known;
  known.dtype = static_cast<DType>(declared.get(PenValue::kDtype));
  const bool constant = declared_shape(declared, &known.shape) && declared.declares(PenValue::kShape.slot);
  describe_tensor(known, to);
  if (session.values[value].place == Place::kBounded)
    to->size_bytes = tensor_bytes(session.values[value].tensor);
  else if (constant && shape_fits(known.shape))
    to->size_bytes = tensor_bytes(known);
}

/// A run starts with what its planned nodes take; a run of a body adds to that of the root.
Status start_budget(penlight_session& session, penlight_error& error) {
  if (!session.is_body()) session.spent = 0;
  uint64_t work = session.macs;
  if (session.is_body() && __builtin_add_overflow(work, session.body_cost(), &work)) work = UINT64_MAX;
  return session_spend(session, work, error);
}

}  // namespace

void describe_tensor(const Tensor& tensor, penlight_tensor* to) {
  to->dtype = static_cast<penlight_dtype>(tensor.dtype);
  to->rank = static_cast<uint32_t>(tensor.shape.rank);
  memcpy(to->shape, tensor.shape.dims, sizeof(to->shape));
}

penlight_tensor to_argument(const Tensor& tensor) {
  penlight_tensor result = {};
  describe_tensor(tensor, &result);
  result.data = tensor.data;
  result.size_bytes = tensor_bytes(tensor);
  return result;
}

Status session_run(penlight_session& session, const penlight_tensor* inputs, size_t input_count, penlight_tensor* outputs,
                   size_t output_count, penlight_error& error) {
  Status status = Status::kOk;
  if (!session_shapes_match(session, inputs, input_count)) status = session_prepare(session, inputs, input_count, error);
  if (status == Status::kOk) status = check_inputs(session, inputs, error);
  if (status != Status::kOk) return status;
  if (outputs != nullptr && output_count != session.visible_outputs) {
    return fail(error, Status::kInvalidArgument, "expected %zu outputs, got %zu", session.visible_outputs, output_count);
  }
  if (outputs != nullptr) status = check_outputs_given(session, inputs, outputs, error);
  if (status != Status::kOk) return status;
  place_tensors(session, inputs, outputs);
  session.outputs_in_arena = session.has_run = false;
  if (session.has_late) session_release_blocks(session);
  status = start_budget(session, error);
  if (status == Status::kOk) status = run_nodes(session, error);
  if (status == Status::kOk && session.has_late) status = check_late_outputs(session, outputs, error);
  if (status != Status::kOk) return status;
  session.has_run = true;
  copy_outputs(session, outputs);
  session.outputs_in_arena = outputs == nullptr;
  if (session.deterministic) session_settle_nans(session, outputs);
  for (size_t i = 0; outputs != nullptr && i < session.visible_outputs; ++i)
    describe_tensor(session.values[session.outputs[i]].tensor, &outputs[i]);
  return Status::kOk;
}

void session_describe_output(const penlight_session& session, size_t index, penlight_tensor* tensor) {
  const ValueRecord& value = session.values[session.outputs[index]];
  if (shaped_late(value.place) && !session.has_run) return describe_late(session, session.outputs[index], tensor);
  *tensor = to_argument(value.tensor);
  if (value.place == Place::kInput) tensor->data = session.arena + session.output_slots[index];
  if (!session.outputs_in_arena) tensor->data = nullptr;
}

}  // namespace penlight
