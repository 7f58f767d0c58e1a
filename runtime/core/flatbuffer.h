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

#define PENLIGHT_ONCE __attribute__((noinline))  // no copies of the body, however small it is
#define PENLIGHT_INLINE inline __attribute__((always_inline))

// The classes below are a pointer and numbers of 32 bits that stay in registers, and their accessors are calls that take and return
// nothing else: the verifier consists of little else, so that this decides how large it is.

/// Where a vector's elements are; nothing when they do not fit.
struct FlatSpan {
  FlatSpan() = default;
  /// `packed`: the position of the first element, and how many there are in the upper half.
  FlatSpan(const FlatBytes* from, uint64_t packed)
      : bytes(from), start(static_cast<uint32_t>(packed)), count(static_cast<uint32_t>(packed >> 32)) {}

  const FlatBytes* bytes = nullptr;
  uint32_t start = 0;
  uint32_t count = 0;
};

/// The vector whose length stands at `position`, packed as a FlatSpan wants it; 0 when it does not fit.
PENLIGHT_ONCE uint64_t flat_span(const FlatBytes* bytes, size_t position, size_t element_size);
/// Element i of a vector of numbers, 0 when there is none.
template <typename T>
PENLIGHT_ONCE T flat_element(const FlatBytes* bytes, uint32_t start, uint32_t count, size_t i);
/// Position of entry i of a vector of offsets, 0 when there is none or it points out of the buffer.
PENLIGHT_ONCE uint32_t flat_entry(const FlatBytes* bytes, uint32_t start, uint32_t count, size_t i);

/// Numbers of type T, or offsets of tables and strings when T is uint32_t.
template <typename T>
class FlatVector {
 public:
  FlatVector() = default;
  explicit FlatVector(FlatSpan span) : span_(span) {}
  /// `position` is that of the vector's length.
  FlatVector(const FlatBytes* bytes, size_t position) : span_(bytes, flat_span(bytes, position, sizeof(T))) {}

  size_t count() const { return span_.count; }
  size_t position(size_t i) const { return span_.start + i * sizeof(T); }
  /// 0 when `i` is out of range.
  PENLIGHT_INLINE T operator[](size_t i) const { return flat_element<T>(span_.bytes, span_.start, span_.count, i); }

 private:
  FlatSpan span_;
};

class FlatTables;

class FlatTable {
 public:
  FlatTable() = default;
  FlatTable(const FlatBytes* bytes, size_t position) : bytes_(bytes), position_(static_cast<uint32_t>(position)) {}

  PENLIGHT_INLINE bool present() const { return vtable(bytes_, position_) != 0; }

  template <typename T>
  PENLIGHT_INLINE T get(PenScalar<T> field) const {
    if (field.fallback == T{}) return scalar<T>(bytes_, position_, field.slot);
    return scalar_or<T>(field.fallback, bytes_, position_, field.slot);
  }
  /// A truth value is any byte but 0.
  PENLIGHT_INLINE bool get(PenScalar<bool> field) const { return get(PenScalar<uint8_t>{field.slot, field.fallback}) != 0; }
  /// "" when absent; NUL-terminated.
  PENLIGHT_INLINE const char* get(PenString field) const { return text(bytes_, position_, field.slot); }
  /// Entry i of a list of strings; null when there is none.
  const char* get(PenStrings field, size_t i) const;
  PENLIGHT_INLINE FlatTable get(PenChild field) const { return FlatTable(bytes_, follow(bytes_, position_, field.slot)); }
  FlatTables get(PenChildren field) const;
  /// Entry i of a list of tables.
  PENLIGHT_INLINE FlatTable get(PenChildren field, size_t i) const {
    return FlatTable(bytes_, entry(bytes_, position_, field.slot, i));
  }
  template <typename T>
  PENLIGHT_INLINE FlatVector<T> get(PenNumbers<T> field) const {
    if constexpr (sizeof(T) == 4) return FlatVector<T>(FlatSpan(bytes_, words(bytes_, position_, field.slot)));
    return FlatVector<T>(FlatSpan(bytes_, span(bytes_, position_, field.slot, sizeof(T))));
  }

  /// Whether the file writes this field.
  PENLIGHT_INLINE bool declares(uint16_t slot) const { return declares(bytes_, position_, slot); }
  /// Position of a field's bytes inside the table, 0 when it is absent or does not fit.
  PENLIGHT_INLINE size_t locate(uint16_t slot, size_t size) const { return locate(bytes_, position_, slot, size); }
  /// Position that an offset field points to, 0 when it is absent or points out of the buffer.
  PENLIGHT_INLINE size_t follow(uint16_t slot) const { return follow(bytes_, position_, slot); }

 private:
  template <typename T>
  PENLIGHT_ONCE static T scalar(const FlatBytes* bytes, uint32_t table, uint32_t slot);
  template <typename T>
  PENLIGHT_ONCE static T scalar_or(T fallback, const FlatBytes* bytes, uint32_t table, uint32_t slot);
  /// Of tables, strings and numbers of 4 bytes.
  PENLIGHT_ONCE static uint64_t words(const FlatBytes* bytes, uint32_t table, uint32_t slot);
  PENLIGHT_ONCE static uint64_t span(const FlatBytes* bytes, uint32_t table, uint32_t slot, size_t element_size);
  PENLIGHT_ONCE static const char* text(const FlatBytes* bytes, uint32_t table, uint32_t slot);
  PENLIGHT_ONCE static uint32_t entry(const FlatBytes* bytes, uint32_t table, uint32_t slot, size_t i);
  PENLIGHT_ONCE static uint32_t vtable(const FlatBytes* bytes, uint32_t table);
  PENLIGHT_ONCE static bool declares(const FlatBytes* bytes, uint32_t table, uint32_t slot);
  PENLIGHT_ONCE static uint32_t locate(const FlatBytes* bytes, uint32_t table, uint32_t slot, size_t size);
  PENLIGHT_ONCE static uint32_t follow(const FlatBytes* bytes, uint32_t table, uint32_t slot);

  const FlatBytes* bytes_ = nullptr;
  uint32_t position_ = 0;  // 0: there is no such table
};

class FlatTables {
 public:
  FlatTables() = default;
  explicit FlatTables(FlatSpan span) : span_(span) {}

  size_t count() const { return span_.count; }
  PENLIGHT_INLINE FlatTable operator[](size_t i) const {
    return FlatTable(span_.bytes, flat_entry(span_.bytes, span_.start, span_.count, i));
  }

 private:
  FlatSpan span_;
};

PENLIGHT_INLINE FlatTables FlatTable::get(PenChildren field) const {
  return FlatTables(FlatSpan(bytes_, words(bytes_, position_, field.slot)));
}

/// The NUL-terminated characters of the string at `position`, null when it is not one.
const char* flat_string(const FlatBytes& bytes, size_t position);

}  // namespace penlight
