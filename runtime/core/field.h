// Typed names of the fields in schema/pen.fbs, filled in by schema/generated/pen_fields.h. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

namespace penlight {

struct PenTableSchema;

/// A number, truth value or enum of type T with the schema's default.
template <typename T>
struct PenScalar {
  uint16_t slot;  // offset into the vtable
  T fallback;
};
struct PenString {
  uint16_t slot;
};
struct PenStrings {
  uint16_t slot;
};
struct PenChild {
  uint16_t slot;
};
struct PenChildren {
  uint16_t slot;
};
template <typename T>
struct PenNumbers {
  uint16_t slot;
};

enum class PenKind : uint8_t { kScalar, kString, kChild, kNumbers, kStrings, kChildren };

/// A table by its place in kPenTables: a byte where a pointer would be eight and a relocation.
struct PenTableIndex {
  uint8_t index;
  const PenTableSchema& operator*() const;
};

/// What the structural verifier must know of a field.
struct PenFieldSchema {
  uint8_t slot;
  PenKind kind;
  uint8_t size;   // bytes of a number, or of a vector's element
  uint8_t limit;  // largest known number of an enum, 1 for a truth value, 0 for no limit
  bool required;
  PenTableIndex child;
};

/// Fields of a table: a run of kPenFields.
struct PenFieldRange {
  uint8_t first;
  const PenFieldSchema& operator[](size_t i) const;
};

struct PenTableSchema {
  const char* name;  // null in builds without messages
  PenFieldRange fields;
  uint8_t count;
};

#if PENLIGHT_MESSAGES
#define PENLIGHT_TABLE_NAME(name) name
#else
#define PENLIGHT_TABLE_NAME(name) nullptr
#endif

}  // namespace penlight
