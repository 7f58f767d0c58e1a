// The time that a fuzzed input may take. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <time.h>

#include "check.h"

/// Five seconds of this process, while it lives: libFuzzer's own limit also counts what a busy machine spends on others.
class FuzzClock {
 public:
  FuzzClock() : start_(seconds()) {}
  ~FuzzClock() { PENLIGHT_CHECK(seconds() - start_ < 5); }
  FuzzClock(const FuzzClock&) = delete;
  FuzzClock& operator=(const FuzzClock&) = delete;

 private:
  static double seconds() {
    timespec now = {};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  }

  double start_;
};
