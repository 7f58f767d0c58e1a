// Fails the K-th allocation for every K, once and from then on: a clean error, no leak. SPDX-License-Identifier: Apache-2.0
#include "check.h"
#include "exercise.h"
#include "read_file.h"

namespace {

struct Failing {
  long fail_at;
  bool forever;
  long calls;
  long live;
};

void* failing_allocate(void* context, size_t size, size_t alignment) {
  auto* failing = static_cast<Failing*>(context);
  const long call = failing->calls++;
  if (call == failing->fail_at || (failing->forever && call > failing->fail_at)) return nullptr;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment < 16 ? 16 : alignment, size) != 0) return nullptr;
  ++failing->live;
  return memory;
}

void failing_release(void* context, void* memory, size_t) {
  --static_cast<Failing*>(context)->live;
  free(memory);
}

penlight_status attempt_failing(const uint8_t* data, size_t size, Failing* failing) {
  const penlight_allocator allocator = {failing_allocate, failing_release, failing};
  penlight_error error;
  const penlight_status status = exercise(data, size, 0, &allocator, &error);
  PENLIGHT_CHECK(failing->live == 0);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  PENLIGHT_CHECK(argc == 2);
  size_t size = 0;
  uint8_t* data = read_file(argv[1], &size);
  Failing whole = {-1, false, 0, 0};
  PENLIGHT_CHECK(attempt_failing(data, size, &whole) == PENLIGHT_OK);
  long failures = 0;
  for (long k = 0; k < whole.calls; ++k) {
    for (int mode = 0; mode < 2; ++mode) {
      Failing failing = {k, mode == 1, 0, 0};
      const penlight_status status = attempt_failing(data, size, &failing);
      // The self test comes last and its result is not looked at.
      PENLIGHT_CHECK(status == PENLIGHT_OUT_OF_MEMORY || status == PENLIGHT_OK);
      failures += status == PENLIGHT_OUT_OF_MEMORY;
    }
  }
  PENLIGHT_CHECK(failures > 0);
  printf("%ld allocations, %ld clean failures\n", whole.calls, failures);
  free(data);
  return 0;
}
