// Memory for many small results that are released together. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/allocator.h"

namespace penlight {

/// Hands out memory from chunks; `rewind` makes all of it free again and keeps the chunks for the next time.
class Pool {
 public:
  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// 16-byte aligned; null when the memory says no.
  void* allocate(Memory& memory, size_t size);
  void rewind();
  void clear(Memory& memory);

 private:
  struct Chunk {
    Chunk* next;
    size_t size;  // with this header
    size_t used;
  };
  static constexpr size_t kAlignment = 16;
  static constexpr size_t kHeader = 2 * kAlignment;
  static constexpr size_t kChunkBytes = 4096;

  Chunk* first_ = nullptr;
  Chunk* current_ = nullptr;
};

}  // namespace penlight
