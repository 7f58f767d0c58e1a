// The forward convolution: blocks of outputs as matrix products straight from the image. SPDX-License-Identifier: Apache-2.0
#include "conv2d.h"

#include <string.h>

#include "conv_layout.h"
#include "depthwise2d.h"
#include "gemm.h"

namespace penlight {

namespace {

constexpr int64_t kConvFilters = 48;  // filters of one block: with kConvColumns outputs its sums stay in the second cache
constexpr int64_t kConvColumns = 256;
constexpr int64_t kConvRowColumns = 4096;  // columns of a block of one filter
constexpr int64_t kConvFewColumns = 2;     // at the end, which are not worth a tile

struct ConvBlocks {
  int64_t filters, columns;  // of a block
  int64_t filter_blocks, column_blocks;
  int64_t sums_floats;  // results of a block before the columns in vain are dropped; 0 when none are
  int64_t tail_floats;  // the last columns, packed, when whole vectors would run over the end of x
};

ConvBlocks conv_blocks(const Conv2d& conv, const ConvLayout& layout) {
  ConvBlocks blocks;
  blocks.filters = conv_min(kConvFilters, layout.group_filters);
  blocks.columns = blocks.filters == 1 ? kConvRowColumns : kConvColumns;
  if (layout.whole_rows) blocks.columns = conv_max(1, blocks.columns / conv.out_w) * conv.out_w;
  blocks.filter_blocks = (layout.group_filters + blocks.filters - 1) / conv_max(1, blocks.filters);
  blocks.column_blocks = (layout.columns + blocks.columns - 1) / blocks.columns;
  const int64_t widest = conv_min(blocks.columns, (layout.columns + kPanel - 1) / kPanel * kPanel);
  blocks.sums_floats = layout.pitch == conv.out_w || layout.whole_rows ? 0 : blocks.filters * widest;
  blocks.tail_floats = layout.in_place && !layout.whole_rows && layout.columns % kPanel != 0 ? layout.depth * kPanel : 0;
  return blocks;
}

/// What the blocks of one image and group share.
struct ConvUnit {
  const Conv2d* conv;
  const ConvLayout* layout;
  const ConvBlocks* blocks;
  const int64_t* offsets;
  const float* image;   // the phases, or x
  const float* weight;  // of the group
  const float* bias;
  const float* residual;
  float* y;
};

/// Calls visit(place in y, place in the sums, how many) for each run of outputs among flat columns [first, first + count) of `rows`
/// filters; between output rows the sums have columns in vain.
template <typename Visit>
void conv_each_run(const ConvUnit& unit, int64_t sums_row, int64_t first, int64_t count, int64_t filter, int64_t rows,
                   Visit&& visit) {
  const int64_t pitch = unit.blocks->sums_floats > 0 ? unit.layout->pitch : unit.conv->out_w;
  const int64_t width = unit.conv->out_w, plane = unit.conv->out_h * width;
  for (int64_t f = 0; f < rows; ++f)
    for (int64_t q = first; q < first + count;) {
      const int64_t h = q / pitch, w = q % pitch;
      const int64_t n = conv_min(width, w + first + count - q) - w;
      if (n > 0) visit((filter + f) * plane + h * width + w, f * sums_row + (q - first), static_cast<size_t>(n) * sizeof(float));
      q += pitch - w;
    }
}

/// The last columns of an image that is read in place: whole vectors would run over its end.
void conv_pack_tail(const ConvUnit& unit, int64_t first, int64_t count, float* panel) {
  for (int64_t k = 0; k < unit.layout->depth; ++k, panel += kPanel) {
    const float* from = unit.image + unit.offsets[k] + first;
    for (int64_t x = 0; x < kPanel; ++x) panel[x] = x < count ? from[x] : 0.0f;
  }
}

/// One or two last columns as rows of a product with the filters, which are contiguous: `part` is the block that has them.
void conv_few_columns(const ConvUnit& unit, GemmBlock part, int64_t first, float* scratch) {
  const int64_t depth = unit.layout->depth;
  float *rows = scratch, *sums = scratch + part.columns * depth;
  Gemm gemm;
  gemm.m = part.columns;
  gemm.n = part.rows;
  gemm.k = depth;
  gemm.a = rows;
  gemm.a_row = depth;
  gemm.b = part.a;
  gemm.b_depth = 1;
  gemm.b_column = depth;
  gemm.c = sums;
  gemm.c_row = part.rows;
  gemm.bias = part.bias;
  gemm.bias_column = 1;
  gemm.accumulate = part.accumulate;
  gemm.activation = part.activation;
  for (int64_t x = 0; x < part.columns; ++x) {
    for (int64_t k = 0; k < depth; ++k) rows[x * depth + k] = unit.image[unit.offsets[k] + first + x];
    for (int64_t i = 0; i < part.rows && part.accumulate; ++i) sums[x * part.rows + i] = part.c[i * part.c_row + x];
  }
  gemm_f32(gemm, nullptr, Parallel{});
  for (int64_t x = 0; x < part.columns; ++x)
    for (int64_t i = 0; i < part.rows; ++i) part.c[i * part.c_row + x] = sums[x * part.rows + i];
}

/// The columns of `block` from `first` on.
void conv_tail(const ConvUnit& unit, GemmBlock block, int64_t first, float* scratch) {
  if (block.columns <= kConvFewColumns && block.depth >= kConvFilters && !block.deterministic) {
    conv_few_columns(unit, block, first, scratch);
    return;
  }
  conv_pack_tail(unit, first, block.columns, scratch);
  block.b = scratch;
  block.offsets = nullptr;
  gemm_block(block);
}

void conv_block(const ConvUnit& unit, int64_t index, float* scratch) {
  const ConvLayout& layout = *unit.layout;
  const ConvBlocks& blocks = *unit.blocks;
  const int64_t filter = index % blocks.filter_blocks * blocks.filters, first = index / blocks.filter_blocks * blocks.columns;
  const int64_t count = conv_min(blocks.columns, layout.columns - first);
  GemmBlock block;
  block.rows = conv_min(blocks.filters, layout.group_filters - filter);
  block.depth = layout.depth;
  block.a = unit.weight + filter * layout.depth;
  block.a_row = layout.depth;
  block.b_panel = kPanel;
  block.c = blocks.sums_floats > 0 ? scratch : unit.y + filter * layout.columns + first;
  block.c_row = blocks.sums_floats > 0 ? blocks.sums_floats / blocks.filters : layout.columns;
  block.bias = unit.bias == nullptr ? nullptr : unit.bias + filter;
  block.bias_row = 1;
  block.activation = unit.conv->activation;
  block.deterministic = unit.conv->deterministic;
  const int64_t tail = blocks.tail_floats > 0 && first + count == layout.columns ? count % kPanel : 0;
  block.columns = count - tail;
  block.b = unit.image + first;
  if (layout.whole_rows) {
    block.b = unit.image + first / unit.conv->out_w * layout.pitch;
    block.b_width = unit.conv->out_w;
    block.b_panel = layout.pitch;
  }
  block.offsets = unit.offsets;
  block.accumulate = unit.residual != nullptr;
  if (block.accumulate)  // the sums start from it
    conv_each_run(unit, block.c_row, first, count, filter, block.rows, [&](int64_t output, int64_t sum, size_t bytes) {
      memcpy((blocks.sums_floats > 0 ? scratch + sum : unit.y + output), unit.residual + output, bytes);
    });
  if (block.columns > 0) gemm_block(block);
  if (tail > 0) {
    const int64_t place = first + block.columns;
    block.c += block.columns;
    block.columns = tail;
    conv_tail(unit, block, place, scratch + blocks.sums_floats);
  }
  if (blocks.sums_floats > 0)
    conv_each_run(unit, block.c_row, first, count, filter, block.rows,
                  [&](int64_t output, int64_t sum, size_t bytes) { memcpy(unit.y + output, scratch + sum, bytes); });
}

/// One image and group: the copy into phases, then the blocks, on as many threads as `parallel` has.
void conv_unit(const ConvUnit& shared, const float* x, float* image, float* scratch, int64_t slot_floats,
               const Parallel& parallel) {
  ConvUnit unit = shared;
  const ConvLayout& layout = *unit.layout;
  unit.image = layout.in_place ? x : image;
  if (!layout.in_place)
    parallel_ranges(parallel, static_cast<size_t>(layout.group_channels),
                    static_cast<size_t>(32768 / (layout.channel_floats + 1) + 1), [&](size_t begin, size_t end) {
                      for (size_t c = begin; c < end; ++c) conv_copy_channel(*unit.conv, layout, x, static_cast<int64_t>(c), image);
                    });
  const int64_t blocks = unit.blocks->filter_blocks * unit.blocks->column_blocks;
  parallel_for(parallel, parallel.threads, [&](size_t slot) {
    for (int64_t i = static_cast<int64_t>(slot); i < blocks; i += static_cast<int64_t>(parallel.threads))
      conv_block(unit, i, conv_slot(scratch, slot_floats, slot));
  });
}

int64_t conv_offset_floats(const ConvLayout& layout) { return (layout.depth * 2 + 15) / 16 * 16; }

}  // namespace

/// Offsets, then for each thread: an image, sums, a tail.
bool conv2d_scratch_floats(const Conv2d& conv, size_t threads, int64_t* floats) {
  if (is_depthwise2d(conv)) {
    *floats = depthwise2d_scratch_floats(conv, threads);
    return true;
  }
  ConvLayout layout;
  int64_t slot;
  if (!conv_layout(conv, &layout) || __builtin_mul_overflow(layout.depth, int64_t{64}, &slot)) return false;
  const ConvBlocks blocks = conv_blocks(conv, layout);
  return !__builtin_add_overflow(layout.image_floats, blocks.sums_floats + blocks.tail_floats, &slot) &&
         !__builtin_mul_overflow(slot, static_cast<int64_t>(threads > 0 ? threads : 1), floats) &&
         !__builtin_add_overflow(*floats, conv_offset_floats(layout), floats);
}

void conv2d_f32(const Conv2d& conv, const float* x, const float* weight, const float* bias, float* y, float* scratch,
                const Parallel& parallel) {
  if (is_depthwise2d(conv)) {
    depthwise2d_f32(conv, x, weight, bias, y, scratch, parallel);
    return;
  }
  ConvLayout layout;
  if (!conv_layout(conv, &layout) || layout.columns == 0) return;
  const ConvBlocks blocks = conv_blocks(conv, layout);
  int64_t* offsets = reinterpret_cast<int64_t*>(scratch);
  conv_offsets(conv, layout, offsets);
  float* images = scratch + conv_offset_floats(layout);
  float* blocks_scratch = images + layout.image_floats * static_cast<int64_t>(parallel.threads);
  const int64_t slot_floats = blocks.sums_floats + blocks.tail_floats;
  const int64_t units = conv.batch * conv.groups, x_unit = layout.group_channels * conv.height * conv.width;
  const int64_t y_unit = layout.group_filters * conv.out_h * conv.out_w;
  const bool side_by_side = units >= static_cast<int64_t>(parallel.threads);  // else the threads share each unit
  const size_t slots = side_by_side ? parallel.threads : 1;
  parallel_for(side_by_side ? parallel : Parallel{}, slots, [&](size_t slot) {
    for (int64_t u = static_cast<int64_t>(slot); u < units; u += static_cast<int64_t>(slots)) {
      const int64_t group = u % conv.groups;
      const float* group_bias = bias == nullptr ? nullptr : bias + group * layout.group_filters;
      const float* residual = conv.residual == nullptr ? nullptr : conv.residual + u * y_unit;
      const float* group_weight = weight + group * layout.group_filters * layout.depth;
      const ConvUnit unit = {&conv, &layout, &blocks, offsets, nullptr, group_weight, group_bias, residual, y + u * y_unit};
      conv_unit(unit, x + u * x_unit, conv_slot(images, layout.image_floats, slot), conv_slot(blocks_scratch, slot_floats, slot),
                slot_floats, side_by_side ? Parallel{} : parallel);
    }
  });
}

}  // namespace penlight
