// Memory for values whose size is known only while running. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/allocator.h"

namespace penlight {

/// Hands out 64-byte aligned blocks. What is released is kept and handed out again to whoever wants about as much, so that runs
/// of the same sizes cost heap calls only the first time; it goes back to the allocator when that has nothing left.
class Blocks {
 public:
  Blocks() = default;
  Blocks(const Blocks&) = delete;
  Blocks& operator=(const Blocks&) = delete;

  /// Null when the memory says no. `size` may be 0.
  void* allocate(Memory& memory, size_t size);
  /// Null is allowed.
  void release(void* data);
  static size_t capacity(const void* data);
  /// Everything, released or not.
  void clear(Memory& memory);

 private:
  struct Header;
  static constexpr size_t kClasses = 128;

  void trim(Memory& memory);
  void unlink(Header* header);

  Header* all_ = nullptr;
  Header* free_[kClasses] = {};
};

}  // namespace penlight
