// Positions and weights of Resize. SPDX-License-Identifier: Apache-2.0
#include "resize_taps.h"

#include <math.h>

namespace penlight {

namespace {

bool resize_keeps(const ResizeState& s, const ResizeLine& line) {
  return line.in == line.out && line.scale == 1.0 && s.coordinates != ResizeCoordinates::kCropAndResize;
}

/// The position in the input that output position o means.
double resize_position(const ResizeState& s, const ResizeLine& line, int64_t o) {
  const double x = static_cast<double>(o), in = static_cast<double>(line.in), out = line.scale * in;
  switch (s.coordinates) {
    case ResizeCoordinates::kHalfPixel:
      break;
    case ResizeCoordinates::kPytorchHalfPixel:
      if (out == 1.0) return 0.0;
      break;
    case ResizeCoordinates::kAlignCorners:
      // The whole size, as onnxruntime has it; ONNX's reference takes the fractional one.
      return line.out == 1 ? 0.0 : x * (in - 1.0) / static_cast<double>(line.out - 1);
    case ResizeCoordinates::kAsymmetric:
      return x / line.scale;
    case ResizeCoordinates::kHalfPixelSymmetric:
      return in / 2.0 * (1.0 - static_cast<double>(line.out) / out) + (x + 0.5) / line.scale - 0.5;
    case ResizeCoordinates::kCropAndResize: {
      const double span = (line.end - line.begin) * (in - 1.0);
      return line.begin * (in - 1.0) + (out == 1.0 ? span / 2.0 : x * span / (out - 1.0));
    }
  }
  return (x + 0.5) / line.scale - 0.5;
}

int64_t clamp_position(double position, int64_t in) {
  if (!(position > 0.0)) return 0;
  return position >= static_cast<double>(in - 1) ? in - 1 : static_cast<int64_t>(position);
}

double resize_round(ResizeRounding rounding, double x) {
  switch (rounding) {
    case ResizeRounding::kPreferFloor:
      return ceil(x - 0.5);
    case ResizeRounding::kPreferCeil:
      return floor(x + 0.5);
    case ResizeRounding::kFloor:
      return floor(x);
    case ResizeRounding::kCeil:
      return ceil(x);
  }
  return x;
}

/// Half the width of the weight function, in input elements.
double resize_support(const ResizeState& s) { return s.mode == ResizeMode::kCubic ? 2.0 : 1.0; }

/// Weight of an element `distance` away: a triangle, or Keys' cubic (https://ieeexplore.ieee.org/document/1163711).
double resize_weight(const ResizeState& s, double distance) {
  const double x = fabs(distance), a = s.cubic;
  if (s.mode == ResizeMode::kLinear) return x < 1.0 ? 1.0 - x : 0.0;
  if (x <= 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  return x < 2.0 ? ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a : 0.0;
}

/// Anti-aliasing widens the weights when the output is the smaller one.
double resize_width(const ResizeState& s, const ResizeLine& line) { return s.antialias && line.scale < 1.0 ? line.scale : 1.0; }

}  // namespace

int64_t resize_tap_count(const ResizeState& s, const ResizeLine& line) {
  if (s.mode == ResizeMode::kNearest || resize_keeps(s, line)) return 1;
  const double reach = ceil(resize_support(s) / resize_width(s, line));
  return reach < 1.0e9 ? 2 * static_cast<int64_t>(reach) : 0;
}

void resize_taps(const ResizeState& s, const ResizeLine& line, int64_t o, int64_t count, ResizeTap* taps) {
  if (resize_keeps(s, line)) {
    taps[0] = {o, 1.0};
    return;
  }
  const double position = resize_position(s, line, o), last = static_cast<double>(line.in - 1);
  const bool outside = s.coordinates == ResizeCoordinates::kCropAndResize && !(position >= 0.0 && position <= last);
  if (s.mode == ResizeMode::kNearest) {
    taps[0] = {clamp_position(resize_round(s.rounding, position), line.in), 1.0};
  } else {
    const double whole = floor(position), width = resize_width(s, line);
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double at = whole + static_cast<double>(i + 1 - count / 2);
      const bool drop = s.exclude_outside && (at < 0.0 || at > last);
      taps[i] = {clamp_position(at, line.in), drop ? 0.0 : resize_weight(s, (at - position) * width)};
      sum += taps[i].weight;
    }
    for (int64_t i = 0; i < count && sum != 0.0; ++i) taps[i].weight /= sum;
  }
  if (outside) taps[0].index = -1;
}

}  // namespace penlight
