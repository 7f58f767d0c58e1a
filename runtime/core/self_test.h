// Golden samples: inputs of a file with the outputs that they must give. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/session.h"

namespace penlight {

enum class GoldenSide { kInput, kOutput };

/// Input or output `index` of a sample, in the file's bytes. Indices must be in range.
penlight_tensor golden_tensor(const penlight_program& program, size_t golden, GoldenSide side, size_t index);

/// Compares `count` elements; returns the index of the first that differs by more than atol + rtol * |expected|, or `count`.
/// Integers must be equal; NaN equals NaN. `difference` grows to the largest absolute difference of real numbers.
size_t first_difference(DType dtype, const void* actual, const void* expected, size_t count, double atol, double rtol,
                        double* difference);

/// Runs every golden sample and compares.
Status self_test(const penlight_program& program, penlight_error& error);

}  // namespace penlight
