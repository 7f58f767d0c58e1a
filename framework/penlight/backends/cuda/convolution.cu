// Convolution as a product with a matrix of patches that is never written: implicit GEMM. SPDX-License-Identifier: Apache-2.0
// Channels come last and padded to 16 bytes (convolution.py sees to it), so that every load is a whole chunk of one pixel.
#include "convolution.cuh"

// Rows are results' pixels, depth is taps x channels.
template <typename T>
struct Patches {
  using Target = Operand<T, kResultRows, false>;
  const T* x;
  Geometry g;
  int group, groups, image[Target::kLoads], y[Target::kLoads], x0[Target::kLoads];

  __device__ Patches(const T* x, Geometry g, int group, int groups) : x(x), g(g), group(group), groups(groups) {
#pragma unroll
    for (int i = 0; i < Target::kLoads; ++i) {
      int number = blockIdx.x * kResultRows + Target::line(i);
      Pixel pixel = Pixel::of(number, g.out_height, g.out_width);
      image[i] = pixel.image;
      y[i] = pixel.image < g.batch ? pixel.y * g.stride_y - g.padding_y : -(1 << 30);
      x0[i] = pixel.x * g.stride_x - g.padding_x;
    }
  }

  __device__ void load(Target target, int step) const {
    int depth = step * depth_of<T> + Target::chunk() * chunk_of<T>, tap = depth / g.channels, channel = depth - tap * g.channels;
    int ky = tap / g.kernel_width, kx = tap - ky * g.kernel_width;
#pragma unroll
    for (int i = 0; i < Target::kLoads; ++i) {
      int row = y[i] + ky * g.dilation_y, column = x0[i] + kx * g.dilation_x;
      bool is_valid = ky < g.kernel_height && static_cast<unsigned>(row) < static_cast<unsigned>(g.height) &&
                      static_cast<unsigned>(column) < static_cast<unsigned>(g.width);
      int64 pixel = (static_cast<int64>(image[i]) * g.height + row) * g.width + column;
      target.load(i, is_valid ? x + (pixel * groups + group) * g.channels + channel : x, is_valid);
    }
  }
};

// Rows are the input's pixels, depth is taps x filters: those results' gradients to which a pixel contributed.
template <typename T>
struct Contributions {
  using Target = Operand<T, kResultRows, false>;
  const T* grad;
  Geometry g;
  int group, groups, filters, image[Target::kLoads], y[Target::kLoads], x[Target::kLoads];

  __device__ Contributions(const T* grad, Geometry g, int group, int groups, int filters)
      : grad(grad), g(g), group(group), groups(groups), filters(filters) {
#pragma unroll
    for (int i = 0; i < Target::kLoads; ++i) {
      Pixel pixel = Pixel::of(blockIdx.x * kResultRows + Target::line(i), g.height, g.width);
      image[i] = pixel.image;
      y[i] = pixel.image < g.batch ? pixel.y + g.padding_y : -(1 << 30);
      x[i] = pixel.x + g.padding_x;
    }
  }

  __device__ void load(Target target, int step) const {
    int depth = step * depth_of<T> + Target::chunk() * chunk_of<T>, tap = depth / filters, filter = depth - tap * filters;
    int ky = tap / g.kernel_width, kx = tap - ky * g.kernel_width;
#pragma unroll
    for (int i = 0; i < Target::kLoads; ++i) {
      int down = y[i] - ky * g.dilation_y, right = x[i] - kx * g.dilation_x;
      int row = down / g.stride_y, column = right / g.stride_x;
      bool is_valid = ky < g.kernel_height && down >= 0 && right >= 0 && row * g.stride_y == down && column * g.stride_x == right &&
                      row < g.out_height && column < g.out_width;
      int64 pixel = (static_cast<int64>(image[i]) * g.out_height + row) * g.out_width + column;
      target.load(i, is_valid ? grad + (pixel * groups + group) * filters + filter : grad, is_valid);
    }
  }
};

// Rows are filters, depth is taps x channels, as they lie in memory.
template <typename T>
struct Filters {
  using Target = Operand<T, kResultColumns, false>;
  const T* weight;  // of the group
  int first, filters, depth;

  __device__ void load(Target target, int step) const {
    int at = step * depth_of<T> + Target::chunk() * chunk_of<T>;
#pragma unroll
    for (int i = 0; i < Target::kLoads; ++i) {
      int filter = first + Target::line(i);
      bool is_valid = filter < filters && at < depth;
      target.load(i, is_valid ? weight + static_cast<int64>(filter) * depth + at : weight, is_valid);
    }
  }
};

// Rows are channels, depth is taps x filters (padded).
template <typename T>
struct TurnedFilters {
  using Target = Operand<T, kResultColumns, true>;
  const T* weight;  // of the group
  Geometry g;
  int first, filters;

  __device__ void load(Target target, int step) const {
    int channel = first + Target::chunk() * chunk_of<T>;
#pragma unroll
    for (int i = 0; i < Target::kLoads; ++i) {
      int depth = step * depth_of<T> + Target::line(i), tap = depth / filters, filter = depth - tap * filters;
      bool is_valid = tap < g.taps() && filter < g.filters && channel < g.channels;
      const T* from = weight + (static_cast<int64>(filter) * g.taps() + tap) * g.channels + channel;
      target.load(i, is_valid ? from : weight, is_valid);
    }
  }
};

// Rows are filters (padded), depth is the results' pixels.
template <typename T>
struct TurnedGradients {
  using Target = Operand<T, kResultRows, true>;
  const T* grad;  // of the group
  int first, filters, stride, pixels;

  __device__ void load(Target target, int step) const {
    int filter = first + Target::chunk() * chunk_of<T>;
#pragma unroll
    for (int i = 0; i < Target::kLoads; ++i) {
      int pixel = step * depth_of<T> + Target::line(i);
      bool is_valid = pixel < pixels && filter < filters;
      target.load(i, is_valid ? grad + static_cast<int64>(pixel) * stride + filter : grad, is_valid);
    }
  }
};

// Rows are taps x channels, depth is the results' pixels.
template <typename T>
struct TurnedPatches {
  using Target = Operand<T, kResultColumns, true>;
  const T* x;  // of the group
  Geometry g;
  int stride, down, right, channel, pixels;
  bool is_inside;

  __device__ TurnedPatches(const T* x, Geometry g, int stride, int first)
      : x(x), g(g), stride(stride), pixels(g.batch * g.out_height * g.out_width) {
    int at = first + Target::chunk() * chunk_of<T>, tap = at / g.channels, ky = tap / g.kernel_width;
    channel = at - tap * g.channels;
    down = ky * g.dilation_y - g.padding_y;
    right = (tap - ky * g.kernel_width) * g.dilation_x - g.padding_x;
    is_inside = ky < g.kernel_height;
  }

  __device__ void load(Target target, int step) const {
#pragma unroll
    for (int i = 0; i < Target::kLoads; ++i) {
      int number = step * depth_of<T> + Target::line(i);
      Pixel pixel = Pixel::of(number, g.out_height, g.out_width);
      int row = pixel.y * g.stride_y + down, column = pixel.x * g.stride_x + right;
      bool is_valid = is_inside && number < pixels && static_cast<unsigned>(row) < static_cast<unsigned>(g.height) &&
                      static_cast<unsigned>(column) < static_cast<unsigned>(g.width);
      int64 at = (static_cast<int64>(pixel.image) * g.height + row) * g.width + column;
      target.load(i, is_valid ? x + at * stride + channel : x, is_valid);
    }
  }
};

// Writes results whose rows are pixels of images of `height` x `width`, wherever their strides say.
template <typename T>
__device__ void store_image(const Results<T>& results, const T* bias, T* image, Plane at, int64 column_stride, int batch,
                            int height, int width, int first, int count, int channels_before) {
#pragma unroll
  for (int i = 0; i < Results<T>::kRows; ++i) {
    Pixel pixel = Pixel::of(blockIdx.x * kResultRows + results.row(i), height, width);
    if (pixel.image >= batch) continue;
    T* to = image + pixel.image * at.batch + pixel.y * at.row + pixel.x * column_stride;
#pragma unroll
    for (int j = 0; j < Results<T>::kColumns; ++j) {
      int channel = first + results.column(j);
      if (channel >= count) continue;
      float value = results.value(i, j) + (bias ? to_float(bias[channels_before + channel]) : 0.0f);
      to[(channels_before + channel) * at.head] = from_float<T>(value);
    }
  }
}

// x (batch, height, width, groups, channels), weight (groups, filters, kernel, channels), bias (groups * filters) or null.
// Grid: tiles of pixels, tiles of filters, groups.
template <typename T>
__global__ void __launch_bounds__(kTileThreads)
    convolution_forward(const T* x, const T* weight, const T* bias, T* y, int batch, int height, int width, int out_height,
                        int out_width, int channels, int filters, int kernel_height, int kernel_width, int stride_y, int stride_x,
                        int padding_y, int padding_x, int dilation_y, int dilation_x, int64 to_batch, int64 to_channel,
                        int64 to_row, int64 to_column) {
  Geometry g{batch,        height,   width,    out_height, out_width, channels,   filters,   kernel_height,
             kernel_width, stride_y, stride_x, padding_y,  padding_x, dilation_y, dilation_x};
  int group = blockIdx.z, first = blockIdx.y * kResultColumns, depth = g.taps() * channels;
  Filters<T> right{weight + static_cast<int64>(group) * filters * depth, first, filters, depth};
  int steps = (depth + depth_of<T> - 1) / depth_of<T>;
  Results<T> results = multiply_picked<T>(Patches<T>(x, g, group, gridDim.z), right, 0, steps);
  store_image(results, bias, y, Plane{to_batch, to_channel, to_row}, to_column, batch, out_height, out_width, first, filters,
              group * filters);
}

// grad (batch, out_height, out_width, groups, padded_filters), weight as above. `real_channels` of a group are written.
// Grid: tiles of the input's pixels, tiles of channels, groups.
template <typename T>
__global__ void __launch_bounds__(kTileThreads)
    convolution_input(const T* grad, const T* weight, T* grad_x, int batch, int height, int width, int out_height, int out_width,
                      int channels, int filters, int kernel_height, int kernel_width, int stride_y, int stride_x, int padding_y,
                      int padding_x, int dilation_y, int dilation_x, int padded_filters, int real_channels, int64 to_batch,
                      int64 to_channel, int64 to_row, int64 to_column) {
  Geometry g{batch,        height,   width,    out_height, out_width, channels,   filters,   kernel_height,
             kernel_width, stride_y, stride_x, padding_y,  padding_x, dilation_y, dilation_x};
  int group = blockIdx.z, first = blockIdx.y * kResultColumns, depth = g.taps() * padded_filters;
  TurnedFilters<T> right{weight + static_cast<int64>(group) * filters * g.taps() * channels, g, first, padded_filters};
  int steps = (depth + depth_of<T> - 1) / depth_of<T>;
  Results<T> results = multiply_picked<T>(Contributions<T>(grad, g, group, gridDim.z, padded_filters), right, 0, steps);
  store_image<T>(results, nullptr, grad_x, Plane{to_batch, to_channel, to_row}, to_column, batch, height, width, first,
                 real_channels, group * real_channels);
}

// partial (splits, groups, padded_filters, kernel, channels): each split sums its own steps over the pixels.
// Grid: tiles of filters, tiles of taps x channels, groups x splits.
template <typename T>
__global__ void __launch_bounds__(kTileThreads)
    convolution_weight(const T* x, const T* grad, float* partial, int batch, int height, int width, int out_height, int out_width,
                       int channels, int filters, int kernel_height, int kernel_width, int stride_y, int stride_x, int padding_y,
                       int padding_x, int dilation_y, int dilation_x, int padded_filters, int groups, int split_steps) {
  Geometry g{batch,        height,   width,    out_height, out_width, channels,   filters,   kernel_height,
             kernel_width, stride_y, stride_x, padding_y,  padding_x, dilation_y, dilation_x};
  int group = blockIdx.z % groups, split = blockIdx.z / groups, pixels = batch * out_height * out_width;
  int first = blockIdx.x * kResultRows, first_column = blockIdx.y * kResultColumns, columns = g.taps() * channels;
  TurnedGradients<T> left{grad + static_cast<int64>(group) * padded_filters, first, padded_filters, groups * padded_filters,
                          pixels};
  TurnedPatches<T> right(x + static_cast<int64>(group) * channels, g, groups * channels, first_column);
  int steps = (pixels + depth_of<T> - 1) / depth_of<T>, begin = split * split_steps;
  int end = begin + split_steps < steps ? begin + split_steps : steps;
  Results<T> results = multiply_picked<T>(left, right, begin, end);
  float* to = partial + static_cast<int64>(blockIdx.z) * padded_filters * columns;
#pragma unroll
  for (int i = 0; i < Results<T>::kRows; ++i) {
    int row = first + results.row(i);
    if (row >= padded_filters) continue;
#pragma unroll
    for (int j = 0; j < Results<T>::kColumns; ++j) {
      int column = first_column + results.column(j);
      if (column < columns) to[static_cast<int64>(row) * columns + column] = results.value(i, j);
    }
  }
}

// grad_weight (groups, filters, real_channels, taps) = the sum of the splits in their order, so that the bits do not change.
template <typename T>
__global__ void convolution_weight_sum(const float* partial, T* grad_weight, int groups, int filters, int padded_filters,
                                       int channels, int real_channels, int taps, int splits) {
  size_t count = static_cast<size_t>(groups) * filters * real_channels * taps;
  size_t whole = static_cast<size_t>(groups) * padded_filters * taps * channels;
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    size_t tap = i % taps, rest = i / taps, channel = rest % real_channels, filter = rest / real_channels % filters;
    size_t group = rest / real_channels / filters;
    const float* from = partial + ((group * padded_filters + filter) * taps + tap) * channels + channel;
    float sum = 0.0f;
    for (int split = 0; split < splits; ++split) sum += from[split * whole];
    grad_weight[i] = from_float<T>(sum);
  }
}
