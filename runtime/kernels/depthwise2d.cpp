// Channel-wise convolutions: planes to lanes and back around the loops of simd/depthwise.h. SPDX-License-Identifier: Apache-2.0
#include "depthwise2d.h"

#include <string.h>

#include "conv_layout.h"
#include "isa.h"
#include "selection.h"

// clang-format off
#include "simd/baseline.h"
#include "simd/baseline_begin.h"
#include "simd/depthwise.h"
#if PENLIGHT_BASELINE_FUSES
#include "simd/fused_begin.h"
#include "simd/depthwise.h"
#include "simd/fused_end.h"
#endif
#include "simd/baseline_end.h"
#if PENLIGHT_X86
#include "simd/avx2.h"
#include "simd/avx2_begin.h"
#include "simd/depthwise.h"
#include "simd/fused_begin.h"
#include "simd/depthwise.h"
#include "simd/fused_end.h"
#include "simd/avx2_end.h"
#include "simd/avx512.h"
#include "simd/avx512_begin.h"
#include "simd/fused_begin.h"
#include "simd/depthwise.h"
#include "simd/fused_end.h"
#include "simd/avx512_end.h"
#endif
// clang-format on

namespace penlight {

namespace {

// Rounded once for each multiply-add, where there is an instruction for it.
constexpr const DepthwiseTable* kDepthwiseTables[] = {
#if PENLIGHT_BASELINE_FUSES
    &baseline::fused::kDepthwiseTable,
#else
    &baseline::kDepthwiseTable,
#endif
#if PENLIGHT_X86
    &avx2::fused::kDepthwiseTable,
    &avx512::fused::kDepthwiseTable,
#endif
};

// Rounded after each product and each sum: the same bits on every instruction set.
constexpr const DepthwiseTable* kExactDepthwiseTables[] = {
    &baseline::kDepthwiseTable,
#if PENLIGHT_X86
    &avx2::kDepthwiseTable,
#endif
};

constexpr int64_t kLargestSide = 1 << 10;  // of the padded image
constexpr int64_t kMostTaps = 64;

/// The padded image in lanes, and the parts of a worker's scratch.
struct DepthwisePlan {
  const DepthwiseTable* table;
  int64_t lanes, blocks;  // channels at once, and how often
  int64_t rows, pitch;    // of the padded image
  int64_t taps, image_floats, output_floats, tap_floats, slot_floats;
};

DepthwisePlan depthwise_plan(const Conv2d& c) {
  DepthwisePlan p;
  p.table = c.deterministic ? table_for_isa(kExactDepthwiseTables) : table_for_isa(kDepthwiseTables);
  p.lanes = p.table->lanes;
  p.blocks = (c.channels + p.lanes - 1) / p.lanes;
  p.rows = (c.out_h - 1) * c.stride_h + (c.kernel_h - 1) * c.dilation_h + 1;
  p.pitch = (c.out_w - 1) * c.stride_w + (c.kernel_w - 1) * c.dilation_w + 1;
  p.taps = c.kernel_h * c.kernel_w;
  p.image_floats = p.rows * p.pitch * p.lanes;
  p.output_floats = c.out_h * c.out_w * p.lanes;
  p.tap_floats = (p.taps + 1) * p.lanes;
  p.slot_floats = (p.image_floats + p.output_floats + p.tap_floats + 2 * p.taps + 15) / 16 * 16;
  return p;
}

/// Whether the lanes do all that comes after the sums.
bool is_finished(const Conv2d& c) {
  float low, high;
  return c.residual == nullptr && activation_is_clamp(c.activation, &low, &high);
}

/// Does the rest: `first` is the place of `count` outputs at y.
void finish_outputs(const Conv2d& c, int64_t first, int64_t count, float* y) {
  for (int64_t i = 0; i < count && c.residual != nullptr; ++i) y[i] += c.residual[first + i];
  unary_f32(c.activation.function, c.activation.parameters, y, y, static_cast<size_t>(count), Parallel{});
}

/// A worker's scratch: the image, outputs, weights and bias in lanes, offsets of the taps.
struct DepthwiseSlot {
  const Conv2d* conv;
  const DepthwisePlan* plan;
  float *image, *output, *weight, *bias;
  DepthwiseImage shape;

  DepthwiseSlot(const Conv2d& c, const DepthwisePlan& p, float* scratch) : conv(&c), plan(&p) {
    int64_t* offsets = reinterpret_cast<int64_t*>(scratch);
    for (int64_t t = 0; t < p.taps; ++t)
      offsets[t] = (t / c.kernel_w * c.dilation_h * p.pitch + t % c.kernel_w * c.dilation_w) * p.lanes;
    image = scratch + 2 * p.taps;
    output = image + p.image_floats;
    weight = output + p.output_floats;
    bias = weight + p.taps * p.lanes;
    memset(image, 0, static_cast<size_t>(p.image_floats + p.output_floats + p.tap_floats) * sizeof(float));
    shape = {c.out_h,           c.out_w,         c.stride_h * p.pitch * p.lanes, c.stride_w * p.lanes, p.taps, offsets,
             -__builtin_inff(), __builtin_inff()};
    if (is_finished(c)) activation_is_clamp(c.activation, &shape.low, &shape.high);
  }

  int64_t channels(int64_t block) const { return conv_min(plan->lanes, conv->channels - block * plan->lanes); }

  /// Calls move(place of x, place in the image, how many) for every row of one channel that outputs read.
  template <typename Move>
  void each_row(Move&& move) const {
    const Conv2d& c = *conv;
    const int64_t left = conv_max(0, -c.pad_left), end = conv_min(c.width, plan->pitch - c.pad_left);
    for (int64_t h = conv_max(0, -c.pad_top); h < conv_min(c.height, plan->rows - c.pad_top); ++h)
      if (left < end) move(h * c.width + left, ((h + c.pad_top) * plan->pitch + left + c.pad_left) * plan->lanes, end - left);
  }

  /// `end`: of x.
  void read_image(int64_t block, const float* x, const float* end) {
    if (channels(block) == plan->lanes) {
      each_row([&](int64_t from, int64_t to, int64_t count) {
        plan->table->planes_to_lanes(x + from, conv->height * conv->width, count, end, image + to);
      });
      return;
    }
    for (int64_t k = 0; k < channels(block); ++k, x += conv->height * conv->width)
      each_row([&](int64_t from, int64_t to, int64_t count) { spread(x + from, count, image + to + k); });
  }

  /// `start`: a value for each channel, or null for zeros.
  void fill_image(int64_t block, const float* start) {
    memset(image, 0, static_cast<size_t>(plan->image_floats) * sizeof(float));
    if (start == nullptr) return;
    for (int64_t i = 0; i < plan->image_floats; i += plan->lanes)
      memcpy(image + i, start, static_cast<size_t>(channels(block)) * sizeof(float));
  }

  void write_image(int64_t block, const float* start, float* dx) const {
    const int64_t plane = conv->height * conv->width;
    for (int64_t k = 0; k < channels(block); ++k) {
      const float first = start == nullptr ? 0.0f : start[k];
      for (int64_t i = 0; i < plane; ++i) dx[k * plane + i] = first;  // where no window reaches it stays so
    }
    each_row([&](int64_t to, int64_t from, int64_t count) {
      if (channels(block) == plan->lanes)
        plan->table->lanes_to_planes(image + from, plane, count, dx + to);
      else
        for (int64_t k = 0; k < channels(block); ++k)
          for (int64_t i = 0; i < count; ++i) dx[k * plane + to + i] = image[from + i * plan->lanes + k];
    });
  }

  void read_outputs(int64_t block, const float* dy) {
    const int64_t outputs = conv->out_h * conv->out_w;
    if (channels(block) == plan->lanes) {
      plan->table->planes_to_lanes(dy, outputs, outputs, dy + plan->lanes * outputs, output);
      return;
    }
    for (int64_t k = 0; k < channels(block); ++k) spread(dy + k * outputs, outputs, output + k);
  }

  void write_outputs(int64_t block, float* y) const {
    const int64_t outputs = conv->out_h * conv->out_w;
    if (channels(block) == plan->lanes) {
      plan->table->lanes_to_planes(output, outputs, outputs, y);
      return;
    }
    for (int64_t k = 0; k < channels(block); ++k)
      for (int64_t i = 0; i < outputs; ++i) y[k * outputs + i] = output[i * plan->lanes + k];
  }

  void read_weight(int64_t block, const float* taps, const float* start) {
    for (int64_t k = 0; k < channels(block); ++k) {
      spread(taps + k * plan->taps, plan->taps, weight + k);
      bias[k] = start == nullptr ? 0.0f : start[k];
    }
  }

  void spread(const float* from, int64_t count, float* to) const {
    for (int64_t i = 0; i < count; ++i) to[i * plan->lanes] = from[i];
  }
};

/// Calls body(slot, image number, block) for every image and block of channels.
template <typename Body>
void each_block(const Conv2d& c, float* scratch, const Parallel& parallel, Body&& body) {
  const DepthwisePlan p = depthwise_plan(c);
  parallel_for(parallel, parallel.threads, [&](size_t number) {
    DepthwiseSlot slot(c, p, conv_slot(scratch, p.slot_floats, number));
    for (int64_t i = static_cast<int64_t>(number); i < c.batch * p.blocks; i += static_cast<int64_t>(parallel.threads))
      body(slot, i / p.blocks, i % p.blocks);
  });
}

const float* at_or_null(const float* p, int64_t offset) { return p == nullptr ? nullptr : p + offset; }

}  // namespace

void planes_to_lanes_f32(const float* from, int64_t plane, int64_t count, const float* end, float* to) {
  table_for_isa(kDepthwiseTables)->planes_to_lanes(from, plane, count, end, to);
}

bool is_depthwise2d(const Conv2d& c) {
  if (!kSelectedDepthwise || c.groups < 2 || c.groups != c.channels || c.groups != c.filters) return false;
  const int64_t sizes[] = {c.out_h, c.out_w, c.stride_h, c.stride_w, c.kernel_h, c.kernel_w, c.dilation_h, c.dilation_w};
  for (int64_t n : sizes)
    if (n < 1 || n > kLargestSide) return false;
  const DepthwisePlan p = depthwise_plan(c);
  return p.rows <= kLargestSide && p.pitch <= kLargestSide && p.taps <= kMostTaps;
}

int64_t depthwise2d_scratch_floats(const Conv2d& conv, size_t threads) {
  return depthwise_plan(conv).slot_floats * static_cast<int64_t>(threads > 0 ? threads : 1);
}

void depthwise2d_f32(const Conv2d& c, const float* x, const float* weight, const float* bias, float* y, float* scratch,
                     const Parallel& parallel) {
  each_block(c, scratch, parallel, [&](DepthwiseSlot& slot, int64_t n, int64_t block) {
    const int64_t channel = block * slot.plan->lanes, plane = n * c.channels + channel;
    slot.read_weight(block, weight + channel * slot.plan->taps, at_or_null(bias, channel));
    slot.read_image(block, x + plane * c.height * c.width, x + c.batch * c.channels * c.height * c.width);
    slot.plan->table->forward(slot.shape, slot.image, slot.weight, slot.bias, slot.output);
    const int64_t outputs = c.out_h * c.out_w, first = plane * outputs;
    slot.write_outputs(block, y + first);
    if (!is_finished(c)) finish_outputs(c, first, slot.channels(block) * outputs, y + first);
  });
}

void depthwise2d_input_gradient_f32(const Conv2d& c, const float* dy, const float* weight, const float* bias, float* dx,
                                    float* scratch, const Parallel& parallel) {
  each_block(c, scratch, parallel, [&](DepthwiseSlot& slot, int64_t n, int64_t block) {
    const int64_t channel = block * slot.plan->lanes, plane = n * c.channels + channel;
    slot.read_weight(block, weight + channel * slot.plan->taps, nullptr);
    slot.read_outputs(block, dy + plane * c.out_h * c.out_w);
    slot.fill_image(block, at_or_null(bias, channel));
    slot.plan->table->input_gradient(slot.shape, slot.output, slot.weight, slot.image);
    slot.write_image(block, at_or_null(bias, channel), dx + plane * c.height * c.width);
  });
}

void depthwise2d_weight_gradient_f32(const Conv2d& c, const float* x, const float* dy, float* dweight, float* scratch,
                                     const Parallel& parallel) {
  Conv2d once = c;  // a block runs through the whole batch, so that the order of its sum is fixed
  once.batch = 1;
  each_block(once, scratch, parallel, [&](DepthwiseSlot& slot, int64_t, int64_t block) {
    const int64_t channel = block * slot.plan->lanes, taps = slot.plan->taps;
    memset(slot.weight, 0, static_cast<size_t>(slot.plan->tap_floats) * sizeof(float));
    for (int64_t n = 0; n < c.batch; ++n) {
      const int64_t plane = n * c.channels + channel;
      slot.read_image(block, x + plane * c.height * c.width, x + c.batch * c.channels * c.height * c.width);
      slot.read_outputs(block, dy + plane * c.out_h * c.out_w);
      slot.plan->table->weight_gradient(slot.shape, slot.image, slot.output, slot.weight);
    }
    for (int64_t k = 0; k < slot.channels(block); ++k)
      for (int64_t t = 0; t < taps; ++t) dweight[(channel + k) * taps + t] = slot.weight[t * slot.plan->lanes + k];
  });
}

}  // namespace penlight
