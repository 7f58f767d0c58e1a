// libFuzzer target: any bytes load and run, or give a clean error. SPDX-License-Identifier: Apache-2.0
#include "fuzz_clock.h"
#include "fuzz_mutator.h"

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return fuzz_mutate_program(data, size, max_size, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const FuzzClock clock;
  penlight_error error;
  exercise(data, size, 0, nullptr, &error);
  return 0;
}
