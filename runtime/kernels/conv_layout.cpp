// The phases of a padded image and the offsets of kernel taps in it. SPDX-License-Identifier: Apache-2.0
#include "conv_layout.h"

#include <string.h>

#include "gemm.h"

namespace penlight {

namespace {

bool conv_mul(int64_t a, int64_t b, int64_t* product) { return !__builtin_mul_overflow(a, b, product); }
bool conv_add(int64_t a, int64_t b, int64_t* sum) { return !__builtin_add_overflow(a, b, sum); }

bool conv_reads_in_place(const Conv2d& c) {
  return c.pad_top == 0 && c.pad_left == 0 && c.stride_h == 1 && c.stride_w == 1 &&
         c.out_h - 1 + (c.kernel_h - 1) * c.dilation_h < c.height && c.out_w - 1 + (c.kernel_w - 1) * c.dilation_w < c.width;
}

/// Input row of phase row i, minus i * stride.
void copy_phase_row(const Conv2d& conv, const float* x_row, int64_t phase, int64_t pitch, float* to) {
  int64_t begin, end;
  conv_valid_range(conv.width, conv.stride_w, phase - conv.pad_left, pitch, &begin, &end);
  for (int64_t j = 0; j < begin; ++j) to[j] = 0.0f;
  const float* from = x_row + (phase - conv.pad_left);
  if (conv.stride_w == 1)
    memcpy(to + begin, from + begin, static_cast<size_t>(end - begin) * sizeof(float));
  else if (conv.stride_w == 2)
    every_second_f32(from + begin * 2, to + begin, static_cast<size_t>(end - begin));
  else
    for (int64_t j = begin; j < end; ++j) to[j] = from[j * conv.stride_w];
  for (int64_t j = end; j < pitch; ++j) to[j] = 0.0f;
}

}  // namespace

bool conv_layout(const Conv2d& conv, ConvLayout* layout) {
  ConvLayout l;
  l.group_channels = conv.channels / conv.groups;
  l.group_filters = conv.filters / conv.groups;
  const int64_t reach_h = (conv.kernel_h - 1) * conv.dilation_h, reach_w = (conv.kernel_w - 1) * conv.dilation_w;
  if (!conv_mul(l.group_channels, conv.kernel_h, &l.depth) || !conv_mul(l.depth, conv.kernel_w, &l.depth)) return false;
  l.in_place = conv_reads_in_place(conv);
  l.phases_h = conv_min(conv.stride_h, reach_h + 1);
  l.phases_w = conv_min(conv.stride_w, reach_w + 1);
  l.rows = l.in_place ? conv.height : conv.out_h + reach_h / conv.stride_h;
  l.pitch = l.in_place ? conv.width : conv.out_w + reach_w / conv.stride_w;
  int64_t phases;
  if (!conv_mul(l.phases_h, l.phases_w, &phases) || !conv_mul(l.rows, l.pitch, &l.channel_floats) ||
      !conv_mul(l.channel_floats, phases, &l.channel_floats) || !conv_mul(l.channel_floats, l.group_channels, &l.image_floats) ||
      !conv_add(l.image_floats, 16, &l.image_floats))
    return false;
  if (l.in_place) l.image_floats = 0;
  l.whole_rows = l.pitch != conv.out_w && conv.out_w % gemm_lanes() == 0;
  const int64_t step = l.whole_rows ? conv.out_w : l.pitch;
  l.columns = conv.out_h == 0 || conv.out_w == 0 ? 0 : (conv.out_h - 1) * step + conv.out_w;
  *layout = l;
  return true;
}

void conv_offsets(const Conv2d& conv, const ConvLayout& layout, int64_t* offsets) {
  const int64_t plane = layout.rows * layout.pitch;
  for (int64_t c = 0; c < layout.group_channels; ++c)
    for (int64_t i = 0; i < conv.kernel_h; ++i)
      for (int64_t j = 0; j < conv.kernel_w; ++j) {
        const int64_t h = i * conv.dilation_h, w = j * conv.dilation_w;
        const int64_t phase = (h % conv.stride_h) * layout.phases_w + w % conv.stride_w;
        *offsets++ = c * layout.channel_floats + phase * plane + h / conv.stride_h * layout.pitch + w / conv.stride_w;
      }
}

void conv_copy_channel(const Conv2d& conv, const ConvLayout& layout, const float* x, int64_t channel, float* image) {
  const float* from = x + channel * conv.height * conv.width;
  float* to = image + channel * layout.channel_floats;
  for (int64_t a = 0; a < layout.phases_h; ++a)
    for (int64_t b = 0; b < layout.phases_w; ++b)
      for (int64_t i = 0; i < layout.rows; ++i, to += layout.pitch) {
        const int64_t row = i * conv.stride_h + a - conv.pad_top;
        if (row < 0 || row >= conv.height)
          memset(to, 0, static_cast<size_t>(layout.pitch) * sizeof(float));
        else
          copy_phase_row(conv, from + row * conv.width, b, layout.pitch, to);
      }
  if (channel + 1 == layout.group_channels) memset(to, 0, 16 * sizeof(float));
}

}  // namespace penlight
