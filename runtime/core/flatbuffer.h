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
  size_t target(size_t at) const;
};

// The classes below are two words that travel in registers, and their accessors are calls: the verifier consists of little else, so
// that this decides how large it is.

/// Where a vector's elements are; nothing when they do not fit.
struct FlatSpan {
  FlatSpan() = default;
  /// `position` is that of the vector's length.
  FlatSpan(const FlatBytes* bytes, size_t position, size_t element_size);

  const FlatBytes* bytes = nullptr;
  uint32_t start = 0;
  uint32_t count = 0;
};

/// Numbers of type T, or offsets of tables and strings when T is uint32_t.
template <typename T>
class FlatVector {
 public:
  FlatVector() = default;
  explicit FlatVector(FlatSpan span) : span_(span) {}
  FlatVector(const FlatBytes* bytes, size_t position) : span_(bytes, position, sizeof(T)) {}

  size_t count() const { return span_.count; }
  size_t position(size_t i) const { return span_.start + i * sizeof(T); }
  /// 0 when `i` is out of range.
  T operator[](size_t i) const { return element(span_, i); }

 private:
  static T element(FlatSpan span, size_t i);

  FlatSpan span_;
};

class FlatTables;

class FlatTable {
 public:
  FlatTable() = default;
  FlatTable(const FlatBytes* bytes, size_t position);

  bool present() const { return vtable_ != 0; }
  size_t position() const { return position_; }

  template <typename T>
  T get(PenScalar<T> field) const {
    return scalar(*this, field);
  }
  /// "" when absent; NUL-terminated.
  const char* get(PenString field) const { return text(*this, field.slot); }
  /// Entry i of a list of strings; null when there is none.
  const char* get(PenStrings field, size_t i) const;
  FlatTable get(PenChild field) const { return child(*this, field.slot); }
  FlatTables get(PenChildren field) const;
  template <typename T>
  FlatVector<T> get(PenNumbers<T> field) const {
    return FlatVector<T>(span(*this, field.slot, sizeof(T)));
  }

  /// Whether the file writes this field.
  bool declares(uint16_t slot) const { return declares(*this, slot); }
  /// Position of a field's bytes inside the table, 0 when it is absent or does not fit.
  size_t locate(uint16_t slot, size_t size) const { return locate(*this, slot, size); }
  /// Position that an offset field points to, 0 when it is absent or points out of the buffer.
  size_t follow(uint16_t slot) const { return follow(*this, slot); }

 private:
  template <typename T>
  static T scalar(FlatTable table, PenScalar<T> field);
  static FlatSpan span(FlatTable table, uint16_t slot, size_t element_size);
  static const char* text(FlatTable table, uint16_t slot);
  static FlatTable child(FlatTable table, uint16_t slot);
  static bool declares(FlatTable table, uint16_t slot);
  static size_t locate(FlatTable table, uint16_t slot, size_t size);
  static size_t follow(FlatTable table, uint16_t slot);

  const FlatBytes* bytes_ = nullptr;
  uint32_t position_ = 0;
  uint32_t vtable_ = 0;  // 0: there is no such table
};

class FlatTables {
 public:
  FlatTables() = default;
  explicit FlatTables(FlatSpan span) : span_(span) {}

  size_t count() const { return span_.count; }
  FlatTable operator[](size_t i) const { return entry(span_, i); }

 private:
  static FlatTable entry(FlatSpan span, size_t i);

  FlatSpan span_;
};

inline FlatTables FlatTable::get(PenChildren field) const { return FlatTables(span(*this, field.slot, 4)); }

/// The NUL-terminated characters of the string at `position`, null when it is not one.
const char* flat_string(const FlatBytes& bytes, size_t position);

}  // namespace penlight
