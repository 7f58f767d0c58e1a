// Reads a fuzzer's bytes as choices and numbers; zeros follow when they run out. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

class FuzzBytes {
 public:
  FuzzBytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  uint8_t byte() { return at_ < size_ ? data_[at_++] : uint8_t{0}; }

  /// In [0, bound).
  size_t below(size_t bound) {
    const size_t low = byte();
    return bound <= 1 ? 0 : (bound <= 256 ? low : low | static_cast<size_t>(byte()) << 8) % bound;
  }

  int64_t number() {
    int64_t value = 0;
    for (int i = 0; i < 8; ++i) value = static_cast<int64_t>(static_cast<uint64_t>(value) << 8 | byte());
    return value;
  }

  /// Repeats a few bytes, or takes as many as there are.
  void fill(void* to, size_t count) {
    auto* out = static_cast<uint8_t*>(to);
    const uint8_t pattern[4] = {byte(), byte(), byte(), byte()};
    const bool repeat = (byte() & 1) != 0;
    for (size_t i = 0; i < count; ++i) out[i] = repeat || at_ >= size_ ? pattern[i % 4] : byte();
  }

  bool empty() const { return at_ >= size_; }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};
