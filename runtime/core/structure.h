// Structural verification: every table, vector and string that the schema can reach lies in the buffer. SPDX-License-Identifier:
// Apache-2.0
#pragma once

#include "core/flatbuffer.h"
#include "core/message.h"

namespace penlight {

/// Walks everything below the root table. Time is linear in the metadata's size: a file whose tables are shared so much that the
/// walk would take longer is refused. Also refuses enum numbers that this runtime does not know, strings that hold NUL, and
/// required fields that are absent.
Status verify_structure(const FlatBytes& bytes, FlatTable root, penlight_error& error);

}  // namespace penlight
