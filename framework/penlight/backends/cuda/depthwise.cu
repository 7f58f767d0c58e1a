// Convolution with one channel to a group, forward and both gradients: no products to share, so one thread to a result.
// SPDX-License-Identifier: Apache-2.0
#include "common.cuh"

// Strides in elements of (batch, channel, row, column); filter f reads channel f / many.
struct Image {
  int64 batch, channel, row, column;
  __device__ int64 at(int b, int c, int y, int x) const { return b * batch + c * channel + y * row + x * column; }
};

struct Place {
  int b, c, y, x;
  // Numbers run along what is innermost in memory, channels or columns, so that neighbours read and write neighbours.
  __device__ static Place of(size_t number, int channels, int height, int width, bool channels_last) {
    size_t rest = number;
    Place place;
    if (channels_last) place.c = rest % channels, rest /= channels;
    place.x = rest % width, rest /= width;
    place.y = rest % height, rest /= height;
    if (!channels_last) place.c = rest % channels, rest /= channels;
    place.b = rest;
    return place;
  }
};

// weight (filters, taps), bias (filters) or null.
template <typename T>
__global__ void depthwise_forward(const T* x, const T* weight, const T* bias, T* y, int batch, int height, int width,
                                  int out_height, int out_width, int filters, int many, int kernel_height, int kernel_width,
                                  int stride_y, int stride_x, int padding_y, int padding_x, int dilation_y, int dilation_x,
                                  int channels_last, int64 x_batch, int64 x_channel, int64 x_row, int64 x_column, int64 y_batch,
                                  int64 y_channel, int64 y_row, int64 y_column) {
  Image from{x_batch, x_channel, x_row, x_column}, to{y_batch, y_channel, y_row, y_column};
  size_t count = static_cast<size_t>(batch) * filters * out_height * out_width;
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    Place place = Place::of(i, filters, out_height, out_width, channels_last);
    float sum = bias ? to_float(bias[place.c]) : 0.0f;
    for (int ky = 0; ky < kernel_height; ++ky) {
      int row = place.y * stride_y - padding_y + ky * dilation_y;
      if (row < 0 || row >= height) continue;
      for (int kx = 0; kx < kernel_width; ++kx) {
        int column = place.x * stride_x - padding_x + kx * dilation_x;
        if (column < 0 || column >= width) continue;
        float factor = to_float(weight[(static_cast<int64>(place.c) * kernel_height + ky) * kernel_width + kx]);
        sum += factor * to_float(x[from.at(place.b, place.c / many, row, column)]);
      }
    }
    y[to.at(place.b, place.c, place.y, place.x)] = from_float<T>(sum);
  }
}

// y stands for the gradient of the result, x for that of the input, which is written.
template <typename T>
__global__ void depthwise_input(const T* y, const T* weight, T* x, int batch, int height, int width, int out_height, int out_width,
                                int filters, int many, int kernel_height, int kernel_width, int stride_y, int stride_x,
                                int padding_y, int padding_x, int dilation_y, int dilation_x, int channels_last, int64 x_batch,
                                int64 x_channel, int64 x_row, int64 x_column, int64 y_batch, int64 y_channel, int64 y_row,
                                int64 y_column) {
  Image to{x_batch, x_channel, x_row, x_column}, from{y_batch, y_channel, y_row, y_column};
  size_t count = static_cast<size_t>(batch) * (filters / many) * height * width;
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    Place place = Place::of(i, filters / many, height, width, channels_last);
    float sum = 0.0f;
    for (int ky = 0; ky < kernel_height; ++ky) {
      int down = place.y + padding_y - ky * dilation_y, row = down / stride_y;
      if (down < 0 || row * stride_y != down || row >= out_height) continue;
      for (int kx = 0; kx < kernel_width; ++kx) {
        int right = place.x + padding_x - kx * dilation_x, column = right / stride_x;
        if (right < 0 || column * stride_x != right || column >= out_width) continue;
        for (int filter = place.c * many; filter < (place.c + 1) * many; ++filter) {
          float factor = to_float(weight[(static_cast<int64>(filter) * kernel_height + ky) * kernel_width + kx]);
          sum += factor * to_float(y[from.at(place.b, filter, row, column)]);
        }
      }
    }
    x[to.at(place.b, place.c, place.y, place.x)] = from_float<T>(sum);
  }
}

// A block sums one tap of one filter over all pixels, in the same order every time. Grid: taps, filters.
template <typename T>
__global__ void depthwise_weight(const T* x, const T* y, T* grad_weight, int batch, int height, int width, int out_height,
                                 int out_width, int filters, int many, int kernel_height, int kernel_width, int stride_y,
                                 int stride_x, int padding_y, int padding_x, int dilation_y, int dilation_x, int64 x_batch,
                                 int64 x_channel, int64 x_row, int64 x_column, int64 y_batch, int64 y_channel, int64 y_row,
                                 int64 y_column) {
  Image from{x_batch, x_channel, x_row, x_column}, grad{y_batch, y_channel, y_row, y_column};
  int tap = blockIdx.x, filter = blockIdx.y, ky = tap / kernel_width, kx = tap - ky * kernel_width;
  int64 count = static_cast<int64>(batch) * out_height * out_width;
  float sum = 0.0f;
  for (int64 i = threadIdx.x; i < count; i += blockDim.x) {
    Place place = Place::of(i, 1, out_height, out_width, false);
    int row = place.y * stride_y - padding_y + ky * dilation_y, column = place.x * stride_x - padding_x + kx * dilation_x;
    if (row < 0 || row >= height || column < 0 || column >= width) continue;
    sum += to_float(x[from.at(place.b, filter / many, row, column)]) * to_float(y[grad.at(place.b, filter, place.y, place.x)]);
  }
  sum = reduce_row(sum, Add());
  if (threadIdx.x == 0) grad_weight[static_cast<int64>(filter) * kernel_height * kernel_width + tap] = from_float<T>(sum);
}
