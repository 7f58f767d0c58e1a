// Convolutions by their definition, for the dtypes and ranks that the fast kernel does not take. SPDX-License-Identifier:
// Apache-2.0
#pragma once

#include "element.h"
#include "parallel.h"
#include "window.h"

namespace penlight {

/// Channels of a convolution; the window says the rest. `filters` are those of y, `channels` those of x.
struct ConvChannels {
  int64_t batch = 0, channels = 0, filters = 0, groups = 1;
};

/// weight: (filters, channels / groups, taps); bias may be null.
template <typename T>
void conv_plain(const ConvChannels& c, const Window& w, const T* x, const T* weight, const T* bias, T* y,
                const Parallel& parallel) {
  using C = typename Element<T>::Compute;
  const int64_t in = w.in[0] * w.in[1] * w.in[2], out = w.out[0] * w.out[1] * w.out[2];
  const int64_t taps = w.kernel[0] * w.kernel[1] * w.kernel[2];
  const int64_t group_channels = c.channels / c.groups, group_filters = c.filters / c.groups;
  parallel_ranges(parallel, static_cast<size_t>(c.batch * c.filters), 1, [&](size_t begin, size_t end) {
    for (int64_t plane = static_cast<int64_t>(begin); plane < static_cast<int64_t>(end); ++plane) {
      const int64_t filter = plane % c.filters;
      const T* image = x + (plane / c.filters * c.channels + filter / group_filters * group_channels) * in;
      const T* filter_taps = weight + filter * group_channels * taps;
      for (int64_t o = 0; o < out; ++o) {
        C sum = bias == nullptr ? C{} : static_cast<C>(bias[filter]);
        window_each_tap(w, window_place(w, o), [&](int64_t position, int64_t tap) {
          for (int64_t k = 0; k < group_channels; ++k)
            sum += static_cast<C>(image[k * in + position]) * static_cast<C>(filter_taps[k * taps + tap]);
        });
        y[plane * out + o] = T(sum);
      }
    }
  });
}

/// The transposed convolution: `w` is the window of the convolution whose input is y, with y's sizes as w.in and x's as w.out.
/// weight: (filters, channels / groups, taps) with the filters of x and the channels of y.
template <typename T>
void conv_transpose_plain(const ConvChannels& c, const Window& w, const T* x, const T* weight, const T* bias, T* y,
                          const Parallel& parallel) {
  using C = typename Element<T>::Compute;
  const int64_t in = w.in[0] * w.in[1] * w.in[2], out = w.out[0] * w.out[1] * w.out[2];
  const int64_t taps = w.kernel[0] * w.kernel[1] * w.kernel[2];
  const int64_t group_channels = c.channels / c.groups, group_filters = c.filters / c.groups;
  parallel_ranges(parallel, static_cast<size_t>(c.batch * c.channels), 1, [&](size_t begin, size_t end) {
    for (int64_t plane = static_cast<int64_t>(begin); plane < static_cast<int64_t>(end); ++plane) {
      const int64_t channel = plane % c.channels, group = channel / group_channels;
      T* to = y + plane * in;
      for (int64_t i = 0; i < in; ++i) to[i] = bias == nullptr ? T(C{}) : bias[channel];
      const T* image = x + (plane / c.channels * c.filters + group * group_filters) * out;
      const T* filter_taps = weight + (group * group_filters * group_channels + channel % group_channels) * taps;
      for (int64_t o = 0; o < out; ++o)
        window_each_tap(w, window_place(w, o), [&](int64_t position, int64_t tap) {
          C sum = static_cast<C>(to[position]);
          for (int64_t f = 0; f < group_filters; ++f)
            sum += static_cast<C>(image[f * out + o]) * static_cast<C>(filter_taps[f * group_channels * taps + tap]);
          to[position] = T(sum);
        });
    }
  });
}

}  // namespace penlight
