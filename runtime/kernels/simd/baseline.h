// Vectors and vector functions of the instruction set "baseline". SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

// clang-format off
#include "simd/baseline_begin.h"
#include "simd/vector.h"
#include "simd/narrow.h"
#include "simd/sums.h"
#include "simd/functions.h"
#include "simd/baseline_end.h"
// clang-format on
