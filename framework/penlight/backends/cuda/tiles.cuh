// Tiles in shared memory and their fragments for the tensor cores. SPDX-License-Identifier: Apache-2.0
// A tile has rows of kWidth elements in chunks of 16 bytes; the chunks of a row are permuted so that the eight rows that one
// ldmatrix reads lie in different banks.
#pragma once

#include "mma.cuh"

constexpr int kTileThreads = 128, kTileWarps = kTileThreads / kWarp;

// Where matrices of a batch and its heads lie, or images and their channels; elements of a row are contiguous unless said
// otherwise.
struct Plane {
  int64 batch, head, row;
  __device__ int64 start(int64 b, int64 h) const { return b * batch + h * head; }
};

template <typename T>
constexpr int chunk_of = 16 / sizeof(T);  // elements to 16 bytes

template <typename Half, int kWidth>
struct Tile {
  static constexpr int kChunk = chunk_of<Half>, kChunks = kWidth / kChunk;

  Half* start;

  __device__ Half* at(int row, int chunk) const {
    int place = kChunks % 8 == 0 ? chunk ^ (row & 7) : chunk ^ ((row >> 1) & 3);
    return start + row * kWidth + place * kChunk;
  }

  // Queues `kRows` rows of a matrix with `rows` rows of `width` halves (a multiple of a chunk), from row `first` on; zeros beyond.
  template <int kRows>
  __device__ void load(const Half* matrix, int64 stride, int first, int rows, int width) const {
    for (int i = threadIdx.x; i < kRows * kChunks; i += kTileThreads) {
      int row = i / kChunks, chunk = i % kChunks;
      bool is_valid = first + row < rows && chunk * kChunk < width;
      const Half* from = is_valid ? matrix + (first + row) * stride + chunk * kChunk : matrix;
      cp_async(at(row, chunk), from, 16, is_valid);
    }
  }

  // The operand a: 16 rows from `row` on, 16 columns from 16 * step on.
  __device__ void left(unsigned (&fragment)[4], int row, int step) const {
    int lane = threadIdx.x % kWarp;
    load_matrices<false>(fragment, at(row + lane % 16, 2 * step + lane / 16));
  }

  // The operand a of the product with the transposed tile: rows are 16 columns from 16 * step on, depth the rows from `row` on.
  __device__ void left_transposed(unsigned (&fragment)[4], int row, int step) const {
    int lane = threadIdx.x % kWarp;
    load_matrices<true>(fragment, at(row + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2));
  }

  // The operand b of the product with the transposed tile: columns are the 16 rows from `row` on; two times (b0, b1).
  __device__ void right_transposed(unsigned (&fragment)[4], int row, int step) const {
    int lane = threadIdx.x % kWarp;
    load_matrices<false>(fragment, at(row + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2));
  }

  // The operand b of the product with the tile: 16 rows from `row` on, 16 columns from 16 * step on; two times (b0, b1).
  __device__ void right(unsigned (&fragment)[4], int row, int step) const {
    int lane = threadIdx.x % kWarp;
    load_matrices<true>(fragment, at(row + lane % 16, 2 * step + lane / 16));
  }
};

// sums (16, kRows) += left rows (16, kWidth) * right (kRows, kWidth) transposed
template <typename Half, int kWidth, int kRows>
__device__ void multiply_transposed(float (&sums)[kRows / 8][4], Tile<Half, kWidth> left, int row, Tile<Half, kWidth> right) {
#pragma unroll
  for (int step = 0; step < kWidth / 16; ++step) {
    unsigned a[4];
    left.left(a, row, step);
#pragma unroll
    for (int n = 0; n < kRows / 16; ++n) {
      unsigned b[4];
      right.right_transposed(b, 16 * n, step);
      multiply_add<Half>(sums[2 * n], a, b[0], b[1]);
      multiply_add<Half>(sums[2 * n + 1], a, b[2], b[3]);
    }
  }
}

// sums (16, kWidth) += weights (16, kRows), which are results of a product, * right (kRows, kWidth)
template <typename Half, int kWidth, int kRows>
__device__ void multiply_results(float (&sums)[kWidth / 8][4], const float (&weights)[kRows / 8][4], Tile<Half, kWidth> right) {
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    const float(&near)[4] = weights[2 * step], (&far)[4] = weights[2 * step + 1];
    unsigned a[4] = {pack<Half>(near[0], near[1]), pack<Half>(near[2], near[3]), pack<Half>(far[0], far[1]),
                     pack<Half>(far[2], far[3])};
#pragma unroll
    for (int n = 0; n < kWidth / 16; ++n) {
      unsigned b[4];
      right.right(b, 16 * step, n);
      multiply_add<Half>(sums[2 * n], a, b[0], b[1]);
      multiply_add<Half>(sums[2 * n + 1], a, b[2], b[3]);
    }
  }
}
