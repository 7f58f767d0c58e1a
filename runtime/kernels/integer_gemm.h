// Bare products of 8-bit matrices, exact in 32 bits. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "isa.h"
#include "parallel.h"

namespace penlight {

/// Numbers of 8 bits, and the zero points of their rows (left) or columns (right): one, or each its own when zero_step is 1.
struct ByteMatrix {
  const void* data = nullptr;
  bool is_signed = false;
  const void* zero = nullptr;  // of the same type; null: zeros
  int64_t zero_step = 0;
};

/// What a byte means: (byte ^ flip) - point. Signed bytes are flipped to unsigned ones, and so are their zero points.
struct ByteZero {
  uint8_t flip = 0;
  int16_t point = 0;
};

inline ByteZero byte_zero(const ByteMatrix& matrix, int64_t line) {
  const uint8_t byte = matrix.zero != nullptr ? static_cast<const uint8_t*>(matrix.zero)[line * matrix.zero_step] : 0;
  const uint8_t flip = matrix.is_signed ? 0x80 : 0;
  return {flip, static_cast<int16_t>(byte ^ flip)};
}

/// (a - a's zero points) * (b - b's zero points) as rows of sums; sums wrap as int32 does. a is row-major.
struct IntegerGemm {
  int64_t m = 0, n = 0, k = 0;
  ByteMatrix a, b;
  /// Columns [first, first + count) of row `line` of b: where they lie, or copied into `buffer`. Null: b is row-major.
  const uint8_t* (*right)(const void* source, int64_t line, int64_t first, int64_t count, uint8_t* buffer) = nullptr;
  const void* source = nullptr;
  /// Takes the sums of columns [first, first + count) of a row; called from several threads.
  void (*finish)(const void* target, int64_t row, int64_t first, int64_t count, int32_t* sums) = nullptr;
  const void* target = nullptr;
};

/// Scratch for these sizes; false when the number does not fit.
bool integer_gemm_scratch_bytes(int64_t m, int64_t n, int64_t k, size_t threads, int64_t* bytes);
void integer_gemm(const IntegerGemm& gemm, void* scratch, const Parallel& parallel);

/// y = sums, rounded to even within [low, high]: the numbers of `quantized` for (sum + bias) * scale * own.
struct Requantize {
  int32_t bias = 0;
  float scale = 1, own = 1, zero = 0, low = 0, high = 0;
};

/// One tap of a filter: pairs of the image and the pair of weights that they meet.
struct ByteTap {
  const int16_t* pairs;
  int32_t weight;
};

constexpr int64_t kIntegerPanel = 16;                 // columns of a packed panel
constexpr int64_t kIntegerHalf = 8;                   // of them, where a panel has no more
constexpr int kIntegerRows = PENLIGHT_SMALL ? 2 : 6;  // of a tile

struct IntegerGemmTable {
  /// sums[i * sums_row + j] of a tile: rows of pairs of 16-bit numbers times a panel of such pairs.
  using Tile = void (*)(const int16_t* a, int64_t a_row, const int16_t* panel, int64_t pairs, int32_t* sums, int64_t sums_row);
  Tile tile[kIntegerRows + 1], half_tile[kIntegerRows + 1];
  void (*interleave)(const uint8_t* a, const uint8_t* b, int64_t count, ByteZero zero, int16_t* pairs, int64_t step);
  void (*widen)(const uint8_t* x, int64_t count, ByteZero zero, int16_t* wide);
  int32_t (*dot)(const uint8_t* x, ByteZero zero, const int16_t* y, int64_t count);
  // Null where code is small: those of convolutions that are computed one output after the other there.
  void (*taps)(const ByteTap* taps, int64_t tap_count, int64_t count, int64_t first, int32_t* sums);
  void (*split)(const int32_t* from, int64_t count, int32_t* even, int32_t* odd);
  void (*three)(const int16_t* const* columns, int64_t next, const int32_t* weights, int64_t count, int32_t* even, int32_t* odd);
  void (*requantize)(const int32_t* sums, int64_t count, const Requantize& requantize, uint8_t* y);
  void (*scale)(const int32_t* sums, int64_t count, float scale, const float* own, const float* bias, float* y);
};

const IntegerGemmTable& integer_gemm_table();

}  // namespace penlight
