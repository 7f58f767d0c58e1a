// Sliding windows: the attributes that convolutions and pools share, and the sizes that follow. SPDX-License-Identifier: Apache-2.0
#pragma once

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

/// The taps [begin, end) of a window at output o whose positions lie in [0, in).
inline void window_taps(const Window& w, int d, int64_t o, int64_t* begin, int64_t* end) {
  const int64_t start = o * w.stride[d] - w.pad_begin[d], step = w.dilation[d];
  *begin = start >= 0 ? 0 : (-start + step - 1) / step;
  *end = start >= w.in[d] ? 0 : (w.in[d] - start + step - 1) / step;
  if (*end > w.kernel[d]) *end = w.kernel[d];
  if (*begin > *end) *begin = *end;
}

}  // namespace penlight
