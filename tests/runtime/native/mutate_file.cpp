// Every single-bit flip, several byte values at every place, and every truncation of a file: runs or a clean error, within a budget
// of memory. A second argument n looks at every n-th place only. SPDX-License-Identifier: Apache-2.0
#include <time.h>

#include "check.h"
#include "exercise.h"
#include "read_file.h"

namespace {

struct Tally {
  long ran = 0;
  long refused = 0;
};

double g_slowest = 0;  // seconds of processor time

double processor_seconds() {
  timespec now = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// The most memory that this process has had, in kilobytes.
long peak_kilobytes() {
  FILE* file = fopen("/proc/self/status", "r");
  PENLIGHT_CHECK(file != nullptr);
  char line[256];
  long peak = 0;
  while (fgets(line, sizeof(line), file) != nullptr) {
    if (sscanf(line, "VmHWM: %ld", &peak) == 1) break;
  }
  fclose(file);
  return peak;
}

void attempt(const uint8_t* data, size_t size, uint32_t check_segments, Tally* tally) {
  penlight_error error;
  const double start = processor_seconds();
  const penlight_status status = exercise(data, size, check_segments, nullptr, &error);
  const double seconds = processor_seconds() - start;
  if (seconds > g_slowest) g_slowest = seconds;
  PENLIGHT_CHECK(status == PENLIGHT_OK || (error.status == status && error.message[0] != '\0'));
  ++(status == PENLIGHT_OK ? tally->ran : tally->refused);
}

/// The file as it is, then with a header that fits, so that the change reaches the verifier and the kernels.
void attempt_both(uint8_t* data, size_t size, Tally* raw, Tally* repaired) {
  attempt(data, size, 1, raw);
  auto* copy = static_cast<uint8_t*>(malloc(size == 0 ? 1 : size));
  if (size > 0) memcpy(copy, data, size);
  repair_header(copy, size);
  attempt(copy, size, 0, repaired);
  free(copy);
}

}  // namespace

int main(int argc, char** argv) {
  PENLIGHT_CHECK(argc == 2 || argc == 3);
  const size_t stride = argc == 3 ? strtoul(argv[2], nullptr, 10) : 1;
  PENLIGHT_CHECK(stride > 0);
  size_t size = 0;
  uint8_t* data = read_file(argv[1], &size);
  Tally raw;
  Tally repaired;
  attempt(data, size, 1, &raw);
  PENLIGHT_CHECK(raw.ran == 1);
  for (size_t i = 0; i < size; i += stride) {
    const uint8_t kept = data[i];
    const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff, static_cast<uint8_t>(kept + 4), static_cast<uint8_t>(kept - 4)};
    for (int bit = 0; bit < 8; ++bit) {
      data[i] = static_cast<uint8_t>(kept ^ (1 << bit));
      attempt_both(data, size, &raw, &repaired);
    }
    for (const uint8_t value : values) {
      data[i] = value;
      if (value != kept) attempt_both(data, size, &raw, &repaired);
    }
    data[i] = kept;
  }
  PENLIGHT_CHECK(raw.ran == 1);  // checksums and zero gaps leave no byte unseen
  Tally truncated;
  for (size_t i = 0; i < size; i += stride) attempt_both(data, i, &truncated, &repaired);
  PENLIGHT_CHECK(truncated.ran == 0);
  printf("mutated: %ld ran, %ld refused; truncated: %ld refused; behind the checksums: %ld ran, %ld refused\n", raw.ran,
         raw.refused, truncated.refused, repaired.ran, repaired.refused);
  printf("%zu bytes, slowest attempt %.1f ms, peak memory %ld KB\n", size, 1e3 * g_slowest, peak_kilobytes());
  free(data);
  return 0;
}
