// SPDX-License-Identifier: Apache-2.0
#include "core/kept.h"

#include <string.h>

#include "core/declared.h"

namespace penlight {
namespace {

/// Without its data.
Tensor state_tensor(FlatTable state) {
  Tensor tensor;
  tensor.dtype = static_cast<DType>(state.get(PenState::kDtype));
  tensor.shape = plain_shape(state.get(PenState::kShape));
  return tensor;
}

size_t state_bytes(FlatTable state) { return tensor_bytes(state_tensor(state)); }

FlatTable state_of(const penlight_session& session, size_t index) {
  return session.program->state(session.method.get(PenMethod::kStates)[index]);
}

unsigned char*& kept_data(const penlight_session& session, size_t index) {
  return session.keeper->kept[session.method.get(PenMethod::kStates)[index]];
}

void fill_initial(const penlight_program& program, FlatTable state, unsigned char* data) {
  const size_t bytes = state_bytes(state);
  if (bytes == 0) return;
  if (state.declares(PenState::kInitial.slot))
    memcpy(data, program.span_data(state.get(PenState::kInitial)), bytes);
  else
    memset(data, 0, bytes);
}

Status keep(penlight_session& session, size_t index, penlight_error& error) {
  const FlatTable state = state_of(session, index);
  unsigned char*& data = kept_data(session, index);
  if (data != nullptr) return Status::kOk;
  Memory& memory = session.keeper->memory;
  data = static_cast<unsigned char*>(memory.allocate(state_bytes(state), kArenaAlignment));
  if (data == nullptr) return memory.failure(error, "state");
  fill_initial(*session.program, state, data);
  return Status::kOk;
}

/// Replaces the caller's inputs by all of the method's, which has the states behind them.
Status add_states(penlight_session& session, const penlight_tensor** inputs, size_t* count, penlight_error& error) {
  const size_t states = method_state_count(session.method);
  if (states == 0) return Status::kOk;
  if (*count + states != session.inputs.count())
    return fail(error, Status::kInvalidArgument, "expected %zu inputs, got %zu", session.inputs.count() - states, *count);
  for (size_t i = 0; i < *count; ++i) session.arguments[i] = (*inputs)[i];
  for (size_t i = 0; i < states; ++i) session.arguments[(*count)++] = session_kept_tensor(session, i);
  *inputs = session.arguments.data();
  return Status::kOk;
}

/// Takes over what the run has made of the states. All results lie in the session's memory or the file, none in a state.
void commit(penlight_session& session) {
  for (size_t i = 0; i < method_state_count(session.method); ++i) {
    const size_t output = session.visible_outputs + i;
    const uint32_t value = session.outputs[output];
    const bool copied = session.values[value].place == Place::kInput;
    const void* data = copied ? session.arena + session.output_slots[output] : session.values[value].tensor.data;
    const size_t bytes = state_bytes(state_of(session, i));
    if (bytes > 0) memcpy(kept_data(session, i), data, bytes);
  }
}

bool state_fits(FlatTable state, FlatTable value) {
  Shape declared;
  if (value.get(PenValue::kDtype) != state.get(PenState::kDtype) || !declared_constant_shape(value, &declared)) return false;
  const Shape kept = state_tensor(state).shape;
  return kept.rank == declared.rank && memcmp(kept.dims, declared.dims, sizeof(int64_t) * static_cast<size_t>(kept.rank)) == 0;
}

bool state_is_sound(const penlight_program& program, FlatTable state) {
  const Tensor tensor = state_tensor(state);
  if (!tensor.present() || *state.get(PenState::kName) == '\0' || !shape_fits(tensor.shape)) return false;
  if (!state.declares(PenState::kInitial.slot)) return true;
  return span_fits(program, state.get(PenState::kInitial), tensor_bytes(tensor), dtype_size(tensor.dtype));
}

}  // namespace

size_t method_state_count(FlatTable method) { return method.get(PenMethod::kStates).count(); }

Status session_open_kept(penlight_session& session, penlight_error& error) {
  if (session.keeper->program != session.program)
    return fail(error, Status::kInvalidArgument, "states_of is a session of another program; open both from one program");
  const size_t states = method_state_count(session.method);
  session.visible_outputs = session.outputs.count() - states;
  Status status = Status::kOk;
  for (size_t i = 0; status == Status::kOk && i < states; ++i) status = keep(session, i, error);
  return status;
}

void session_close_kept(penlight_session& session) {
  for (size_t i = 0; i < session.kept.count(); ++i) {
    if (session.kept[i] == nullptr) continue;
    session.memory.release(session.kept[i], state_bytes(session.program->state(i)));
  }
}

void session_reset_kept(penlight_session& session) {
  for (size_t i = 0; i < session.keeper->kept.count(); ++i) {
    if (session.keeper->kept[i] != nullptr) fill_initial(*session.program, session.program->state(i), session.keeper->kept[i]);
  }
}

Status session_prepare_kept(penlight_session& session, const penlight_tensor* inputs, size_t count, penlight_error& error) {
  const Status status = add_states(session, &inputs, &count, error);
  return status == Status::kOk ? session_prepare(session, inputs, count, error) : status;
}

Status session_run_kept(penlight_session& session, const penlight_tensor* inputs, size_t input_count, penlight_tensor* outputs,
                        size_t output_count, penlight_error& error) {
  Status status = add_states(session, &inputs, &input_count, error);
  if (status == Status::kOk) status = session_run(session, inputs, input_count, outputs, output_count, error);
  if (status == Status::kOk) commit(session);
  return status;
}

penlight_tensor session_kept_tensor(const penlight_session& session, size_t index) {
  Tensor tensor = state_tensor(state_of(session, index));
  tensor.data = kept_data(session, index);
  return to_argument(tensor);
}

Status verify_states(const penlight_program& program, penlight_error& error) {
  const FlatTables states = program.root.get(PenProgram::kStates);
  for (size_t i = 0; i < states.count(); ++i) {
    const char* name = states[i].get(PenState::kName);
    if (!state_is_sound(program, states[i]))
      return fail(error, Status::kInvalidProgram, "state %zu '%.60s' has no name, dtype or shape, or its bytes do not fill it", i,
                  name);
    for (size_t j = 0; j < i; ++j) {
      if (strcmp(states[j].get(PenState::kName), name) == 0)
        return fail(error, Status::kInvalidProgram, "two states are called '%.60s'", name);
    }
  }
  return Status::kOk;
}

bool method_states_fit(const penlight_program& program, FlatTable method) {
  const FlatVector<uint32_t> states = method.get(PenMethod::kStates);
  const FlatVector<uint32_t> inputs = method.get(PenMethod::kInputs), outputs = method.get(PenMethod::kOutputs);
  const FlatTables values = method.get(PenMethod::kValues);
  if (states.count() > inputs.count() || states.count() > outputs.count()) return false;
  for (size_t i = 0; i < states.count(); ++i) {
    if (states[i] >= program.root.get(PenProgram::kStates).count()) return false;
    for (size_t j = 0; j < i; ++j) {
      if (states[j] == states[i]) return false;
    }
    const FlatTable state = program.state(states[i]);
    const size_t rest = states.count() - i;
    if (!state_fits(state, values[inputs[inputs.count() - rest]]) || !state_fits(state, values[outputs[outputs.count() - rest]]))
      return false;
  }
  return true;
}

}  // namespace penlight
