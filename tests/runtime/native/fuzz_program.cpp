// libFuzzer target: any bytes load and run, or give a clean error. SPDX-License-Identifier: Apache-2.0
#include "fuzz_clock.h"
#include "fuzz_variants.h"

namespace {

/// All variants together may compute as much as the input itself.
constexpr int kVariants = 16;

penlight_status load_and_run(const uint8_t* data, size_t size, bool variant) {
  const FuzzClock clock;
  penlight_error error;
  const penlight_status status = exercise(data, size, 0, nullptr, &error, variant ? kExerciseMacs / kVariants : kExerciseMacs);
  PENLIGHT_CHECK(status == PENLIGHT_OK || error.message[0] != '\0');
  FuzzCounts::add(status);
  return status;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) { return atexit(FuzzCounts::report); }

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return fuzz_mutate_program(data, size, max_size, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz_variants(data, size, kVariants, load_and_run);
  return 0;
}
