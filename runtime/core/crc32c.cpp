// SPDX-License-Identifier: Apache-2.0
#include "crc32c.h"

#include <string.h>

#include "core/platform.h"

namespace penlight {
namespace {

constexpr uint32_t kCrcPolynomial = 0x82f63b78u;  // reflected

constexpr uint32_t crc_shift(uint32_t crc, int bits) {
  for (int bit = 0; bit < bits; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kCrcPolynomial : 0u);
  return crc;
}

struct CrcNibbles {
  uint32_t row[16];
};

constexpr CrcNibbles crc_make_nibbles() {
  CrcNibbles nibbles = {};
  for (uint32_t i = 0; i < 16; ++i) nibbles.row[i] = crc_shift(i, 4);
  return nibbles;
}

constexpr CrcNibbles kCrcNibbles = crc_make_nibbles();

uint32_t crc_byte(uint32_t crc) {
  crc = (crc >> 4) ^ kCrcNibbles.row[crc & 15];
  return (crc >> 4) ^ kCrcNibbles.row[crc & 15];
}

#if !PENLIGHT_SMALL
constexpr size_t kCrcTableAbove = 32768;  // bytes that pay for making the tables, which then lie on the stack

/// Four bytes a step with tables of 4 KiB. They are made here for each large segment: constant ones would be a tenth of the core.
__attribute__((noinline)) uint32_t crc_by_tables(uint32_t crc, const unsigned char* data, size_t words) {
  uint32_t rows[4][256];
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (auto& row : rows) row[i] = value = crc_shift(value, 8);
  }
  for (; words > 0; data += 4, --words) {
    for (int i = 0; i < 4; ++i) crc ^= static_cast<uint32_t>(data[i]) << (8 * i);
    crc = rows[3][crc & 0xff] ^ rows[2][(crc >> 8) & 0xff] ^ rows[1][(crc >> 16) & 0xff] ^ rows[0][crc >> 24];
  }
  return crc;
}

#endif

uint32_t crc_scalar(uint32_t crc, const unsigned char* data, size_t size) {
#if !PENLIGHT_SMALL
  if (size > kCrcTableAbove) {
    crc = crc_by_tables(crc, data, size / 4);
    data += size / 4 * 4;
    size %= 4;
  }
#endif
  for (; size > 0; ++data, --size) crc = crc_byte(crc ^ *data);
  return crc;
}

#if defined(__x86_64__)
/// Whether the processor has the instruction; bit 20 of ecx of leaf 1. __builtin_cpu_supports is 5 KB of code.
bool crc_has_instruction() {
  static uint8_t known = 0;  // asked once, since virtual machines take long to answer: 0 not yet, 1 no, 2 yes
  uint8_t answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
  if (answer == 0) {
    uint32_t a = 1, b = 0, c = 0, d = 0;
    asm("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    answer = (c >> 20 & 1) != 0 ? 2 : 1;
    __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
  }
  return answer == 2;
}

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
  if (crc_has_instruction()) return ~crc_sse42(~crc, bytes, size);
#endif
  return ~crc_scalar(~crc, bytes, size);
}

}  // namespace penlight
