// Freed memory stays with the process for the next arrays. SPDX-License-Identifier: Apache-2.0
//
// A training step frees its activations and asks for the same sizes again in the next. By its defaults the C library gives such
// blocks back to the system each time, and every page of the next array costs a fault: up to a fifth of the time of a small
// convolutional network. This is the one place that says how much is kept.
#include "memory.h"

#include <cstdlib>
#include <initializer_list>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace penlight {

namespace {

constexpr int kKeptBytes = 512 << 20;   // free memory at the end of the heap beyond this goes back to the system
constexpr int kMappedBytes = 32 << 20;  // larger blocks are mapped for themselves and go back at once; the largest glibc takes

/// Whoever runs the program has the last word.
bool is_set_by_user() {
  for (const char* name : {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"})
    if (std::getenv(name) != nullptr) return true;
  return false;
}

}  // namespace

void keep_freed_memory() {
#if defined(__GLIBC__)
  if (is_set_by_user()) return;
  mallopt(M_MMAP_THRESHOLD, kMappedBytes);
  mallopt(M_TRIM_THRESHOLD, kKeptBytes);
#endif
}

void release_freed_memory() {
  release_blocks();
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace penlight
