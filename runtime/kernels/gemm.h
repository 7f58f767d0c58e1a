// Bare float matrix products, tiled for each instruction set. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "vector_math.h"

namespace penlight {

constexpr int64_t kPanel = 16;                 // columns of a packed panel of B, the same on every instruction set
constexpr int64_t kGemmDepth = 256;            // k of one pass over a tile; the next pass continues from the stored sums
constexpr int64_t kGemmLeftFloats = 34 << 10;  // of A that stay in the second cache; 128 rows of kGemmDepth and a bit

/// One block of C = alpha * A B + beta * bias, on one thread. Each element of C is one chain of multiply-adds in the order of k, so
/// that results do not depend on tiles or threads.
struct GemmBlock {
  int64_t rows = 0, columns = 0, depth = 0;
  const float* a = nullptr;  // A(i, k) = a[i * a_row + k * a_depth]
  int64_t a_row = 0, a_depth = 1;
  int64_t a_panel = 0;  // not 0: A lies in panels of a tile's rows, each so many floats apart
  /// B(k, j) = b[(offsets ? offsets[k] : k * b_depth) + (j / b_width) * b_panel + j % b_width]; b_width is a multiple of
  /// gemm_lanes(), and every so many columns begun must be readable.
  const float* b = nullptr;
  const int64_t* offsets = nullptr;
  int64_t b_depth = kPanel, b_panel = 0, b_width = kPanel;
  float* c = nullptr;
  int64_t c_row = 0;
  const float* bias = nullptr;  // null: none; bias(i, j) = bias[i * bias_row + j * bias_column], bias_column 0 or 1
  int64_t bias_row = 0, bias_column = 0;
  float alpha = 1, beta = 1;
  bool accumulate = false;  // start from what C holds
  Activation activation;
  bool deterministic = false;  // products and sums are rounded one by one: the same bits on every instruction set
};

void gemm_block(const GemmBlock& block);

/// Floats of a vector; divides 16.
int64_t gemm_lanes();

/// C(i, j) += the sum over images, runs and x < run_floats of a[i * a_row + place] * b[offsets[j] + place], with place = image *
/// image step + run * run step + x. run_floats is a multiple of gemm_lanes().
struct DotBlock {
  int64_t rows = 0, columns = 0;
  int64_t images = 1, runs = 1, run_floats = 0;
  const float* a = nullptr;
  int64_t a_row = 0, a_image = 0, a_run = 0;
  const float* b = nullptr;
  const int64_t* offsets = nullptr;
  int64_t b_image = 0, b_run = 0;
  float* c = nullptr;
  int64_t c_row = 0;
};

constexpr int kDotRows = 4;  // of a tile; more rows at once gain nothing

void dot_block(const DotBlock& block);

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
  bool deterministic = false;
  float* left =
      nullptr;  // kGemmLeftFloats for each thread, in which parts of A are brought together; null: A is read where it lies
};

/// Floats of scratch that gemm_f32 needs for these sizes and strides: few rows need none or little, others room for a packed B.
/// False when the number does not fit.
bool gemm_scratch_floats(const Gemm& gemm, int64_t* floats);
void gemm_f32(const Gemm& gemm, float* scratch, const Parallel& parallel);

/// As gemm_f32 for a B that lies in panels already: those of 16 columns as gemm_pack makes them, behind them the last n % 16
/// columns row by row. `scratch`: gemm_panel_floats of these.
void gemm_panels_f32(const Gemm& gemm, float* scratch, const Parallel& parallel);

/// Floats of `columns` packed columns of B; false when the number does not fit.
bool gemm_panel_floats(int64_t columns, int64_t depth, int64_t* floats);

/// Packs columns [first, first + count) of B into panels of 16 columns, zero where B ends.
void gemm_pack(const float* b, int64_t b_depth, int64_t b_column, int64_t depth, int64_t first, int64_t count, float* panels);

/// One tile of a block: `rows` x `vectors` vectors of which the last may be partial.
struct GemmTile {
  const float* a;
  int64_t a_row, a_depth;
  const float* b;  // the panel of the tile's first column, which is its column `place`
  const int64_t* offsets;
  int64_t b_depth, b_panel, b_width;
  int64_t place;
  int64_t column, columns;  // first column in the block, and how many
  int64_t depth;
  float* c;
  int64_t c_row;
  bool load_c, last;
  const float* bias;
  int64_t bias_row, bias_column;
  float alpha, beta, low, high;
};

constexpr int kGemmMaxRows = 6, kGemmMinRows = 4;  // a full tile has one or the other
constexpr int kGemmMaxVectors = 8;
constexpr int kDotColumns = 3;      // of a tile of several rows
constexpr int kDotWideColumns = 9;  // of a tile of one row

struct GemmTable {
  int rows, vectors, wide_vectors, lanes;  // of a full tile; `wide_vectors` when there is one row
  void (*tile[kGemmMaxRows + 1][kGemmMaxVectors + 1])(const GemmTile& tile);
  void (*pack_transposed)(const float* b, int64_t b_column, int64_t depth, float* panel);
  void (*dot)(const float* a, const float* b, int64_t b_column, int64_t depth, int64_t count, float* sums);
};

/// Apart from the products, so that a program without gradients does not link it.
struct DotTable {
  int lanes;
  void (*tile[kDotRows + 1][kDotWideColumns + 1])(const DotBlock& tile);  // the whole block is one tile
};

}  // namespace penlight
