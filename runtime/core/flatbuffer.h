// Reads flatbuffers that verify_structure (structure.h) has seen. SPDX-License-Identifier: Apache-2.0
//
// It has checked that every table, vector and string that the schema reaches lies in the buffer, and the buffer does not change.
// What a file leaves out reads as the schema's default, and so does what stands behind a vector's end.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/field.h"

namespace penlight {

#define PENLIGHT_ONCE __attribute__((noinline))  // no copies of the body, however small it is
#define PENLIGHT_INLINE inline __attribute__((always_inline))

inline constexpr unsigned char kFlatNothing[4] = {};  // a vector without elements

// The classes below are pointers, and their accessors are calls with one or two registers: the verifier consists of little else, so
// that this decides how large it is.

/// The bytes of a table's field, null when the file leaves it out.
PENLIGHT_ONCE const unsigned char* flat_field(const unsigned char* table, uint32_t slot);
/// What an offset field points to, null when the file leaves it out.
PENLIGHT_ONCE const unsigned char* flat_child(const unsigned char* table, uint32_t slot);
/// The vector that a field points to.
PENLIGHT_ONCE const unsigned char* flat_vector(const unsigned char* table, uint32_t slot);
/// Element i of a vector of numbers.
template <typename T>
PENLIGHT_ONCE T flat_element(const unsigned char* vector, size_t i);
/// What entry i of a vector of offsets points to, null when there is none.
PENLIGHT_ONCE const unsigned char* flat_entry(const unsigned char* vector, size_t i);
/// What entry i of the vector in a field points to.
PENLIGHT_ONCE const unsigned char* flat_child_entry(const unsigned char* table, uint32_t slot, size_t i);
template <typename T>
PENLIGHT_ONCE T flat_scalar(const unsigned char* table, uint32_t slot);
template <typename T>
PENLIGHT_ONCE T flat_scalar_or(T fallback, const unsigned char* table, uint32_t slot);
PENLIGHT_ONCE const char* flat_text(const unsigned char* table, uint32_t slot);

template <typename T>
PENLIGHT_INLINE T flat_load(const unsigned char* at) {
  T value;
  memcpy(&value, at, sizeof(T));
  return value;
}

/// Numbers of type T.
template <typename T>
class FlatVector {
 public:
  FlatVector() = default;
  explicit FlatVector(const unsigned char* at) : at_(at) {}

  PENLIGHT_INLINE size_t count() const { return flat_load<uint32_t>(at_); }
  /// 0 when `i` is out of range.
  PENLIGHT_INLINE T operator[](size_t i) const { return flat_element<T>(at_, i); }

 private:
  const unsigned char* at_ = kFlatNothing;
};

class FlatTables;

class FlatTable {
 public:
  FlatTable() = default;
  explicit FlatTable(const unsigned char* at) : at_(at) {}

  bool present() const { return at_ != nullptr; }

  template <typename T>
  PENLIGHT_INLINE T get(PenScalar<T> field) const {
    return field.fallback == T{} ? flat_scalar<T>(at_, field.slot) : flat_scalar_or<T>(field.fallback, at_, field.slot);
  }
  /// A truth value is any byte but 0.
  PENLIGHT_INLINE bool get(PenScalar<bool> field) const { return get(PenScalar<uint8_t>{field.slot, field.fallback}) != 0; }
  /// "" when absent; NUL-terminated.
  PENLIGHT_INLINE const char* get(PenString field) const { return flat_text(at_, field.slot); }
  /// Entry i of a list of strings; null when there is none.
  const char* get(PenStrings field, size_t i) const;
  PENLIGHT_INLINE FlatTable get(PenChild field) const { return FlatTable(flat_child(at_, field.slot)); }
  PENLIGHT_INLINE FlatTables get(PenChildren field) const;
  /// Entry i of a list of tables.
  PENLIGHT_INLINE FlatTable get(PenChildren field, size_t i) const { return FlatTable(flat_child_entry(at_, field.slot, i)); }
  template <typename T>
  PENLIGHT_INLINE FlatVector<T> get(PenNumbers<T> field) const {
    return FlatVector<T>(flat_vector(at_, field.slot));
  }

  /// Whether the file writes this field.
  PENLIGHT_INLINE bool declares(uint16_t slot) const { return flat_field(at_, slot) != nullptr; }

 private:
  const unsigned char* at_ = nullptr;  // null: there is no such table
};

class FlatTables {
 public:
  FlatTables() = default;
  explicit FlatTables(const unsigned char* at) : at_(at) {}

  PENLIGHT_INLINE size_t count() const { return flat_load<uint32_t>(at_); }
  PENLIGHT_INLINE FlatTable operator[](size_t i) const { return FlatTable(flat_entry(at_, i)); }

 private:
  const unsigned char* at_ = kFlatNothing;
};

PENLIGHT_INLINE FlatTables FlatTable::get(PenChildren field) const { return FlatTables(flat_vector(at_, field.slot)); }

}  // namespace penlight
