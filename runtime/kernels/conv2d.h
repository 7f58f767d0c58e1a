// Bare two-dimensional convolutions of float images, without im2col. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "parallel.h"
#include "vector_math.h"

namespace penlight {

/// x: (batch, channels, height, width), weight: (filters, channels / groups, kernel_h, kernel_w), y: (batch, filters, out_h,
/// out_w). `verify` of the caller: sizes and steps are positive, out_h and out_w follow from the rest, all products fit in 63 bits.
/// A negative pad leaves out the first rows or columns of x.
struct Conv2d {
  int64_t batch = 0, channels = 0, height = 0, width = 0;
  int64_t filters = 0, groups = 1, kernel_h = 1, kernel_w = 1;
  int64_t stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;
  int64_t out_h = 0, out_w = 0;
  /// Added before the activation: as large as y and apart from it; null: nothing is.
  const float* residual = nullptr;
  Activation activation;
  bool deterministic = false;  // as GemmBlock has it
};

/// Floats of scratch that the forward pass needs on `threads` threads; false when the number does not fit.
bool conv2d_scratch_floats(const Conv2d& conv, size_t threads, int64_t* floats);
/// bias: (filters,) or null.
void conv2d_f32(const Conv2d& conv, const float* x, const float* weight, const float* bias, float* y, float* scratch,
                const Parallel& parallel);

}  // namespace penlight
