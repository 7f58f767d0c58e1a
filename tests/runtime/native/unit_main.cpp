// SPDX-License-Identifier: Apache-2.0
#include "check.h"

int main() {
  test_crc32c();
  test_flatbuffer();
  test_message();
  test_planner();
  test_threads();
  puts("ok");
  return 0;
}
