// Bare convolutions of each channel with a filter of its own, and their gradients. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "conv2d.h"

namespace penlight {

/// Channels lie side by side as the lanes of vectors, so that planes of any size and borders cost no more than their elements.
/// True for as many groups as channels and filters, and images of a moderate size.
bool is_depthwise2d(const Conv2d& conv);

/// Floats of scratch for each of the functions below on `threads` threads.
int64_t depthwise2d_scratch_floats(const Conv2d& conv, size_t threads);
void depthwise2d_f32(const Conv2d& conv, const float* x, const float* weight, const float* bias, float* y, float* scratch,
                     const Parallel& parallel);
/// dx is overwritten.
void depthwise2d_input_gradient_f32(const Conv2d& conv, const float* dy, const float* weight, const float* bias, float* dx,
                                    float* scratch, const Parallel& parallel);
/// dweight is overwritten; summed over the batch in its order.
void depthwise2d_weight_gradient_f32(const Conv2d& conv, const float* x, const float* dy, float* dweight, float* scratch,
                                     const Parallel& parallel);

/// to[i * gemm_lanes() + k] = from[k * plane + i] for as many planes and i < count; whole vectors are read up to `end`.
void planes_to_lanes_f32(const float* from, int64_t plane, int64_t count, const float* end, float* to);

/// One image of `lanes` channels: output (h, w) reads, for each tap, image[h * step_h + w * step_w + offsets[tap]] and lanes on.
struct DepthwiseImage {
  int64_t out_h, out_w, step_h, step_w, taps;
  const int64_t* offsets;
  float low, high;
};

/// Vectors of `lanes` floats: weight and dweight (taps), bias one, y and dy (out_h, out_w).
struct DepthwiseTable {
  int64_t lanes;
  void (*planes_to_lanes)(const float* from, int64_t plane, int64_t count, const float* end, float* to);
  void (*lanes_to_planes)(const float* from, int64_t plane, int64_t count, float* to);
  void (*forward)(const DepthwiseImage& d, const float* image, const float* weight, const float* bias, float* y);
  void (*input_gradient)(const DepthwiseImage& d, const float* dy, const float* weight, float* image);    // adds
  void (*weight_gradient)(const DepthwiseImage& d, const float* image, const float* dy, float* dweight);  // adds
};

}  // namespace penlight
