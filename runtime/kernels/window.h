// Sliding windows: the attributes that convolutions and pools share, and the sizes that follow. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "isa.h"
#include "kernel.h"

namespace penlight {

constexpr int kWindowRank = 3;  // spatial dimensions

struct Window {
  int rank = 0;
  int64_t kernel[kWindowRank] = {1, 1, 1}, stride[kWindowRank] = {1, 1, 1}, dilation[kWindowRank] = {1, 1, 1};
  int64_t pad_begin[kWindowRank] = {}, pad_end[kWindowRank] = {};
  int64_t in[kWindowRank] = {1, 1, 1}, out[kWindowRank] = {1, 1, 1};
};

/// Reads strides, dilations and pads for the spatial dimensions of `in` (all but the first two); the caller has set window->kernel,
/// or lets kernel_shape be read when `kernel` is null. Every number is at most 2^31 - 1, so that sums of them fit.
Status read_window(Context& context, const Shape& in, const int64_t* kernel, Window* window);
/// Applies auto_pad and sets window->out; `ceil_mode` rounds up and drops a last window that starts in the padding.
Status window_outputs(Context& context, Window* window, bool ceil_mode);

/// (batch, channels, window.out...)
Shape window_output_shape(const Window& window, int64_t batch, int64_t channels);

constexpr uint64_t kCallWork = 64;  // of an image and a group of a convolution, beside its taps

/// Elements of images of `sizes` with borders on both sides.
inline uint64_t padded_elements(const Window& window, int64_t planes, const int64_t* sizes, const int64_t* before,
                                const int64_t* behind) {
  uint64_t count = static_cast<uint64_t>(planes);
  for (int d = 0; d < window.rank; ++d) count = saturating_mul(count, static_cast<uint64_t>(sizes[d] + before[d] + behind[d]));
  return count;
}

/// The taps [begin, end) of a window at output o whose positions lie in [0, in).
PENLIGHT_SHARED void window_taps(const Window& w, int d, int64_t o, int64_t* begin, int64_t* end) {
  const int64_t start = o * w.stride[d] - w.pad_begin[d], step = w.dilation[d];
  *begin = start >= 0 ? 0 : (-start + step - 1) / step;
  *end = start >= w.in[d] ? 0 : (w.in[d] - start + step - 1) / step;
  if (*end > w.kernel[d]) *end = w.kernel[d];
  if (*begin > *end) *begin = *end;
}

/// The window of one output: along each dimension its first position and the taps [begin, end) within the image.
struct WindowPlace {
  int64_t start[kWindowRank] = {}, begin[kWindowRank] = {}, end[kWindowRank] = {1, 1, 1};
  int64_t padded = 1;  // taps within the padded image
};

/// For the output at flat position `output` of window.out.
PENLIGHT_SHARED WindowPlace window_place(const Window& w, int64_t output) {
  WindowPlace place;
  for (int d = w.rank - 1; d >= 0; --d) {
    const int64_t o = output % w.out[d];
    output /= w.out[d];
    place.start[d] = o * w.stride[d] - w.pad_begin[d];
    window_taps(w, d, o, &place.begin[d], &place.end[d]);
    const int64_t room = (w.in[d] + w.pad_end[d] - place.start[d] + w.dilation[d] - 1) / w.dilation[d];
    place.padded *= room < w.kernel[d] ? room : w.kernel[d];
  }
  return place;
}

/// Calls body(flat position in the image, flat number of the tap) for every tap within the image.
template <typename Body>
void window_each_tap(const Window& w, const WindowPlace& place, Body&& body) {
  for (int64_t i = place.begin[0]; i < place.end[0]; ++i)
    for (int64_t j = place.begin[1]; j < place.end[1]; ++j)
      for (int64_t k = place.begin[2]; k < place.end[2]; ++k) {
        const int64_t taps[] = {i, j, k};
        int64_t position = 0, tap = 0;
        for (int d = 0; d < w.rank; ++d) {
          position = position * w.in[d] + place.start[d] + taps[d] * w.dilation[d];
          tap = tap * w.kernel[d] + taps[d];
        }
        body(position, tap);
      }
}

}  // namespace penlight
