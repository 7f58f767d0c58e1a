// Bare convolutions of 8-bit images, exact in 32 bits. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "integer_gemm.h"
#include "window.h"

namespace penlight {

/// One or two spatial dimensions. The padding counts as the zero point of x.
struct IntegerConv2d {
  Window window;
  int64_t batch = 0, channels = 0, filters = 0, groups = 1;
  ByteMatrix x, w;  // the zero points of w belong to filters
  /// Takes the sums of outputs [first, first + count) of plane image * filters + filter; called from several threads.
  void (*finish)(const void* target, int64_t plane, int64_t first, int64_t count, int32_t* sums) = nullptr;
  const void* target = nullptr;
};

/// Scratch for these sizes; false when the number does not fit.
bool integer_conv2d_scratch_bytes(const IntegerConv2d& conv, size_t threads, int64_t* bytes);
/// There must be outputs.
void integer_conv2d(const IntegerConv2d& conv, void* scratch, const Parallel& parallel);

}  // namespace penlight
