// A test framework of twenty lines. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define PENLIGHT_CHECK(condition)                                             \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                \
    }                                                                         \
  } while (0)

void test_crc32c();
void test_flatbuffer();
void test_message();
void test_planner();
void test_threads();

/// A small generator of random numbers that is the same everywhere (xorshift64*).
struct TestRandom {
  unsigned long long state = 88172645463325252ull;
  unsigned next(unsigned bound) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return static_cast<unsigned>((state * 2685821657736338717ull) >> 33) % bound;
  }
};
