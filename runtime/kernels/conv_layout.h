// How a convolution reads its image as the right side of a matrix product without copying patches. SPDX-License-Identifier:
// Apache-2.0
#pragma once

#include "conv2d.h"

namespace penlight {

/// A convolution of step (s_h, s_w) reads, for kernel tap (i, j), rows i * dilation_h + s_h * oh and columns likewise. Split the
/// padded image into its s_h x s_w phases (rows and columns with one remainder); then output (oh, ow) finds tap (i, j) at a fixed
/// offset from oh * pitch + ow. So the image itself is the matrix (taps x outputs), one offset for each row, if the outputs are
/// laid out with the pitch of the image; the pitch - out_w columns between two output rows are computed in vain and dropped.
struct ConvLayout {
  int64_t depth = 0;  // taps of one group: channels / groups * kernel_h * kernel_w
  int64_t group_channels = 0, group_filters = 0;
  bool in_place = false;  // no padding, steps of 1: x is read where it lies
  int64_t phases_h = 1, phases_w = 1, rows = 0, pitch = 0;
  int64_t channel_floats = 0;  // of the phases of one channel
  int64_t image_floats = 0;    // of one group, 0 when in place; 16 more than are used, for whole vectors at the end
  /// Output rows are whole vectors: they are read one by one, and nothing is computed in vain.
  bool whole_rows = false;
  int64_t columns = 0;  // outputs, or where rows are not whole, (out_h - 1) * pitch + out_w
};

/// False when a size does not fit in 63 bits.
bool conv_layout(const Conv2d& conv, ConvLayout* layout);
/// offsets[k] of tap k = (channel, i, j), for all layout.depth taps.
void conv_offsets(const Conv2d& conv, const ConvLayout& layout, int64_t* offsets);
/// Copies channel `channel` of a group, whose first channel is x, into the phases at `image`.
void conv_copy_channel(const Conv2d& conv, const ConvLayout& layout, const float* x, int64_t channel, float* image);

inline int64_t conv_min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t conv_max(int64_t a, int64_t b) { return a > b ? a : b; }

/// Outputs `o` in [begin, end) whose input position o * stride + shift lies in [0, size).
inline void conv_valid_range(int64_t size, int64_t stride, int64_t shift, int64_t count, int64_t* begin, int64_t* end) {
  *begin = shift >= 0 ? 0 : conv_min(count, (-shift + stride - 1) / stride);
  *end = shift >= size ? 0 : conv_min(count, (size - shift + stride - 1) / stride);
  if (*end < *begin) *end = *begin;
}

/// Rows of a float buffer that each of `threads` workers owns, and the part of worker `slot`.
inline float* conv_slot(float* scratch, int64_t floats, size_t slot) { return scratch + static_cast<int64_t>(slot) * floats; }

}  // namespace penlight
