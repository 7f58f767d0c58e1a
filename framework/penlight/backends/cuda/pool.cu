// Pooling over windows of (N, C, H, W), in row-major order and with channels last. SPDX-License-Identifier: Apache-2.0
// Gradients look from each input element at the windows that cover it: nothing is added by two threads.
#include "common.cuh"
#include "expressions.cuh"

// As written by pool.py. Index 0 is vertical, 1 horizontal.
struct Window {
  int channels;
  int is_last;  // whether channels are innermost
  int size[2], out[2], kernel[2], stride[2], padding[2], dilation[2];
  int counts_padding;
};

// Where element i of a (N, C, H, W) array with `size` is.
struct Place {
  int64 image;  // number of the plane, or of the batch with channels last
  int channel;  // 0 in a plane
  int at[2];
};

__device__ inline Place place_of(const Window& window, const int (&size)[2], size_t i) {
  Place place;
  place.channel = 0;
  if (window.is_last) {
    place.channel = static_cast<int>(i % window.channels);
    i /= window.channels;
  }
  place.at[1] = static_cast<int>(i % size[1]);
  i /= size[1];
  place.at[0] = static_cast<int>(i % size[0]);
  place.image = static_cast<int64>(i / size[0]);
  return place;
}

// The element number of row r and column c of the same plane, in an array with `size`.
__device__ inline int64 element(const Window& window, const int (&size)[2], const Place& place, int r, int c) {
  int64 pixel = (place.image * size[0] + r) * size[1] + c;
  return window.is_last ? pixel * window.channels + place.channel : pixel;
}

// Calls f(tap, r, c, is_inside) for each tap of the window at an output place, in order.
template <typename F>
__device__ void each_tap(const Window& window, const Place& place, F f) {
  for (int ky = 0; ky < window.kernel[0]; ++ky)
    for (int kx = 0; kx < window.kernel[1]; ++kx) {
      int r = place.at[0] * window.stride[0] - window.padding[0] + ky * window.dilation[0];
      int c = place.at[1] * window.stride[1] - window.padding[1] + kx * window.dilation[1];
      f(ky * window.kernel[1] + kx, r, c, r >= 0 && r < window.size[0] && c >= 0 && c < window.size[1]);
    }
}

// Calls f(tap, r, c) for each output place (r, c) whose window has this input place as its tap.
template <typename F>
__device__ void each_window(const Window& window, const Place& place, F f) {
  for (int ky = 0; ky < window.kernel[0]; ++ky) {
    int r = place.at[0] + window.padding[0] - ky * window.dilation[0];
    if (r < 0 || r % window.stride[0] != 0 || r / window.stride[0] >= window.out[0]) continue;
    for (int kx = 0; kx < window.kernel[1]; ++kx) {
      int c = place.at[1] + window.padding[1] - kx * window.dilation[1];
      if (c < 0 || c % window.stride[1] != 0 || c / window.stride[1] >= window.out[1]) continue;
      f(ky * window.kernel[1] + kx, r / window.stride[0], c / window.stride[1]);
    }
  }
}

template <typename T>
__global__ void max_pool2d(const T* x, T* y, size_t count, Window window) {
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    Place place = place_of(window, window.out, i);
    float best = -infinity();
    each_tap(window, place, [&](int, int r, int c, bool is_inside) {
      if (is_inside) best = expressions::larger(to_float(x[element(window, window.size, place, r, c)]), best);
    });
    y[i] = from_float<T>(best);
  }
}

// The number of the tap that has the maximum; padding counts as -inf, the first one wins.
template <typename T>
__global__ void max_pool2d_index(const T* x, int64* winners, size_t count, Window window) {
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    Place place = place_of(window, window.out, i);
    float best = -infinity();
    int winner = 0;
    each_tap(window, place, [&](int tap, int r, int c, bool is_inside) {
      float value = is_inside ? to_float(x[element(window, window.size, place, r, c)]) : -infinity();
      if (tap != 0 && !(value > best)) return;
      best = value;
      winner = tap;
    });
    winners[i] = winner;
  }
}

template <typename T>
__global__ void max_pool2d_grad(const T* x, const int64* winners, T* y, size_t count, Window window) {
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    Place place = place_of(window, window.size, i);
    float sum = 0.0f;
    each_window(window, place, [&](int tap, int r, int c) {
      int64 at = element(window, window.out, place, r, c);
      if (winners[at] == tap) sum += to_float(x[at]);
    });
    y[i] = from_float<T>(sum);
  }
}

template <typename T>
__global__ void max_pool2d_read(const T* x, const int64* winners, T* y, size_t count, Window window) {
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    Place place = place_of(window, window.out, i);
    float value = 0.0f;
    each_tap(window, place, [&](int tap, int r, int c, bool is_inside) {
      if (is_inside && winners[i] == tap) value = to_float(x[element(window, window.size, place, r, c)]);
    });
    y[i] = from_float<T>(value);
  }
}

// How many taps of a window count along one dimension: what ceil mode reads beyond the declared padding does not.
__device__ inline int counted(const Window& window, int d, int out) {
  int margin = window.counts_padding ? window.padding[d] : 0, total = 0;
  for (int k = 0; k < window.kernel[d]; ++k) {
    int at = out * window.stride[d] - window.padding[d] + k * window.dilation[d];
    total += at >= -margin && at < window.size[d] + margin;
  }
  return total;
}

template <typename T>
__global__ void avg_pool2d(const T* x, T* y, size_t count, Window window) {
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    Place place = place_of(window, window.out, i);
    float sum = 0.0f;
    each_tap(window, place, [&](int, int r, int c, bool is_inside) {
      if (is_inside) sum += to_float(x[element(window, window.size, place, r, c)]);
    });
    y[i] = from_float<T>(sum / static_cast<float>(counted(window, 0, place.at[0]) * counted(window, 1, place.at[1])));
  }
}

template <typename T>
__global__ void avg_pool2d_grad(const T* x, T* y, size_t count, Window window) {
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    Place place = place_of(window, window.size, i);
    float sum = 0.0f;
    each_window(window, place, [&](int, int r, int c) {
      sum +=
          to_float(x[element(window, window.out, place, r, c)]) / static_cast<float>(counted(window, 0, r) * counted(window, 1, c));
    });
    y[i] = from_float<T>(sum);
  }
}
