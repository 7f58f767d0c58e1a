// Structural verification: every table, vector and string that the schema can reach lies in the buffer. SPDX-License-Identifier:
// Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/field.h"
#include "core/message.h"

namespace penlight {

/// Bytes of which nothing is known.
struct FlatBytes {
  const unsigned char* data = nullptr;
  size_t size = 0;  // less than 2 GiB, checked when a program is loaded

  bool holds(size_t position, size_t bytes) const { return position <= size && bytes <= size - position; }

  /// 0 outside of the buffer.
  template <typename T>
  T load(size_t position) const {
    T value{};
    if (holds(position, sizeof(T))) memcpy(&value, data + position, sizeof(T));
    return value;
  }

  /// Where the offset stored at `at` points to, 0 when that is not inside the buffer. Offsets point forward.
  size_t target(size_t at) const;
};

/// A table of which nothing is known. No function leaves the buffer, whatever its bytes say.
class UnverifiedTable {
 public:
  UnverifiedTable(const FlatBytes& bytes, size_t position);

  /// Whether it and its list of fields lie in the buffer; if not, it has no fields.
  bool present() const { return vtable_ != 0; }
  bool declares(uint32_t slot) const { return offset(slot) != 0; }
  /// Position of a field's bytes inside the table, 0 when it is absent or does not fit.
  size_t locate(uint32_t slot, size_t size) const;
  /// Position that an offset field points to, 0 when it is absent or points out of the buffer.
  size_t follow(uint32_t slot) const;

 private:
  size_t offset(uint32_t slot) const;

  const FlatBytes& bytes_;
  size_t position_;
  size_t vtable_ = 0;
};

/// Walks everything below the table at position `root`. Time is linear in the metadata's size: a file whose tables are shared so
/// much that the walk would take longer is refused. Also refuses enum numbers that this runtime does not know, strings that hold
/// NUL, and required fields that are absent. What it accepts may be read through flatbuffer.h.
Status verify_structure(const FlatBytes& bytes, size_t root, penlight_error& error);

}  // namespace penlight
