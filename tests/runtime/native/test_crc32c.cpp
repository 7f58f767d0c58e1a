// SPDX-License-Identifier: Apache-2.0
#include "check.h"
#include "core/crc32c.h"

void test_crc32c() {
  // RFC 3720, appendix B.4.
  PENLIGHT_CHECK(penlight::crc32c(0, "123456789", 9) == 0xe3069283u);
  unsigned char bytes[32] = {};
  PENLIGHT_CHECK(penlight::crc32c(0, bytes, 32) == 0x8a9136aau);
  for (int i = 0; i < 32; ++i) bytes[i] = static_cast<unsigned char>(i);
  PENLIGHT_CHECK(penlight::crc32c(0, bytes, 32) == 0x46dd794eu);
  for (size_t cut = 0; cut <= 32; ++cut) {
    PENLIGHT_CHECK(penlight::crc32c(penlight::crc32c(0, bytes, cut), bytes + cut, 32 - cut) == 0x46dd794eu);
  }
}
