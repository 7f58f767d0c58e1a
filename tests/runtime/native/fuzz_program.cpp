// libFuzzer target: any bytes load and run, or give a clean error. SPDX-License-Identifier: Apache-2.0
#include "exercise.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  penlight_error error;
  exercise(data, size, 0, nullptr, &error);
  auto* repaired = static_cast<uint8_t*>(malloc(size == 0 ? 1 : size));
  if (size > 0) memcpy(repaired, data, size);
  repair_header(repaired, size);
  exercise(repaired, size, 1, nullptr, &error);
  free(repaired);
  return 0;
}
