// Typed names of the fields in schema/pen.fbs, filled in by schema/generated/pen_fields.h. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

namespace penlight {

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

/// What the structural verifier must know of a field. The one at index i of its table has the slot pen_slot(i).
struct PenFieldSchema {
  PenKind kind : 7;
  bool required : 1;
  uint8_t size;  // bytes of a number, or of a vector's element
  uint8_t
      limit;  // largest known number of an enum, 1 for a truth value; binary logarithm of a vector's most entries; 0 for no limit
  uint8_t child;  // the table's place in kPenTables
};

constexpr uint32_t pen_slot(size_t index) { return static_cast<uint32_t>(4 + 2 * index); }

/// A run of kPenFields.
struct PenTableSchema {
  uint8_t first;
  uint8_t count;
};

}  // namespace penlight
