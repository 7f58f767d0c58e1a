// After prepare, run makes no heap call; outputs go straight into the caller's buffers. SPDX-License-Identifier: Apache-2.0
#include "check.h"
#include "exercise.h"
#include "read_file.h"

namespace {

long g_calls = 0;

void* counting_allocate(void*, size_t size, size_t alignment) {
  ++g_calls;
  void* memory = nullptr;
  return posix_memalign(&memory, alignment < 16 ? 16 : alignment, size) == 0 ? memory : nullptr;
}

void counting_release(void*, void* memory, size_t) {
  ++g_calls;
  free(memory);
}

/// What depends on values is not planned: the first run takes memory, the ones after it take no more.
void run_unplanned(penlight_session* session, const penlight_tensor* inputs, size_t count) {
  penlight_error error;
  PENLIGHT_CHECK(penlight_session_run(session, inputs, count, nullptr, 0, &error) == PENLIGHT_OK);
  const long before = g_calls;
  for (int round = 0; round < 3; ++round)
    PENLIGHT_CHECK(penlight_session_run(session, inputs, count, nullptr, 0, &error) == PENLIGHT_OK);
  PENLIGHT_CHECK(g_calls == before);
}

void run_method(const penlight_program* program, size_t method) {
  penlight_session* session = nullptr;
  penlight_error error;
  PENLIGHT_CHECK(penlight_session_create(program, method, nullptr, &session, &error) == PENLIGHT_OK);
  penlight_tensor inputs[kExerciseOperands] = {};
  const size_t count = penlight_program_input_count(program, method);
  PENLIGHT_CHECK(make_inputs(program, method, 4, inputs));
  PENLIGHT_CHECK(penlight_session_prepare(session, inputs, count, &error) == PENLIGHT_OK);
  run_unplanned(session, inputs, count);
  PENLIGHT_CHECK(penlight_session_prepare(session, inputs, count, &error) == PENLIGHT_OK);
  penlight_tensor outputs[kExerciseOperands] = {};
  const size_t results = penlight_program_output_count(program, method);
  for (size_t i = 0; i < results; ++i) {
    PENLIGHT_CHECK(penlight_session_output(session, i, &outputs[i]) == PENLIGHT_OK);
    PENLIGHT_CHECK(outputs[i].data == nullptr);
    outputs[i].data = malloc(outputs[i].size_bytes + 1);
  }
  const long before = g_calls;
  bool sized = true;  // every output's largest size is known
  for (size_t i = 0; i < results; ++i) {
    for (uint32_t j = 0; j < outputs[i].rank; ++j) sized = sized && (outputs[i].size_bytes > 0 || outputs[i].shape[j] >= 0);
  }
  for (int round = 0; sized && round < 3; ++round) {
    PENLIGHT_CHECK(penlight_session_run(session, inputs, count, nullptr, 0, &error) == PENLIGHT_OK);
    PENLIGHT_CHECK(penlight_session_run(session, inputs, count, outputs, results, &error) == PENLIGHT_OK);
  }
  PENLIGHT_CHECK(g_calls == before);
  for (size_t i = 0; i < results; ++i) free(outputs[i].data);
  for (size_t i = 0; i < count; ++i) free(inputs[i].data);
  penlight_session_free(session);
}

}  // namespace

int main(int argc, char** argv) {
  PENLIGHT_CHECK(argc == 2);
  size_t size = 0;
  uint8_t* bytes = read_file(argv[1], &size);
  void* data = nullptr;
  PENLIGHT_CHECK(posix_memalign(&data, 64, size) == 0);
  memcpy(data, bytes, size);
  const penlight_allocator allocator = {counting_allocate, counting_release, nullptr};
  penlight_program_options options = {};
  options.struct_size = sizeof(options);
  options.allocator = &allocator;
  penlight_program* program = nullptr;
  penlight_error error;
  PENLIGHT_CHECK(penlight_program_load(data, size, &options, &program, &error) == PENLIGHT_OK);
  for (size_t i = 0; i < penlight_program_method_count(program); ++i) run_method(program, i);
  penlight_program_free(program);
  free(data);
  free(bytes);
  puts("ok");
  return 0;
}
