// The messages' own formatter writes what printf does. SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "core/message.h"

namespace {

/// The text by both; the whole must be equal.
template <typename... Arguments>
void same_as_printf(const char* format, Arguments... arguments) {
  char ours[128], theirs[128];
  penlight::MessageWriter(ours, sizeof(ours)).append(format, arguments...);
  snprintf(theirs, sizeof(theirs), format, arguments...);
  if (strcmp(ours, theirs) != 0) fprintf(stderr, "'%s' against printf's '%s'\n", ours, theirs);
  PENLIGHT_CHECK(strcmp(ours, theirs) == 0);
}

void test_real(double x) { same_as_printf("%g", x); }

}  // namespace

void test_message() {
  same_as_printf("a %d b %u c %x d %c %%", -7, 4000000000u, 0xbeefu, 'q');
  same_as_printf("%lld|%lld|%llu|%llx", static_cast<long long>(INT64_MIN), static_cast<long long>(INT64_MAX),
                 static_cast<unsigned long long>(UINT64_MAX), 0xfedcba9876543210ull);
  same_as_printf("%ld %lu %zu", -5L, 6UL, SIZE_MAX);
  same_as_printf("[%s] [%.3s] [%.0lld] [%.0lld]", "whole", "cut here", 0ll, 12ll);
  char small[6];
  penlight::MessageWriter(small, sizeof(small)).append("%s%d", "1234", 5678);
  PENLIGHT_CHECK(strcmp(small, "12345") == 0);
  const double values[] = {0.0,      1.0, -1.5,      10.0, 100000.0, 123456.0,      999999.4,
                           999999.6, 1e6, 1234567.0, 1e-4, 1e-5,     0.00012345678, 2e300};
  for (double x : values) test_real(x);
  test_real(static_cast<double>(INFINITY));
  test_real(-static_cast<double>(INFINITY));
  test_real(static_cast<double>(NAN));
  TestRandom random;
  // Odd last digits: no value lies on a tie of the six digits, where the rounding of the scaling would decide.
  for (int i = 0; i < 2000; ++i) {
    const int digits = static_cast<int>(random.next(900000)) + 100000;
    test_real((digits + 0.25) * pow(10, static_cast<int>(random.next(40)) - 20));
  }
}
