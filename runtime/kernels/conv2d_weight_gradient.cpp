// The gradient for the weight: dot products of rows of dy with what each tap reads of x. SPDX-License-Identifier: Apache-2.0
#include "conv2d_weight_gradient.h"

#include <string.h>

#include "conv_layout.h"
#include "depthwise2d.h"
#include "gemm.h"

namespace penlight {

namespace {

constexpr int64_t kDotPlaces = 1024;       // places of a dot product, so that the rows of a tile stay in the first cache
constexpr int64_t kImageFloats = 1 << 16;  // copies of x at a time, so that they stay in the second
constexpr int64_t kFewChannels = 8;        // below, threads share filters, not channels

/// How dy and x lie for the dot products, and how the work is cut. Every weight is summed in the same order whatever the cut.
struct DotPlan {
  ConvLayout layout;
  bool reads_x, reads_dy;            // where they lie, else from copies
  int64_t runs, run_floats;          // of an image; whole vectors
  int64_t dy_run, x_run;             // from one run to the next
  int64_t group_images;              // images that are summed at once
  int64_t chunk_runs;                // runs that are
  int64_t channels, channel_blocks;  // of a group and item
  int64_t filters, filter_blocks;
  int64_t offset_floats, dy_floats, slot_floats;
};

bool dot_plan(const Conv2d& c, size_t threads, DotPlan* plan) {
  DotPlan p = {};
  if (!conv_layout(c, &p.layout)) return false;
  const ConvLayout& l = p.layout;
  const int64_t outputs = c.out_h * c.out_w, lanes = gemm_lanes(), workers = threads > 0 ? static_cast<int64_t>(threads) : 1;
  const bool is_flat = l.pitch == c.out_w && outputs % lanes == 0;
  p.reads_dy = is_flat || l.whole_rows;
  p.reads_x = p.reads_dy && l.in_place;
  p.runs = l.whole_rows ? c.out_h : 1;
  p.run_floats = l.whole_rows ? c.out_w : (l.columns + lanes - 1) / lanes * lanes;
  p.dy_run = p.run_floats;
  p.x_run = l.whole_rows ? l.pitch : 0;
  p.group_images = conv_max(1, conv_min(c.batch, kDotPlaces / conv_max(1, p.runs * p.run_floats)));
  p.chunk_runs = conv_max(1, conv_min(p.runs, kDotPlaces / conv_max(1, p.run_floats)));
  const int64_t copied = p.group_images * l.channel_floats;
  int64_t wanted = l.group_channels < kFewChannels ? 1 : (workers + c.groups - 1) / c.groups;
  if (!p.reads_x) wanted = conv_max(wanted, (l.group_channels * copied + kImageFloats - 1) / kImageFloats);
  wanted = conv_max(1, conv_min(wanted, l.group_channels));
  p.channels = conv_max(1, (l.group_channels + wanted - 1) / wanted);
  p.channel_blocks = (l.group_channels + p.channels - 1) / p.channels;
  const int64_t items = c.groups * p.channel_blocks, shares = items >= workers ? 1 : (workers + items - 1) / conv_max(1, items);
  p.filters = conv_max(1, (l.group_filters + shares - 1) / shares);
  p.filter_blocks = (l.group_filters + p.filters - 1) / p.filters;
  p.offset_floats = (l.depth * 2 + 15) / 16 * 16;
  p.dy_floats = p.reads_dy ? 0 : kDotRows * p.group_images * p.run_floats;
  const int64_t x_floats = p.reads_x ? 0 : p.channels * copied + 16 + lanes;
  p.slot_floats = (p.dy_floats + x_floats + 15) / 16 * 16;
  *plan = p;
  return true;
}

/// Rows of dy with the pitch of the image and zeros between its rows and at the end.
void copy_dy(const Conv2d& c, const DotPlan& p, const float* dy, int64_t rows, int64_t images, int64_t image_step, float* to) {
  const int64_t pitch = p.layout.pitch, width = pitch == c.out_w ? c.out_h * c.out_w : c.out_w;
  memset(to, 0, static_cast<size_t>(rows * images * p.run_floats) * sizeof(float));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t n = 0; n < images; ++n, to += p.run_floats) {
      const float* from = dy + n * image_step + r * c.out_h * c.out_w;
      for (int64_t at = 0, i = 0; i < c.out_h * c.out_w; i += width, at += pitch)
        memcpy(to + at, from + i, static_cast<size_t>(width) * sizeof(float));
    }
}

/// Adds what `images` images contribute to `channels` channels and `filters` filters of a group, which x, dy and dweight point at.
struct DotItem {
  const Conv2d* conv;
  const DotPlan* plan;
  const int64_t* offsets;
  int64_t channels, filters;
  float* dweight;
};

void add_images(const DotItem& item, const float* x, const float* dy, int64_t images, float* scratch) {
  const Conv2d& c = *item.conv;
  const DotPlan& p = *item.plan;
  const int64_t outputs = c.out_h * c.out_w, dy_image = c.filters * outputs, taps = c.kernel_h * c.kernel_w;
  float* image = scratch + p.dy_floats;
  ConvLayout copied = p.layout;
  copied.group_channels = item.channels;
  if (!p.reads_x)
    for (int64_t n = 0; n < images; ++n)
      for (int64_t k = 0; k < item.channels; ++k)
        conv_copy_channel(c, copied, x + n * c.channels * c.height * c.width, k,
                          image + n * item.channels * p.layout.channel_floats);
  DotBlock block;
  block.columns = item.channels * taps;
  block.images = images;
  block.run_floats = p.run_floats;
  block.a_run = p.dy_run;
  block.offsets = item.offsets;
  block.b_image = p.reads_x ? c.channels * c.height * c.width : item.channels * p.layout.channel_floats;
  block.b_run = p.x_run;
  block.c_row = p.layout.depth;
  for (int64_t run = 0; run < p.runs; run += p.chunk_runs)
    for (int64_t f = 0; f < item.filters; f += kDotRows) {
      block.rows = conv_min(kDotRows, item.filters - f);
      block.runs = conv_min(p.chunk_runs, p.runs - run);
      block.a = dy + f * outputs + run * p.dy_run;
      block.a_row = outputs;
      block.a_image = dy_image;
      if (!p.reads_dy) {
        copy_dy(c, p, dy + f * outputs, block.rows, images, dy_image, scratch);
        block.a = scratch;
        block.a_row = images * p.run_floats;
        block.a_image = p.run_floats;
      }
      block.b = (p.reads_x ? x : image) + run * p.x_run;
      block.c = item.dweight + f * p.layout.depth;
      dot_block(block);
    }
}

}  // namespace

/// Offsets, then for each thread: copies of rows of dy and of channels of x.
bool conv2d_weight_gradient_scratch_floats(const Conv2d& conv, size_t threads, int64_t* floats) {
  if (is_depthwise2d(conv)) {
    *floats = depthwise2d_scratch_floats(conv, threads);
    return true;
  }
  DotPlan p;
  return dot_plan(conv, threads, &p) &&
         !__builtin_mul_overflow(p.slot_floats, static_cast<int64_t>(threads > 0 ? threads : 1), floats) &&
         !__builtin_add_overflow(*floats, p.offset_floats, floats);
}

void conv2d_weight_gradient_f32(const Conv2d& conv, const float* x, const float* dy, float* dweight, float* scratch,
                                const Parallel& parallel) {
  if (is_depthwise2d(conv)) {
    depthwise2d_weight_gradient_f32(conv, x, dy, dweight, scratch, parallel);
    return;
  }
  DotPlan p;
  if (!dot_plan(conv, parallel.threads, &p)) return;
  const ConvLayout& l = p.layout;
  int64_t* offsets = reinterpret_cast<int64_t*>(scratch);
  conv_offsets(conv, l, offsets);
  memset(dweight, 0, static_cast<size_t>(conv.filters * l.depth) * sizeof(float));
  if (l.columns == 0 || l.depth == 0) return;
  const int64_t outputs = conv.out_h * conv.out_w, plane = conv.height * conv.width, taps = conv.kernel_h * conv.kernel_w;
  const int64_t items = conv.groups * p.channel_blocks * p.filter_blocks;
  parallel_for(parallel, parallel.threads, [&](size_t slot) {
    float* mine = conv_slot(scratch + p.offset_floats, p.slot_floats, slot);
    for (int64_t i = static_cast<int64_t>(slot); i < items; i += static_cast<int64_t>(parallel.threads)) {
      const int64_t group = i / (p.channel_blocks * p.filter_blocks), first_filter = i % p.filter_blocks * p.filters;
      const int64_t first_channel = i / p.filter_blocks % p.channel_blocks * p.channels;
      const int64_t filter = group * l.group_filters + first_filter;
      DotItem item = {&conv,
                      &p,
                      offsets,
                      conv_min(p.channels, l.group_channels - first_channel),
                      conv_min(p.filters, l.group_filters - first_filter),
                      dweight + filter * l.depth + first_channel * taps};
      const float* from = x + (group * l.group_channels + first_channel) * plane;
      for (int64_t n = 0; n < conv.batch; n += p.group_images)
        add_images(item, from + n * conv.channels * plane, dy + (n * conv.filters + filter) * outputs,
                   conv_min(p.group_images, conv.batch - n), mine);
    }
  });
}

}  // namespace penlight
