// Matrix products whose operands are picked from images while they are loaded. SPDX-License-Identifier: Apache-2.0
// result (rows, columns) = sum over depth of left * right; a block has 128 x 64 results, a step 64 bytes of depth.
#pragma once

#include "tiles.cuh"

constexpr int kResultRows = 128, kResultColumns = 64, kStages = 3;

template <typename T>
constexpr int depth_of = 64 / sizeof(T);

// One operand in shared memory: lines of depth for each row, or, when kIsTransposed, lines of rows for each depth.
template <typename T, int kRows, bool kIsTransposed>
struct Operand {
  static constexpr int kElements = kRows * depth_of<T>;
  static constexpr int kWidth = kIsTransposed ? kRows : depth_of<T>;
  static constexpr int kChunks = kWidth / chunk_of<T>;
  static constexpr int kLines = kElements / kWidth;
  static constexpr int kLoads = kElements / chunk_of<T> / kTileThreads;  // by each thread
  static constexpr int kLineStep = kTileThreads / kChunks;               // from one load of a thread to the next

  Tile<T, kWidth> tile;

  // A thread loads one chunk of several lines.
  __device__ static int chunk() { return threadIdx.x % kChunks; }
  __device__ static int line(int load) { return threadIdx.x / kChunks + load * kLineStep; }

  __device__ void load(int i, const T* from, bool is_valid) const { cp_async(tile.at(line(i), chunk()), from, 16, is_valid); }

  __device__ T value(int row, int depth) const {
    int y = kIsTransposed ? depth : row, x = kIsTransposed ? row : depth;
    return tile.at(y, x / chunk_of<T>)[x % chunk_of<T>];
  }
};

// The results of a block; a thread holds kRows x kColumns of them.
template <typename T>
struct Results {
  static constexpr int kRows = 4, kColumns = 16;
  float sums[2][8][4] = {};

  __device__ static int row(int i) { return threadIdx.x / kWarp * 32 + i * 8 + threadIdx.x % kWarp / 4; }
  __device__ static int column(int j) { return j / 2 * 8 + threadIdx.x % 4 * 2 + j % 2; }
  __device__ float value(int i, int j) const { return sums[i / 2][j / 2][i % 2 * 2 + j % 2]; }

  template <bool kLeft, bool kRight>
  __device__ void add(Operand<T, kResultRows, kLeft> left, Operand<T, kResultColumns, kRight> right) {
    int warp = threadIdx.x / kWarp;
#pragma unroll
    for (int step = 0; step < depth_of<T> / 16; ++step) {
      unsigned a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        if constexpr (kLeft)
          left.tile.left_transposed(a[m], 16 * step, 2 * warp + m);
        else
          left.tile.left(a[m], 32 * warp + 16 * m, step);
      }
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        unsigned b[4];
        if constexpr (kRight)
          right.tile.right(b, 16 * step, n);
        else
          right.tile.right_transposed(b, 16 * n, step);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          multiply_add<T>(sums[m][2 * n], a[m], b[0], b[1]);
          multiply_add<T>(sums[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }
};

template <>
struct Results<float> {
  static constexpr int kRows = 8, kColumns = 8;
  float sums[8][8] = {};

  __device__ static int row(int i) { return threadIdx.x / 8 + 16 * i; }
  __device__ static int column(int j) { return threadIdx.x % 8 + 8 * j; }
  __device__ float value(int i, int j) const { return sums[i][j]; }

  template <bool kLeft, bool kRight>
  __device__ void add(Operand<float, kResultRows, kLeft> left, Operand<float, kResultColumns, kRight> right) {
#pragma unroll 4
    for (int depth = 0; depth < depth_of<float>; ++depth) {
      float a[8], b[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        a[i] = left.value(row(i), depth);
        b[i] = right.value(column(i), depth);
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[i][j] += a[i] * b[j];
      }
    }
  }
};

// Sums steps [begin, end) of depth; `left` and `right` queue the loads of a step, the next ones are on their way meanwhile.
template <typename T, typename Left, typename Right>
__device__ Results<T> multiply_picked(Left left, Right right, int begin, int end) {
  using LeftOperand = typename Left::Target;
  using RightOperand = typename Right::Target;
  constexpr int kElements = LeftOperand::kElements + RightOperand::kElements;
  alignas(16) __shared__ T memory[kStages * kElements];
  auto left_of = [&](int step) { return LeftOperand{{memory + step % kStages * kElements}}; };
  auto right_of = [&](int step) { return RightOperand{{memory + step % kStages * kElements + LeftOperand::kElements}}; };
  auto load = [&](int step) {
    if (step < end) {
      left.load(left_of(step), step);
      right.load(right_of(step), step);
    }
    cp_async_commit();
  };
  for (int step = begin; step < begin + kStages - 1; ++step) load(step);
  Results<T> results;
  for (int step = begin; step < end; ++step) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // this step's tiles are there, and those of the step before are free
    load(step + kStages - 1);
    results.add(left_of(step), right_of(step));
  }
  return results;
}

// Sizes of a convolution; images are (batch, height, width, groups, channels) with channels a multiple of a chunk.
struct Geometry {
  int batch, height, width, out_height, out_width, channels, filters;  // channels and filters of one group
  int kernel_height, kernel_width, stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;

  __device__ int taps() const { return kernel_height * kernel_width; }
};

struct Pixel {
  int image, y, x;
  __device__ static Pixel of(int number, int height, int width) {
    int row = number / width, image = row / height;
    return {image, row - image * height, number - row * width};
  }
};
