// Winograd's convolution: patches of the image in lanes, one matrix product for each of their places, outputs back to planes.
// SPDX-License-Identifier: Apache-2.0
#include "winograd.h"

#include <string.h>

#include "conv_layout.h"
#include "depthwise2d.h"
#include "gemm.h"
#include "isa.h"

// clang-format off
#include "simd/baseline.h"
#include "simd/baseline_begin.h"
#if PENLIGHT_BASELINE_FUSES
#include "simd/fused_begin.h"
#endif
#include "simd/winograd.h"
#if PENLIGHT_BASELINE_FUSES
#include "simd/fused_end.h"
#endif
#include "simd/baseline_end.h"
#if PENLIGHT_X86
#include "simd/avx2.h"
#include "simd/avx2_begin.h"
#include "simd/fused_begin.h"
#include "simd/winograd.h"
#include "simd/fused_end.h"
#include "simd/avx2_end.h"
#include "simd/avx512.h"
#include "simd/avx512_begin.h"
#include "simd/fused_begin.h"
#include "simd/winograd.h"
#include "simd/fused_end.h"
#include "simd/avx512_end.h"
#endif
// clang-format on

namespace penlight {

namespace {

constexpr const WinogradTable* kWinogradTables[] = {
#if PENLIGHT_BASELINE_FUSES
    &baseline::fused::kWinogradTable,
#else
    &baseline::kWinogradTable,
#endif
#if PENLIGHT_X86
    &avx2::fused::kWinogradTable,
    &avx512::fused::kWinogradTable,
#endif
};

constexpr int64_t kWinogradBlock = 24;          // tiles of one block, a multiple of a product's rows
constexpr int64_t kFewestTiles = 12;            // fewer do not pay for reading the larger weights
constexpr int64_t kFewestChannels = 32;         // below, the transforms take longer than the products
constexpr int64_t kMostWeightFloats = 5 << 19;  // 10 MB: more do not stay in the last cache with what else is there
constexpr int64_t kLargestWinogradSide = 1 << 12;

struct WinogradPlan {
  const WinogradTable* table;
  int64_t tile, side, matrices;  // side: of a patch
  int64_t down, across, tiles;   // tiles of an image
  int64_t block, blocks;         // tiles of a block
  int64_t pitch, lanes_floats;   // of the padded image of one block of channels
  int64_t left_step, sums_step;  // between matrices: a line more, or they would share a few sets of the first cache
  int64_t image_floats, slot_floats;
  const Conv2d* conv;
};

WinogradPlan winograd_plan(const Conv2d& conv, int64_t tile) {
  WinogradPlan p;
  p.conv = &conv;
  p.table = table_for_isa(kWinogradTables);
  p.tile = tile;
  p.side = tile + 2;
  p.matrices = p.side * p.side;
  p.down = (conv.out_h + tile - 1) / tile;
  p.across = (conv.out_w + tile - 1) / tile;
  p.tiles = p.down * p.across;
  p.block = conv_min(kWinogradBlock, p.tiles);
  p.blocks = (p.tiles + p.block - 1) / p.block;
  p.pitch = (p.across * tile + 2) * p.table->lanes;
  p.lanes_floats = (p.down * tile + 2) * p.pitch;
  p.image_floats = p.lanes_floats * (conv.channels / p.table->lanes);
  p.left_step = p.block * conv.channels + kPanel;
  p.sums_step = p.block * conv.filters + kPanel;
  p.slot_floats = p.matrices * (p.left_step + p.sums_step);
  return p;
}

/// G of three weights.
void winograd_weight_line(int64_t tile, const float* g, int64_t step, float* u) {
  const float a = g[0], b = g[step], c = g[2 * step];
  u[0] = tile == 2 ? a : a / 4;
  u[1] = tile == 2 ? (a + b + c) / 2 : -(a + b + c) / 6;
  u[2] = tile == 2 ? (a - b + c) / 2 : -(a - b + c) / 6;
  if (tile == 4) {
    u[3] = (a + 2 * b + 4 * c) / 24;
    u[4] = (a - 2 * b + 4 * c) / 24;
  }
  u[tile + 1] = c;
}

/// The padded image, channels of a block side by side.
void winograd_read(const WinogradPlan& p, const float* x, const float* x_end, int64_t block, float* images) {
  const Conv2d& c = *p.conv;
  float* image = images + block * p.lanes_floats;
  memset(image, 0, static_cast<size_t>(p.lanes_floats) * sizeof(float));
  const float* from = x + block * p.table->lanes * c.height * c.width;
  const int64_t rows = p.lanes_floats / p.pitch, columns = p.pitch / p.table->lanes;
  const int64_t left = conv_max(0, -c.pad_left), end = conv_min(c.width, columns - c.pad_left);
  for (int64_t h = conv_max(0, -c.pad_top); h < conv_min(c.height, rows - c.pad_top) && left < end; ++h)
    planes_to_lanes_f32(from + h * c.width + left, c.height * c.width, end - left, x_end,
                        image + (h + c.pad_top) * p.pitch + (left + c.pad_left) * p.table->lanes);
}

/// Patches of `count` tiles and one block of channels to the left sides: matrices of (tiles, channels).
void winograd_patches(const WinogradPlan& p, const float* images, int64_t first, int64_t count, int64_t block, float* left) {
  WinogradTile t = {};
  t.row = p.pitch;
  t.step = p.left_step;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t h = (first + i) / p.across * p.tile, w = (first + i) % p.across * p.tile;
    t.image = images + block * p.lanes_floats + h * p.pitch + w * p.table->lanes;
    t.to = left + i * p.conv->channels + block * p.table->lanes;
    p.table->input[p.tile / 4](t);
  }
}

void winograd_product(const WinogradPlan& p, const float* packed, int64_t count, int64_t matrix, const float* left, float* sums) {
  const Conv2d& c = *p.conv;
  GemmBlock block;
  block.rows = count;
  block.columns = c.filters;
  block.depth = c.channels;
  block.a = left + matrix * p.left_step;
  block.a_row = c.channels;
  block.b = packed + matrix * c.filters * c.channels;
  block.b_panel = c.channels * kPanel;
  block.c = sums + matrix * p.sums_step;
  block.c_row = c.filters;
  gemm_block(block);
}

/// What lies inside of y of a tile's outputs, of one filter.
void winograd_store(const WinogradPlan& p, const float* outputs, int64_t h, int64_t w, float low, float high, const float* residual,
                    float* y) {
  const Conv2d& c = *p.conv;
  const int64_t rows = conv_min(p.tile, c.out_h - h), columns = conv_min(p.tile, c.out_w - w);
  for (int64_t i = 0; i < rows; ++i, outputs += p.tile) {
    float* to = y + (h + i) * c.out_w + w;
    if (residual != nullptr) {
      const float* more = residual + (h + i) * c.out_w + w;
      for (int64_t j = 0; j < columns; ++j) {
        const float v = outputs[j] + more[j];
        to[j] = v < low ? low : v > high ? high : v;
      }
    } else if (columns == 4) {
      memcpy(to, outputs, 4 * sizeof(float));
    } else {
      memcpy(to, outputs, static_cast<size_t>(columns) * sizeof(float));
    }
  }
}

/// Sums of `count` tiles and one block of filters to y.
void winograd_outputs(const WinogradPlan& p, const float* sums, int64_t first, int64_t count, int64_t block, const float* bias,
                      const float* residual, float* y) {
  constexpr int64_t kMostLanes = 16;
  const Conv2d& c = *p.conv;
  const int64_t lanes = p.table->lanes, filter = block * lanes, plane = c.out_h * c.out_w;
  const float none[kMostLanes] = {};
  float outputs[kMostLanes * kWinogradOutputs], low, high;
  activation_is_clamp(c.activation, &low, &high);
  const float end = residual == nullptr ? 0.0f : __builtin_inff();  // limits come after what is added
  WinogradTile t = {};
  t.to = outputs;
  t.step = p.sums_step;
  t.bias = bias == nullptr ? none : bias + filter;
  t.low = low - end;
  t.high = high + end;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t h = (first + i) / p.across * p.tile, w = (first + i) % p.across * p.tile;
    t.image = sums + i * c.filters + filter;
    p.table->output[p.tile / 4](t);
    for (int64_t f = 0; f < lanes; ++f) {
      const int64_t place = (filter + f) * plane;
      winograd_store(p, outputs + f * kWinogradOutputs, h, w, low, high, residual == nullptr ? nullptr : residual + place,
                     y + place);
    }
  }
}

/// All steps for one block of tiles.
void winograd_block(const WinogradPlan& p, int64_t index, const float* images, const float* packed, const float* bias,
                    const float* residual, float* y, float* slot, const Parallel& parallel) {
  const Conv2d& c = *p.conv;
  const int64_t first = index * p.block, count = conv_min(p.block, p.tiles - first);
  float* sums = slot + p.matrices * p.left_step;
  parallel_for(parallel, static_cast<size_t>(c.channels / p.table->lanes),
               [&](size_t block) { winograd_patches(p, images, first, count, static_cast<int64_t>(block), slot); });
  parallel_for(parallel, static_cast<size_t>(p.matrices),
               [&](size_t matrix) { winograd_product(p, packed, count, static_cast<int64_t>(matrix), slot, sums); });
  parallel_for(parallel, static_cast<size_t>(c.filters / p.table->lanes),
               [&](size_t block) { winograd_outputs(p, sums, first, count, static_cast<int64_t>(block), bias, residual, y); });
}

bool winograd_weights_fit(const Conv2d& conv, int64_t tile, int64_t most) {
  int64_t floats;
  return winograd_weight_floats(conv, tile, &floats) && floats <= most;
}

}  // namespace

int64_t winograd_tile(const Conv2d& c) {
#if PENLIGHT_SMALL
  return 0;  // the larger weights are not worth their memory there
#endif
  const bool fits = c.kernel_h == 3 && c.kernel_w == 3 && c.stride_h == 1 && c.stride_w == 1 && c.dilation_h == 1 &&
                    c.dilation_w == 1 && c.groups == 1 && !c.deterministic;
  if (!fits || c.channels % kPanel != 0 || c.filters % kPanel != 0) return 0;
  if (c.channels < kFewestChannels || c.filters < kFewestChannels) return 0;
  if (c.out_h < 1 || c.out_w < 1 || c.out_h > kLargestWinogradSide || c.out_w > kLargestWinogradSide) return 0;
  if (winograd_weights_fit(c, 4, kMostWeightFloats) && winograd_plan(c, 4).tiles >= kFewestTiles) return 4;
  return winograd_weights_fit(c, 2, 2 * kMostWeightFloats) && winograd_plan(c, 2).tiles >= kFewestTiles ? 2 : 0;
}

bool winograd_weight_floats(const Conv2d& conv, int64_t tile, int64_t* floats) {
  return !__builtin_mul_overflow(conv.channels, conv.filters, floats) &&
         !__builtin_mul_overflow(*floats, (tile + 2) * (tile + 2), floats);
}

void winograd_pack(const Conv2d& conv, int64_t tile, const float* weight, float* packed) {
  const int64_t side = tile + 2, matrix = conv.filters * conv.channels;
  for (int64_t f = 0; f < conv.filters; ++f)
    for (int64_t c = 0; c < conv.channels; ++c, weight += 9) {
      float* to = packed + f / kPanel * conv.channels * kPanel + c * kPanel + f % kPanel;
      float columns[3 * 6], line[6];
      for (int64_t j = 0; j < 3; ++j) winograd_weight_line(tile, weight + j, 3, columns + j * side);
      for (int64_t i = 0; i < side; ++i) {
        winograd_weight_line(tile, columns + i, side, line);
        for (int64_t j = 0; j < side; ++j) to[(i * side + j) * matrix] = line[j];
      }
    }
}

bool winograd_scratch_floats(const Conv2d& conv, int64_t tile, size_t threads, int64_t* floats) {
  const WinogradPlan p = winograd_plan(conv, tile);
  return !__builtin_mul_overflow(p.slot_floats, static_cast<int64_t>(threads > 0 ? threads : 1), floats) &&
         !__builtin_add_overflow(*floats, p.image_floats, floats);
}

void winograd_f32(const Conv2d& conv, int64_t tile, const float* x, const float* packed, const float* bias, float* y,
                  float* scratch, const Parallel& parallel) {
  const WinogradPlan p = winograd_plan(conv, tile);
  const int64_t x_image = conv.channels * conv.height * conv.width, y_image = conv.filters * conv.out_h * conv.out_w;
  float low, high;
  const bool clamp = activation_is_clamp(conv.activation, &low, &high),
             by_blocks = p.blocks >= 2 * static_cast<int64_t>(parallel.threads);
  float* slots = scratch + p.image_floats;
  for (int64_t n = 0; n < conv.batch; ++n, x += x_image, y += y_image) {
    const float* residual = conv.residual == nullptr ? nullptr : conv.residual + n * y_image;
    parallel_for(parallel, static_cast<size_t>(conv.channels / p.table->lanes),
                 [&](size_t block) { winograd_read(p, x, x + x_image, static_cast<int64_t>(block), scratch); });
    const size_t workers = by_blocks ? parallel.threads : 1;
    parallel_for(by_blocks ? parallel : Parallel{}, workers, [&](size_t worker) {
      float* slot = conv_slot(slots, p.slot_floats, worker);
      for (int64_t i = static_cast<int64_t>(worker); i < p.blocks; i += static_cast<int64_t>(workers))
        winograd_block(p, i, scratch, packed, bias, residual, y, slot, by_blocks ? Parallel{} : parallel);
    });
    if (!clamp) unary_f32(conv.activation.function, conv.activation.parameters, y, y, static_cast<size_t>(y_image), parallel);
  }
}

}  // namespace penlight
