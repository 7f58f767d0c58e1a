// CRC32C (Castagnoli), the checksum of the metadata and of every segment. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace penlight {

/// Continues `crc` (0 at the start) over `size` bytes; crc32c(crc32c(0, a), b) is the checksum of a and b in a row.
uint32_t crc32c(uint32_t crc, const void* data, size_t size);

}  // namespace penlight
