// Where every output position of Resize reads along one dimension, and with which weights. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernel.h"

namespace penlight {

enum class ResizeMode : int { kNearest, kLinear, kCubic };
enum class ResizeCoordinates : int {
  kHalfPixel,
  kPytorchHalfPixel,
  kAlignCorners,
  kAsymmetric,
  kHalfPixelSymmetric,
  kCropAndResize
};
enum class ResizeRounding : int { kPreferFloor, kPreferCeil, kFloor, kCeil };

struct ResizeState {
  ResizeMode mode = ResizeMode::kNearest;
  ResizeCoordinates coordinates = ResizeCoordinates::kHalfPixel;
  ResizeRounding rounding = ResizeRounding::kPreferFloor;
  bool antialias = false, exclude_outside = false;
  double cubic = -0.75, extrapolation = 0;
  double scales[kMaxRank] = {};
  int64_t taps[kMaxRank] = {};   // of each output position along a dimension
  int64_t table[kMaxRank] = {};  // where a dimension's taps begin
  int roi_place[kMaxRank] = {};  // entry of the region of interest; -1: the dimension is not named
  int roi_count = 0;
};

/// One element that an output position reads. The index of the first tap is -1 where the region lies outside of the input.
struct ResizeTap {
  int64_t index;
  double weight;
};

/// One dimension: its sizes and, for tf_crop_and_resize, the part of it that is resized.
struct ResizeLine {
  int64_t in, out;
  double scale, begin, end;
};

/// Number of taps along a line; 0 when there would be too many.
int64_t resize_tap_count(const ResizeState& state, const ResizeLine& line);
/// Fills the taps of output position `o`.
void resize_taps(const ResizeState& state, const ResizeLine& line, int64_t o, int64_t count, ResizeTap* taps);

}  // namespace penlight
