// libFuzzer target: sound programs on hostile inputs: any ranks, shapes, dtypes, sizes and bytes. The programs come from the bundle
// that PENLIGHT_FUZZ_BUNDLE names. SPDX-License-Identifier: Apache-2.0
#include "exercise.h"
#include "fuzz_bundle.h"
#include "fuzz_clock.h"

namespace {

/// Mostly what the method declares, with a size of choice where it leaves one open.
void choose_input(FuzzBytes& bytes, const penlight_tensor_info& info, penlight_tensor* input) {
  const bool wild = bytes.below(16) == 0;
  input->dtype = wild ? static_cast<penlight_dtype>(bytes.below(16)) : info.dtype;
  input->rank = wild ? static_cast<uint32_t>(bytes.below(PENLIGHT_MAX_RANK + 2)) : info.rank;
  uint64_t size = penlight_dtype_size(input->dtype);
  for (uint32_t i = 0; i < input->rank && i < PENLIGHT_MAX_RANK; ++i) {
    const bool open = info.shape[i] < 0 || bytes.below(32) == 0;
    input->shape[i] = open ? (bytes.below(16) == 0 ? bytes.number() : static_cast<int64_t>(bytes.below(9))) : info.shape[i];
    if (input->shape[i] < 0 || __builtin_mul_overflow(size, static_cast<uint64_t>(input->shape[i]), &size)) size = 0;
  }
  input->size_bytes = size > (1u << 20) || bytes.below(32) == 0 ? bytes.below(64) : static_cast<size_t>(size);
  // Memory of just this size, so that the sanitizer sees one byte too many.
  void* data = nullptr;
  if (posix_memalign(&data, 16, input->size_bytes == 0 ? 1 : input->size_bytes) != 0) abort();
  bytes.fill(data, input->size_bytes);
  input->data = data;
}

void run_rounds(FuzzBytes& bytes, const penlight_program* program) {
  const size_t method = bytes.below(penlight_program_method_count(program));
  const size_t count = penlight_program_input_count(program, method);
  if (count > kExerciseOperands) return;
  penlight_session_options options = {};
  options.struct_size = sizeof(options);
  options.mac_budget = kExerciseMacs;
  penlight_session* session = nullptr;
  if (penlight_session_create(program, method, &options, &session, nullptr) != PENLIGHT_OK) return;
  for (int round = 0; round < 3; ++round) {
    penlight_tensor inputs[kExerciseOperands] = {};
    for (size_t i = 0; i < count; ++i) {
      penlight_tensor_info info;
      PENLIGHT_CHECK(penlight_program_input_info(program, method, i, &info) == PENLIGHT_OK);
      choose_input(bytes, info, &inputs[i]);
    }
    penlight_error error;
    const penlight_status status = penlight_session_run(session, inputs, count, nullptr, 0, &error);
    PENLIGHT_CHECK(status == error.status && (status == PENLIGHT_OK || error.message[0] != '\0'));
    if (status == PENLIGHT_OK) read_outputs(session, penlight_program_output_count(program, method));
    for (size_t i = 0; i < count; ++i) free(inputs[i].data);
  }
  penlight_session_free(session);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const FuzzClock clock;
  FuzzBytes bytes(data, size);
  size_t length = 0;
  const uint8_t* file = fuzz_bundle().choose(bytes, &length);
  void* copy = nullptr;
  PENLIGHT_CHECK(posix_memalign(&copy, 64, length) == 0);
  memcpy(copy, file, length);
  penlight_program_options limits = {};
  limits.struct_size = sizeof(limits);
  limits.memory_budget_bytes = kExerciseMemory;
  penlight_program* program = nullptr;
  if (penlight_program_load(copy, length, &limits, &program, nullptr) == PENLIGHT_OK) run_rounds(bytes, program);
  penlight_program_free(program);
  free(copy);
  return 0;
}
