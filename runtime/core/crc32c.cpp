// SPDX-License-Identifier: Apache-2.0
#include "crc32c.h"

#include <string.h>

namespace penlight {
namespace {

struct CrcTables {
  uint32_t rows[4][256];
};

constexpr CrcTables crc_make_tables() {
  CrcTables tables = {};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    tables.rows[0][i] = crc;
  }
  for (uint32_t i = 0; i < 256; ++i) {
    for (int row = 1; row < 4; ++row) {
      const uint32_t previous = tables.rows[row - 1][i];
      tables.rows[row][i] = (previous >> 8) ^ tables.rows[0][previous & 0xff];
    }
  }
  return tables;
}

constexpr CrcTables kCrcTables = crc_make_tables();

uint32_t crc_scalar(uint32_t crc, const unsigned char* data, size_t size) {
  const auto& rows = kCrcTables.rows;
  for (; size >= 4; data += 4, size -= 4) {
    uint32_t word = 0;
    memcpy(&word, data, 4);
    crc ^= word;
    crc = rows[3][crc & 0xff] ^ rows[2][(crc >> 8) & 0xff] ^ rows[1][(crc >> 16) & 0xff] ^ rows[0][crc >> 24];
  }
  for (; size > 0; ++data, --size) crc = (crc >> 8) ^ rows[0][(crc ^ *data) & 0xff];
  return crc;
}

#if defined(__x86_64__)
// The instruction makes checking the weights as fast as reading them.
__attribute__((target("sse4.2"))) uint32_t crc_sse42(uint32_t crc, const unsigned char* data, size_t size) {
  uint64_t wide = crc;
  for (; size >= 8; data += 8, size -= 8) {
    uint64_t word = 0;
    memcpy(&word, data, 8);
    wide = __builtin_ia32_crc32di(wide, word);
  }
  return crc_scalar(static_cast<uint32_t>(wide), data, size);
}
#endif

}  // namespace

uint32_t crc32c(uint32_t crc, const void* data, size_t size) {
  const auto* bytes = static_cast<const unsigned char*>(data);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return ~crc_sse42(~crc, bytes, size);
#endif
  return ~crc_scalar(~crc, bytes, size);
}

}  // namespace penlight
