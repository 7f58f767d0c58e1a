// The gradient for the input as convolutions of dy with the weight turned round. SPDX-License-Identifier: Apache-2.0
#include "conv2d_input_gradient.h"

#include "conv_layout.h"
#include "depthwise2d.h"

namespace penlight {

namespace {

/// Along one dimension, the places first, first + stride, ... of dx: they read dy at taps last_tap, last_tap - tap_step, ... of
/// the weight, which is a convolution of step 1 with `taps` taps.
struct GradientAxis {
  int64_t first, count;
  int64_t taps, last_tap, tap_step;
  int64_t dilation, pad;
};

constexpr int64_t kGradientAlign = 16;  // floats; scratch of every part begins at a multiple

int64_t aligned(int64_t floats) { return (floats + kGradientAlign - 1) / kGradientAlign * kGradientAlign; }

int64_t common_divisor(int64_t a, int64_t b) {
  while (b != 0) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

GradientAxis gradient_axis(int64_t first, int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad) {
  GradientAxis axis = {};
  axis.first = first;
  axis.count = (size - 1 - first) / stride + 1;
  axis.tap_step = stride / common_divisor(stride, dilation);
  int64_t tap = 0;
  while (tap < kernel && tap < axis.tap_step && (first + pad - tap * dilation) % stride != 0) ++tap;
  if (tap >= conv_min(kernel, axis.tap_step)) return axis;  // no tap reaches these places
  axis.taps = (kernel - 1 - tap) / axis.tap_step + 1;
  axis.last_tap = tap + (axis.taps - 1) * axis.tap_step;
  axis.dilation = dilation * axis.tap_step / stride;
  axis.pad = (axis.last_tap * dilation - first - pad) / stride;  // may be negative: then the first of dy are not read
  return axis;
}

struct GradientPhase {
  GradientAxis h, w;
  Conv2d conv;  // from dy to these places of dx, for a batch of 1
  int64_t weight_floats;
};

GradientPhase gradient_phase(const Conv2d& c, int64_t first_h, int64_t first_w) {
  GradientPhase p;
  p.h = gradient_axis(first_h, c.height, c.kernel_h, c.stride_h, c.dilation_h, c.pad_top);
  p.w = gradient_axis(first_w, c.width, c.kernel_w, c.stride_w, c.dilation_w, c.pad_left);
  p.conv.batch = 1;
  p.conv.channels = c.filters;
  p.conv.filters = c.channels;
  p.conv.groups = c.groups;
  p.conv.deterministic = c.deterministic;
  p.conv.height = c.out_h;
  p.conv.width = c.out_w;
  p.conv.kernel_h = p.h.taps;
  p.conv.kernel_w = p.w.taps;
  p.conv.dilation_h = p.h.dilation;
  p.conv.dilation_w = p.w.dilation;
  p.conv.pad_top = p.h.pad;
  p.conv.pad_left = p.w.pad;
  p.conv.out_h = p.h.count;
  p.conv.out_w = p.w.count;
  p.weight_floats = c.filters * (c.channels / c.groups) * p.h.taps * p.w.taps;
  return p;
}

/// Calls body(phase) for each set of places that share their taps; `while` it returns true.
template <typename Body>
bool each_phase(const Conv2d& c, Body&& body) {
  for (int64_t h = 0; h < conv_min(c.stride_h, c.height); ++h)
    for (int64_t w = 0; w < conv_min(c.stride_w, c.width); ++w)
      if (!body(gradient_phase(c, h, w))) return false;
  return true;
}

/// The taps of a phase in reverse, and channels before filters.
void turn_weight(const Conv2d& c, const GradientPhase& p, const float* weight, float* turned) {
  const int64_t channels = c.channels / c.groups, filters = c.filters / c.groups, taps = c.kernel_h * c.kernel_w;
  for (int64_t g = 0; g < c.groups; ++g, weight += filters * channels * taps)
    for (int64_t channel = 0; channel < channels; ++channel)
      for (int64_t filter = 0; filter < filters; ++filter) {
        const float* from = weight + (filter * channels + channel) * taps;
        for (int64_t i = 0; i < p.h.taps; ++i)
          for (int64_t j = 0; j < p.w.taps; ++j)
            *turned++ = from[(p.h.last_tap - i * p.h.tap_step) * c.kernel_w + p.w.last_tap - j * p.w.tap_step];
      }
}

bool is_one_phase(const Conv2d& c) { return c.stride_h == 1 && c.stride_w == 1; }

/// The results of a phase, dense, to their places in one image of dx; `phase` null: the bias alone.
void store_phase(const Conv2d& c, const GradientPhase& p, const float* phase, const float* bias, float* dx) {
  for (int64_t channel = 0; channel < c.channels; ++channel)
    for (int64_t q = 0; q < p.h.count; ++q) {
      float* to = dx + (channel * c.height + p.h.first + q * c.stride_h) * c.width + p.w.first;
      const float start = bias == nullptr ? 0.0f : bias[channel];
      const float* from = phase == nullptr ? nullptr : phase + (channel * p.h.count + q) * p.w.count;
      for (int64_t r = 0; r < p.w.count; ++r) to[r * c.stride_w] = from == nullptr ? start : from[r];
    }
}

/// Scratch of one image: the largest phase, then what its convolution needs.
struct GradientScratch {
  int64_t weight_floats, phase_floats, conv_floats;
};

bool gradient_scratch(const Conv2d& c, size_t threads, GradientScratch* scratch) {
  *scratch = {};
  return each_phase(c, [&](const GradientPhase& p) {
    int64_t floats = 0;
    Conv2d conv = p.conv;
    if (is_one_phase(c)) conv.batch = c.batch;
    if (p.weight_floats > 0 && !conv2d_scratch_floats(conv, threads, &floats)) return false;
    scratch->weight_floats += aligned(p.weight_floats);
    scratch->conv_floats = conv_max(scratch->conv_floats, aligned(floats));
    if (!is_one_phase(c)) scratch->phase_floats = conv_max(scratch->phase_floats, aligned(c.channels * p.h.count * p.w.count));
    return true;
  });
}

void image_gradient(const Conv2d& c, const float* dy, const float* turned, const float* bias, float* dx, float* phase,
                    float* scratch, const Parallel& parallel) {
  each_phase(c, [&](const GradientPhase& p) {
    if (p.weight_floats > 0) conv2d_f32(p.conv, dy, turned, bias, phase, scratch, parallel);
    store_phase(c, p, p.weight_floats > 0 ? phase : nullptr, bias, dx);
    turned += aligned(p.weight_floats);
    return true;
  });
}

/// With one channel to a filter there is too little work in a phase; steps of 1 are a convolution of that kind themselves.
bool scatters(const Conv2d& conv) { return !is_one_phase(conv) && is_depthwise2d(conv); }

}  // namespace

bool conv2d_input_gradient_scratch_floats(const Conv2d& conv, size_t threads, int64_t* floats) {
  if (scatters(conv)) {
    *floats = depthwise2d_scratch_floats(conv, threads);
    return true;
  }
  GradientScratch s;
  int64_t slot;
  const int64_t slots = is_one_phase(conv) || threads == 0 ? 1 : static_cast<int64_t>(threads);
  return gradient_scratch(conv, threads, &s) && !__builtin_add_overflow(s.phase_floats, s.conv_floats, &slot) &&
         !__builtin_mul_overflow(slot, slots, floats) && !__builtin_add_overflow(*floats, s.weight_floats, floats);
}

void conv2d_input_gradient_f32(const Conv2d& conv, const float* dy, const float* weight, const float* bias, float* dx,
                               float* scratch, const Parallel& parallel) {
  if (scatters(conv)) {
    depthwise2d_input_gradient_f32(conv, dy, weight, bias, dx, scratch, parallel);
    return;
  }
  GradientScratch s;
  if (!gradient_scratch(conv, parallel.threads, &s)) return;
  float* turned = scratch;
  each_phase(conv, [&](const GradientPhase& p) {
    turn_weight(conv, p, weight, turned);
    turned += aligned(p.weight_floats);
    return true;
  });
  float* slots = turned;
  if (is_one_phase(conv)) {
    Conv2d whole = gradient_phase(conv, 0, 0).conv;
    whole.batch = conv.batch;
    conv2d_f32(whole, dy, scratch, bias, dx, slots, parallel);
    return;
  }
  const bool side_by_side = conv.batch >= static_cast<int64_t>(parallel.threads);  // else the threads share each image
  const size_t count = side_by_side ? parallel.threads : 1;
  const int64_t dy_image = conv.filters * conv.out_h * conv.out_w, dx_image = conv.channels * conv.height * conv.width;
  parallel_for(side_by_side ? parallel : Parallel{}, count, [&](size_t slot) {
    float* phase = conv_slot(slots, s.phase_floats + s.conv_floats, slot);
    for (int64_t n = static_cast<int64_t>(slot); n < conv.batch; n += static_cast<int64_t>(count))
      image_gradient(conv, dy + n * dy_image, scratch, bias, dx + n * dx_image, phase, phase + s.phase_floats,
                     side_by_side ? Parallel{} : parallel);
  });
}

}  // namespace penlight
