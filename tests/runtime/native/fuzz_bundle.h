// The programs that a fuzzer starts from: length-prefixed in the file that PENLIGHT_FUZZ_BUNDLE names.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "check.h"
#include "fuzz_bytes.h"
#include "read_file.h"

class FuzzBundle {
 public:
  FuzzBundle() {
    PENLIGHT_CHECK(getenv("PENLIGHT_FUZZ_BUNDLE") != nullptr);
    data_ = read_file(getenv("PENLIGHT_FUZZ_BUNDLE"), &size_);
    for (size_t at = 0; at < size_; at += 8 + length(at)) {
      PENLIGHT_CHECK(count_ < kMost && size_ - at >= 8 && length(at) <= size_ - at - 8);
      starts_[count_++] = at;
    }
    PENLIGHT_CHECK(count_ > 0);
  }

  const uint8_t* choose(FuzzBytes& bytes, size_t* size) const {
    const size_t at = starts_[bytes.below(count_)];
    *size = length(at);
    return data_ + at + 8;
  }

 private:
  static constexpr size_t kMost = 16384;

  size_t length(size_t at) const {
    uint64_t length = 0;
    memcpy(&length, data_ + at, 8);
    return static_cast<size_t>(length);
  }

  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t count_ = 0;
  size_t starts_[kMost];
};

/// Read once.
inline const FuzzBundle& fuzz_bundle() {
  static const FuzzBundle bundle;
  return bundle;
}
