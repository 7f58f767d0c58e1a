// Reads flatbuffers with every access checked against the buffer. SPDX-License-Identifier: Apache-2.0
//
// No accessor can leave the buffer, whatever its bytes say: what does not fit reads as absent. `structure.h` additionally refuses
// such files when they are loaded, so that a program that loaded has no silently absent part.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/field.h"

namespace penlight {

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
  size_t target(size_t at) const {
    const size_t position = at + load<uint32_t>(at);
    return position > at && holds(position, 4) ? position : 0;
  }
};

/// Numbers of type T, or offsets of tables and strings when T is uint32_t.
template <typename T>
class FlatVector {
 public:
  FlatVector() = default;
  /// `position` is that of the vector's length.
  FlatVector(const FlatBytes* bytes, size_t position) : bytes_(bytes), start_(position + 4) {
    const size_t count = bytes->load<uint32_t>(position);
    if (bytes->holds(start_, 0) && count <= (bytes->size - start_) / sizeof(T)) count_ = count;
  }

  size_t count() const { return count_; }
  size_t position(size_t i) const { return start_ + i * sizeof(T); }
  /// 0 when `i` is out of range.
  T operator[](size_t i) const { return i < count_ ? bytes_->load<T>(position(i)) : T{}; }

 private:
  const FlatBytes* bytes_ = nullptr;
  size_t start_ = 0;
  size_t count_ = 0;
};

class FlatTables;

class FlatTable {
 public:
  FlatTable() = default;
  FlatTable(const FlatBytes* bytes, size_t position);

  bool present() const { return vtable_size_ != 0; }
  size_t position() const { return position_; }

  template <typename T>
  T get(PenScalar<T> field) const {
    const size_t at = locate(field.slot, sizeof(T));
    return at == 0 ? field.fallback : bytes_->load<T>(at);
  }
  bool get(PenScalar<bool> field) const {
    const size_t at = locate(field.slot, 1);
    return at == 0 ? field.fallback : bytes_->load<uint8_t>(at) != 0;
  }
  /// "" when absent; NUL-terminated.
  const char* get(PenString field) const;
  /// Entry i of a list of strings; null when there is none.
  const char* get(PenStrings field, size_t i) const;
  FlatTable get(PenChild field) const;
  FlatTables get(PenChildren field) const;
  template <typename T>
  FlatVector<T> get(PenNumbers<T> field) const {
    const size_t at = follow(field.slot);
    return at == 0 ? FlatVector<T>() : FlatVector<T>(bytes_, at);
  }

  /// Whether the file writes this field.
  bool declares(uint16_t slot) const { return slot + 2 <= vtable_size_ && bytes_->load<uint16_t>(vtable_ + slot) != 0; }
  /// Position of a field's bytes inside the table, 0 when it is absent or does not fit.
  size_t locate(uint16_t slot, size_t size) const;
  /// Position that an offset field points to, 0 when it is absent or points out of the buffer.
  size_t follow(uint16_t slot) const;

 private:
  const FlatBytes* bytes_ = nullptr;
  size_t position_ = 0;
  size_t vtable_ = 0;
  uint16_t vtable_size_ = 0;  // 0: there is no such table
  uint16_t size_ = 0;
};

class FlatTables {
 public:
  FlatTables() = default;
  FlatTables(const FlatBytes* bytes, size_t position) : bytes_(bytes), offsets_(bytes, position) {}

  size_t count() const { return offsets_.count(); }
  FlatTable operator[](size_t i) const {
    const size_t at = i < count() ? bytes_->target(offsets_.position(i)) : 0;
    return at == 0 ? FlatTable() : FlatTable(bytes_, at);
  }

 private:
  const FlatBytes* bytes_ = nullptr;
  FlatVector<uint32_t> offsets_;
};

/// The NUL-terminated characters of the string at `position`, null when it is not one.
const char* flat_string(const FlatBytes& bytes, size_t position);

}  // namespace penlight
