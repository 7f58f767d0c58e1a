// libFuzzer target: any bytes load, or give a clean error. SPDX-License-Identifier: Apache-2.0
#include "check.h"
#include "fuzz_clock.h"
#include "fuzz_mutator.h"

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return fuzz_mutate_program(data, size, max_size, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const FuzzClock clock;
  void* copy = nullptr;
  if (posix_memalign(&copy, 64, size == 0 ? 1 : size) != 0) abort();
  if (size > 0) memcpy(copy, data, size);
  penlight_program_options options = {};
  options.struct_size = sizeof(options);
  options.memory_budget_bytes = kExerciseMemory;
  penlight_program* program = nullptr;
  penlight_error error;
  const penlight_status status = penlight_program_load(copy, size, &options, &program, &error);
  PENLIGHT_CHECK((status == PENLIGHT_OK) == (program != nullptr) && status == error.status);
  PENLIGHT_CHECK(status == PENLIGHT_OK || error.message[0] != '\0');
  for (size_t i = 0; i < penlight_program_metadata_count(program); ++i) {
    const char* key = nullptr;
    const char* value = nullptr;
    PENLIGHT_CHECK(penlight_program_metadata_entry(program, i, &key, &value) == PENLIGHT_OK);
  }
  penlight_program_free(program);
  free(copy);
  return 0;
}
