// Bare two-dimensional pooling of float planes. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "parallel.h"

namespace penlight {

/// `planes` images of (height, width) become (out_h, out_w). Positions outside of the image never win and are never summed.
struct Pool2d {
  int64_t planes = 0, height = 0, width = 0;
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  int64_t out_h = 0, out_w = 0;
  bool count_include_pad = false;  // the mean divides by the window's size within the padded image
};

/// Floats of scratch on `threads` threads; false when the number does not fit.
bool pool2d_scratch_floats(const Pool2d& pool, size_t threads, int64_t* floats);
void max_pool2d_f32(const Pool2d& pool, const float* x, float* y, float* scratch, const Parallel& parallel);
void average_pool2d_f32(const Pool2d& pool, const float* x, float* y, float* scratch, const Parallel& parallel);

/// Outputs of windows that lie within a row of `width`: y[i] from row[i * stride + j * dilation], stride 1 or 2. Returns how many
/// it did.
using PoolRow = int64_t (*)(const float* row, int64_t width, int64_t kernel, int64_t stride, int64_t dilation, float scale,
                            float* y, int64_t count);

struct PoolTable {
  PoolRow maximum, mean;
};

}  // namespace penlight
