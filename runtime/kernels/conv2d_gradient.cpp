// Gradients of the convolution: products with the weight turned round, and with the image's taps. SPDX-License-Identifier:
// Apache-2.0
#include "conv2d_gradient.h"

#include "conv_layout.h"
#include "gemm.h"

namespace penlight {

namespace {

constexpr int64_t kGradientColumns = 1024;  // outputs of one block
constexpr int64_t kGradientRows = 48;       // taps of one block

/// Blocks of the input gradient: some channels of one image and group.
struct GradientBlocks {
  int64_t taps, channels, channel_blocks, columns, outputs;
};

GradientBlocks gradient_blocks(const Conv2d& conv, const ConvLayout& layout) {
  GradientBlocks b;
  b.taps = conv.kernel_h * conv.kernel_w;
  b.channels = conv_max(1, conv_min(layout.group_channels, kGradientRows / b.taps));
  b.channel_blocks = (layout.group_channels + b.channels - 1) / b.channels;
  b.outputs = conv.out_h * conv.out_w;
  b.columns = conv_min(kGradientColumns, (b.outputs + kPanel - 1) / kPanel * kPanel);
  return b;
}

/// Adds the row of products of tap (i, j), for outputs [first, first + count), to the places it came from.
void add_tap_row(const Conv2d& conv, const float* row, int64_t i, int64_t j, int64_t first, int64_t count, float* dx) {
  const int64_t shift = j * conv.dilation_w - conv.pad_left;
  int64_t begin, end;
  conv_valid_range(conv.width, conv.stride_w, shift, conv.out_w, &begin, &end);
  for (int64_t p = first; p < first + count;) {
    const int64_t oh = p / conv.out_w, ow = p % conv.out_w;
    const int64_t stop = conv_min(conv.out_w, ow + first + count - p);
    const int64_t h = oh * conv.stride_h - conv.pad_top + i * conv.dilation_h;
    if (h >= 0 && h < conv.height) {
      float* to = dx + h * conv.width + shift;
      const float* from = row + (p - first) - ow;
      for (int64_t w = conv_max(begin, ow); w < conv_min(end, stop); ++w) to[w * conv.stride_w] += from[w];
    }
    p += stop - ow;
  }
}

/// Products of `rows` taps (columns of the weight) with outputs [first, first + count) of dy.
void tap_products(const Conv2d& conv, const ConvLayout& layout, const float* dy, const float* weight, int64_t rows, int64_t first,
                  int64_t count, float* products, int64_t products_row, float* panel) {
  const int64_t outputs = conv.out_h * conv.out_w, whole = count / kPanel * kPanel;
  GemmBlock block;
  block.rows = rows;
  block.columns = whole;
  block.depth = layout.group_filters;
  block.a = weight;
  block.a_row = 1;
  block.a_depth = layout.depth;
  block.b = dy + first;
  block.b_depth = outputs;
  block.b_panel = kPanel;
  block.c = products;
  block.c_row = products_row;
  if (whole > 0) gemm_block(block);
  if (whole == count) return;
  gemm_pack(dy, outputs, 1, layout.group_filters, first + whole, count - whole, panel);
  block.columns = count - whole;
  block.b = panel;
  block.b_depth = kPanel;
  block.c += whole;
  gemm_block(block);
}

void input_gradient_block(const Conv2d& conv, const ConvLayout& layout, const GradientBlocks& b, int64_t index, const float* dy,
                          const float* weight, const float* bias, float* dx, float* scratch) {
  const int64_t unit = index / b.channel_blocks, group = unit % conv.groups, channel = index % b.channel_blocks * b.channels;
  const int64_t channels = conv_min(b.channels, layout.group_channels - channel), plane = conv.height * conv.width;
  const float* from = dy + unit * layout.group_filters * b.outputs;
  const float* taps = weight + group * layout.group_filters * layout.depth + channel * b.taps;
  float* to = dx + (unit * layout.group_channels + channel) * plane;
  for (int64_t c = 0; c < channels; ++c) {
    const float start = bias == nullptr ? 0.0f : bias[group * layout.group_channels + channel + c];
    for (int64_t i = 0; i < plane; ++i) to[c * plane + i] = start;
  }
  float* panel = scratch + b.channels * b.taps * b.columns;
  for (int64_t first = 0; first < b.outputs; first += b.columns) {
    const int64_t count = conv_min(b.columns, b.outputs - first);
    tap_products(conv, layout, from, taps, channels * b.taps, first, count, scratch, b.columns, panel);
    for (int64_t row = 0; row < channels * b.taps; ++row) {
      const int64_t tap = row % b.taps;
      add_tap_row(conv, scratch + row * b.columns, tap / conv.kernel_w, tap % conv.kernel_w, first, count,
                  to + row / b.taps * plane);
    }
  }
}

int64_t input_gradient_slot(const ConvLayout& layout, const GradientBlocks& b) {
  return b.channels * b.taps * b.columns + layout.group_filters * kPanel;
}

/// 16 taps of every output as a packed panel: panel[p * 16 + t] = image[offsets[t] + place of p].
void pack_taps(const Conv2d& conv, const ConvLayout& layout, const float* image, const int64_t* offsets, int64_t count,
               float* panel) {
  for (int64_t h = 0; h < conv.out_h; ++h)
    for (int64_t w = 0; w < conv.out_w; ++w, panel += kPanel) {
      const float* from = image + h * layout.pitch + w;
      for (int64_t t = 0; t < count; ++t) panel[t] = from[offsets[t]];
      for (int64_t t = count; t < kPanel; ++t) panel[t] = 0.0f;
    }
}

int64_t gradient_offset_floats(const ConvLayout& layout) { return (layout.depth * 2 + 15) / 16 * 16; }

}  // namespace

bool conv2d_input_gradient_scratch_floats(const Conv2d& conv, size_t threads, int64_t* floats) {
  ConvLayout layout;
  int64_t taps, check;
  if (!conv_layout(conv, &layout) || __builtin_mul_overflow(conv.kernel_h, conv.kernel_w, &taps) ||
      __builtin_mul_overflow(conv_max(taps, kGradientRows), kGradientColumns, &check) ||
      __builtin_mul_overflow(layout.group_filters, kPanel, &check))
    return false;
  const int64_t slot = input_gradient_slot(layout, gradient_blocks(conv, layout));
  return !__builtin_mul_overflow(slot, static_cast<int64_t>(threads > 0 ? threads : 1), floats);
}

void conv2d_input_gradient_f32(const Conv2d& conv, const float* dy, const float* weight, const float* bias, float* dx,
                               float* scratch, const Parallel& parallel) {
  ConvLayout layout;
  if (!conv_layout(conv, &layout)) return;
  const GradientBlocks b = gradient_blocks(conv, layout);
  const int64_t blocks = conv.batch * conv.groups * b.channel_blocks, slot_floats = input_gradient_slot(layout, b);
  parallel_for(parallel, parallel.threads, [&](size_t slot) {
    for (int64_t i = static_cast<int64_t>(slot); i < blocks; i += static_cast<int64_t>(parallel.threads))
      input_gradient_block(conv, layout, b, i, dy, weight, bias, dx, conv_slot(scratch, slot_floats, slot));
  });
}

/// Offsets, the phases of one image and group, then a panel of taps for each thread.
bool conv2d_weight_gradient_scratch_floats(const Conv2d& conv, size_t threads, int64_t* floats) {
  ConvLayout layout;
  int64_t panel;
  return conv_layout(conv, &layout) && !__builtin_mul_overflow(conv.out_h * conv.out_w, kPanel, &panel) &&
         !__builtin_mul_overflow(panel, static_cast<int64_t>(threads > 0 ? threads : 1), floats) &&
         !__builtin_add_overflow(*floats, layout.image_floats, floats) &&
         !__builtin_add_overflow(*floats, gradient_offset_floats(layout), floats);
}

void conv2d_weight_gradient_f32(const Conv2d& conv, const float* x, const float* dy, float* dweight, float* scratch,
                                const Parallel& parallel) {
  ConvLayout layout;
  if (!conv_layout(conv, &layout)) return;
  int64_t* offsets = reinterpret_cast<int64_t*>(scratch);
  conv_offsets(conv, layout, offsets);
  float* image = scratch + gradient_offset_floats(layout);
  float* panels = image + layout.image_floats;
  const int64_t outputs = conv.out_h * conv.out_w, tap_panels = (layout.depth + kPanel - 1) / kPanel;
  const int64_t weight_floats = conv.filters * layout.depth;
  for (int64_t i = 0; i < weight_floats; ++i) dweight[i] = 0.0f;
  for (int64_t unit = 0; unit < conv.batch * conv.groups; ++unit) {
    const float* from = x + unit * layout.group_channels * conv.height * conv.width;
    if (!layout.in_place)
      parallel_ranges(parallel, static_cast<size_t>(layout.group_channels),
                      static_cast<size_t>(32768 / (layout.channel_floats + 1) + 1), [&](size_t begin, size_t end) {
                        for (size_t c = begin; c < end; ++c) conv_copy_channel(conv, layout, from, static_cast<int64_t>(c), image);
                      });
    parallel_for(parallel, parallel.threads, [&](size_t slot) {
      float* panel = conv_slot(panels, outputs * kPanel, slot);
      for (int64_t p = static_cast<int64_t>(slot); p < tap_panels; p += static_cast<int64_t>(parallel.threads)) {
        const int64_t count = conv_min(kPanel, layout.depth - p * kPanel);
        pack_taps(conv, layout, layout.in_place ? from : image, offsets + p * kPanel, count, panel);
        GemmBlock block;
        block.rows = layout.group_filters;
        block.columns = count;
        block.depth = outputs;
        block.a = dy + unit * layout.group_filters * outputs;
        block.a_row = outputs;
        block.b = panel;
        block.c = dweight + unit % conv.groups * layout.group_filters * layout.depth + p * kPanel;
        block.c_row = layout.depth;
        block.accumulate = true;
        gemm_block(block);
      }
    });
  }
}

}  // namespace penlight
