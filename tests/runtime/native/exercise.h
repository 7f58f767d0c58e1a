// Loads bytes as a program and runs all its methods, whatever the bytes are. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/crc32c.h"
#include "penlight.h"

/// Limits that no hostile file may get around.
constexpr uint64_t kExerciseMemory = 16u << 20;
constexpr uint64_t kExerciseMacs = 5u << 18;
constexpr size_t kExerciseOperands = 16;
constexpr int kHostilePatterns[] = {0x3e, 0xff, 0x7f};

/// Inputs of concrete sizes: a varying one gets `size`, data are zero. False when they would be too large.
inline bool make_inputs(const penlight_program* program, size_t method, int64_t size, penlight_tensor* inputs) {
  for (size_t i = 0; i < penlight_program_input_count(program, method); ++i) {
    penlight_tensor_info info;
    penlight_program_input_info(program, method, i, &info);
    uint64_t bytes = penlight_dtype_size(info.dtype);
    inputs[i] = {};
    inputs[i].dtype = info.dtype;
    inputs[i].rank = info.rank;
    for (uint32_t j = 0; j < info.rank; ++j) {
      inputs[i].shape[j] = info.shape[j] < 0 ? size : info.shape[j];
      if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(inputs[i].shape[j]), &bytes) || bytes > (1u << 20)) return false;
    }
    inputs[i].size_bytes = static_cast<size_t>(bytes);
    inputs[i].data = malloc(bytes == 0 ? 1 : static_cast<size_t>(bytes));
    memset(inputs[i].data, 0, static_cast<size_t>(bytes));
  }
  return true;
}

/// Reads every byte of the outputs, so that a sanitizer sees one that was never written or lies elsewhere.
inline unsigned read_outputs(const penlight_session* session, size_t count) {
  unsigned sum = 0;
  penlight_tensor output;
  for (size_t i = 0; i < count && penlight_session_output(session, i, &output) == PENLIGHT_OK; ++i) {
    for (size_t j = 0; output.data != nullptr && j < output.size_bytes; ++j) sum += static_cast<unsigned char*>(output.data)[j];
  }
  return sum;
}

/// Any bytes may come in: indices out of range, truth values that are neither 0 nor 1, NaN. Errors are fine.
inline void run_on_hostile_data(penlight_session* session, penlight_tensor* inputs, size_t count, size_t outputs) {
  for (const int pattern : kHostilePatterns) {
    for (size_t i = 0; i < count; ++i) memset(inputs[i].data, pattern, inputs[i].size_bytes);
    if (penlight_session_run(session, inputs, count, nullptr, 0, nullptr) == PENLIGHT_OK) read_outputs(session, outputs);
  }
}

/// Reads the states and writes them, as a caller may between runs.
inline unsigned use_states(penlight_session* session) {
  unsigned sum = 0;
  penlight_tensor state;
  const char* name = nullptr;
  for (size_t i = 0; penlight_session_state(session, i, &name, &state) == PENLIGHT_OK; ++i) {
    for (size_t j = 0; j < state.size_bytes; ++j) sum += static_cast<unsigned char*>(state.data)[j]++;
    sum += static_cast<unsigned>(strlen(name));
  }
  return sum;
}

/// A second session on the states of the first.
inline void run_on_states_of(penlight_session* keeper, const penlight_program* program, size_t method, penlight_tensor* inputs,
                             size_t count, uint64_t macs) {
  penlight_session_options options = {};
  options.struct_size = sizeof(options);
  options.mac_budget = macs;
  options.states_of = keeper;
  penlight_session* session = nullptr;
  if (penlight_session_create(program, method, &options, &session, nullptr) != PENLIGHT_OK) return;
  penlight_session_run(session, inputs, count, nullptr, 0, nullptr);
  penlight_session_free(session);
}

inline penlight_status exercise_method(const penlight_program* program, size_t method, uint64_t macs, penlight_error* error) {
  if (penlight_program_input_count(program, method) > kExerciseOperands) return PENLIGHT_OK;
  penlight_session_options options = {};
  options.struct_size = sizeof(options);
  options.mac_budget = macs;
  penlight_session* session = nullptr;
  penlight_status status = penlight_session_create(program, method, &options, &session, error);
  for (int64_t size = 1; status == PENLIGHT_OK && size <= 3; size += 2) {
    penlight_tensor inputs[kExerciseOperands] = {};
    const size_t count = penlight_program_input_count(program, method);
    if (make_inputs(program, method, size, inputs)) {
      status = penlight_session_run(session, inputs, count, nullptr, 0, error);
      if (status == PENLIGHT_OK) read_outputs(session, penlight_program_output_count(program, method));
      if (use_states(session) > 0) run_on_states_of(session, program, method, inputs, count, macs);
      run_on_hostile_data(session, inputs, count, penlight_program_output_count(program, method));
      penlight_session_reset(session);
    }
    for (size_t i = 0; i < count; ++i) free(inputs[i].data);
  }
  penlight_session_free(session);
  return status;
}

/// Returns the first failure; PENLIGHT_OK when everything ran. The bytes are copied to memory of just their size. With an
/// allocator, which has limits of its own, there is no memory budget: under one, sessions pack no constants. `macs` bound each run.
inline penlight_status exercise(const uint8_t* data, size_t size, uint32_t check_segments, const penlight_allocator* allocator,
                                penlight_error* error, uint64_t macs = kExerciseMacs) {
  void* copy = nullptr;
  if (posix_memalign(&copy, 64, size == 0 ? 1 : size) != 0) abort();
  if (size > 0) memcpy(copy, data, size);
  penlight_program_options options = {};
  options.struct_size = sizeof(options);
  options.allocator = allocator;
  options.memory_budget_bytes = allocator == nullptr ? kExerciseMemory : 0;
  options.check_segments = check_segments;
  options.mac_budget = macs;
  penlight_program* program = nullptr;
  penlight_status status = penlight_program_load(copy, size, &options, &program, error);
  if (status == PENLIGHT_OK) {
    for (size_t i = 0; status == PENLIGHT_OK && i < penlight_program_method_count(program); ++i) {
      status = exercise_method(program, i, macs, error);
    }
    penlight_error ignored;
    penlight_program_self_test(program, &ignored);
  }
  penlight_program_free(program);
  free(copy);
  return status;
}

/// Makes the header's file size and checksum right, so that a mutated file gets past them and reaches the verifier.
inline void repair_header(uint8_t* data, size_t size) {
  if (size < 72) return;
  const uint64_t file_size = size;
  memcpy(data + 32, &file_size, 8);
  uint64_t metadata = 0;
  memcpy(&metadata, data + 16, 8);
  if (metadata > size || metadata < 72) return;
  memset(data + 56, 0, 4);
  const uint32_t crc = penlight::crc32c(0, data, static_cast<size_t>(metadata));
  memcpy(data + 56, &crc, 4);
}
