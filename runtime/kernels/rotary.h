// Bare rotary position embedding of float rows, vectorised for each instruction set. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

namespace penlight {

/// Turns each of `pairs` pairs (a, b) of x by the angle whose cosine and sine are given: y = (a cos - b sin, a sin + b cos). y does
/// not overlap x.
using RotaryRow = void (*)(const float* x, const float* cosines, const float* sines, float* y, int64_t pairs);

struct RotaryTable {
  RotaryRow halves;    // pair i is x[i] and x[pairs + i]
  RotaryRow in_turns;  // pair i is x[2 i] and x[2 i + 1]
};

}  // namespace penlight
