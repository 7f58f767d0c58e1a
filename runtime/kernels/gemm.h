// Bare float matrix products, tiled for each instruction set. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "vector_math.h"

namespace penlight {

constexpr int64_t kPanel = 16;       // columns of a packed panel of B, the same on every instruction set
constexpr int64_t kGemmDepth = 384;  // k of one pass over a tile; the next pass continues from the stored sums

/// One block of C = alpha * A B + beta * bias, on one thread. Each element of C is one chain of multiply-adds in the order of k, so
/// that results do not depend on tiles or threads.
struct GemmBlock {
  int64_t rows = 0, columns = 0, depth = 0;
  const float* a = nullptr;  // A(i, k) = a[i * a_row + k * a_depth]
  int64_t a_row = 0, a_depth = 1;
  /// B(k, j) = b[(offsets ? offsets[k] : k * b_depth) + (j / 16) * b_panel + j % 16]; every 16 columns begun must be readable.
  const float* b = nullptr;
  const int64_t* offsets = nullptr;
  int64_t b_depth = kPanel, b_panel = 0;
  float* c = nullptr;
  int64_t c_row = 0;
  const float* bias = nullptr;  // null: none; bias(i, j) = bias[i * bias_row + j * bias_column], bias_column 0 or 1
  int64_t bias_row = 0, bias_column = 0;
  float alpha = 1, beta = 1;
  bool accumulate = false;  // start from what C holds
  Activation activation;
};

void gemm_block(const GemmBlock& block);

/// C[m, n] = activation(alpha * A B + beta * bias).
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  const float* a = nullptr;  // A(i, k) = a[i * a_row + k * a_depth]
  int64_t a_row = 0, a_depth = 1;
  const float* b = nullptr;  // B(k, j) = b[k * b_depth + j * b_column]
  int64_t b_depth = 0, b_column = 1;
  float* c = nullptr;
  int64_t c_row = 0;
  const float* bias = nullptr;
  int64_t bias_row = 0, bias_column = 0;
  float alpha = 1, beta = 1;
  bool accumulate = false;
  Activation activation;
};

/// Floats of scratch that gemm_f32 needs for an n x k right side; false when the number does not fit.
bool gemm_scratch_floats(int64_t n, int64_t k, int64_t* floats);
// TODO(#6): pack constant weights once instead of in every run.
void gemm_f32(const Gemm& gemm, float* scratch, const Parallel& parallel);

/// Packs columns [first, first + count) of B into panels of 16 columns, zero where B ends.
void gemm_pack(const float* b, int64_t b_depth, int64_t b_column, int64_t depth, int64_t first, int64_t count, float* panels);

/// One tile of a block: `rows` x `vectors` vectors of which the last may be partial.
struct GemmTile {
  const float* a;
  int64_t a_row, a_depth;
  const float* b;  // column 0 of the block
  const int64_t* offsets;
  int64_t b_depth, b_panel;
  int64_t column, columns;  // first column in the block, and how many
  int64_t depth;
  float* c;
  int64_t c_row;
  bool load_c, last;
  const float* bias;
  int64_t bias_row, bias_column;
  float alpha, beta, low, high;
};

constexpr int kGemmMaxRows = 6;
constexpr int kGemmMaxVectors = 8;

struct GemmTable {
  int rows, vectors, wide_vectors, lanes;  // of a full tile; `wide_vectors` when there is one row
  void (*tile[kGemmMaxRows + 1][kGemmMaxVectors + 1])(const GemmTile& tile);
  void (*dot)(const float* a, const float* b, int64_t b_column, int64_t depth, int64_t count, float* sums);
};

}  // namespace penlight
