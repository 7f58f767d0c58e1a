// libFuzzer target: any bytes load, or give a clean error. SPDX-License-Identifier: Apache-2.0
#include "fuzz_clock.h"
#include "fuzz_variants.h"

namespace {

penlight_status load(const uint8_t* data, size_t size, bool) {
  const FuzzClock clock;
  penlight_program_options options = {};
  options.struct_size = sizeof(options);
  options.memory_budget_bytes = kExerciseMemory;
  penlight_program* program = nullptr;
  penlight_error error;
  const penlight_status status = penlight_program_load(data, size, &options, &program, &error);
  PENLIGHT_CHECK((status == PENLIGHT_OK) == (program != nullptr) && status == error.status);
  PENLIGHT_CHECK(status == PENLIGHT_OK || error.message[0] != '\0');
  for (size_t i = 0; i < penlight_program_metadata_count(program); ++i) {
    const char* key = nullptr;
    const char* value = nullptr;
    PENLIGHT_CHECK(penlight_program_metadata_entry(program, i, &key, &value) == PENLIGHT_OK);
  }
  penlight_program_free(program);
  FuzzCounts::add(status);
  return status;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) { return atexit(FuzzCounts::report); }

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return fuzz_mutate_program(data, size, max_size, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz_variants(data, size, 127, load);
  return 0;
}
