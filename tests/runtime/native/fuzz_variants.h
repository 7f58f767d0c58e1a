// More executions of a fuzzer's input: a few of its numbers changed, over and over, so that what the engine and the list of the
// file's numbers cost is paid once for all of them. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "check.h"
#include "fuzz_mutator.h"

/// How many executions ended how; printed when the fuzzer ends.
class FuzzCounts {
 public:
  static void add(penlight_status status) { ++counts_[status]; }

  static void report() {
    fprintf(stderr, "stat::executions_by_status:");
    for (const unsigned long long count : counts_) fprintf(stderr, " %llu", count);
    fprintf(stderr, "\n");
  }

 private:
  static inline unsigned long long counts_[PENLIGHT_SELF_TEST_FAILED + 1] = {};
};

/// Bytes above which an input has fewer variants, so that all of them stay within the time of one.
constexpr size_t kFuzzLargeFile = 4096;

/// Calls `execute(data, size, false)` on the bytes as they are, in memory of just their size, and then, with true, on variants of
/// them: `of_sound` many when it returned PENLIGHT_OK, few otherwise, since most changes of a refused file are refused as early.
/// The changes follow from the bytes, so that an input that fails once always fails.
template <typename Execute>
void fuzz_variants(const uint8_t* input, size_t size, int of_sound, Execute execute) {
  void* copy = nullptr;
  if (posix_memalign(&copy, 64, size == 0 ? 1 : size) != 0) abort();
  if (size > 0) memcpy(copy, input, size);
  auto* data = static_cast<uint8_t*>(copy);
  if (size > kFuzzLargeFile) of_sound /= 8;
  const bool sound = execute(data, size, false) == PENLIGHT_OK;
  const penlight::FlatBytes metadata = fuzz_metadata(data, size);
  const FuzzPlaces& places = fuzz_places(metadata);
  FuzzRandom random(penlight::crc32c(0, data, metadata.size));
  for (int i = sound ? of_sound : of_sound / 16; places.count() > 0 && i > 0; --i) {
    for (size_t changes = 1 + random.below(3); changes > 0; --changes) fuzz_change(data, places, random);
    repair_header(data, size);
    execute(data, size, true);
    memcpy(data, input, metadata.size);
  }
  free(copy);
}
