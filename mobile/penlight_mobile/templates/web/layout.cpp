// Checks while compiling that penlight.js knows the structs' layout. SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include "penlight.h"

#define PENLIGHT_AT(type, field, offset) static_assert(offsetof(type, field) == offset, #type "." #field)

PENLIGHT_AT(penlight_error, message, 4);
PENLIGHT_AT(penlight_tensor, size_bytes, 4);
PENLIGHT_AT(penlight_tensor, dtype, 8);
PENLIGHT_AT(penlight_tensor, rank, 12);
PENLIGHT_AT(penlight_tensor, shape, 16);
PENLIGHT_AT(penlight_tensor_info, dtype, 4);
PENLIGHT_AT(penlight_tensor_info, rank, 8);
PENLIGHT_AT(penlight_tensor_info, shape, 16);
PENLIGHT_AT(penlight_tensor_info, symbols, 80);
PENLIGHT_AT(penlight_session_options, mac_budget, 16);

// Of the options, struct_size says how much penlight.js knows.
static_assert(sizeof(penlight_error) == 512 && sizeof(penlight_tensor) == 80 && sizeof(penlight_tensor_info) == 112,
              "sizes in penlight.js");
