// Copies between two strided views of one shape: transposes, slices, repeats and interleavings. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernel.h"
#include "parallel.h"

namespace penlight {

constexpr int kStridedRank = 2 * kMaxRank;

/// Element i of the view is at sum(i[d] * stride[d]) elements from the start; strides may be 0 (source) or negative.
struct StridedCopy {
  int rank = 0;
  int64_t dims[kStridedRank] = {};
  int64_t to[kStridedRank] = {}, from[kStridedRank] = {};
};

/// Adds a dimension inside of those that are there; sizes of 1 vanish and dimensions that run on are merged.
void strided_dimension(StridedCopy* copy, int64_t size, int64_t to, int64_t from);
/// Copies elements of `size` bytes (1, 2, 4 or 8). The views must not overlap.
void strided_copy(const StridedCopy& copy, const void* from, void* to, size_t size, const Parallel& parallel);

}  // namespace penlight
