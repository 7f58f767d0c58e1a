// Products of 8-bit matrices where the left one holds signed numbers alone: by the instruction that multiplies unsigned bytes by
// signed ones and adds two products in 16 bits. It saturates, but not where both weights together are within 128: weights beyond
// are cut, and what was cut off is multiplied apart. So sums are exact. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "integer_gemm.h"

namespace penlight {

/// Whether this processor has the instruction, the left side is signed without zero points, and the product is large enough.
bool integer_quads_take(const IntegerGemm& gemm);
/// Scratch for these sizes; false when the number does not fit.
bool integer_quads_scratch_bytes(int64_t m, int64_t n, int64_t k, size_t threads, int64_t* bytes);
void integer_quads(const IntegerGemm& gemm, void* scratch, const Parallel& parallel);

}  // namespace penlight
