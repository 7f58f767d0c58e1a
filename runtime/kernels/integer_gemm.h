// Bare products of 8-bit matrices, exact in 32 bits. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "isa.h"
#include "parallel.h"

namespace penlight {

/// Numbers of 8 bits, and the zero points of their rows or columns: one, or each its own when zero_step is 1.
struct ByteMatrix {
  const void* data = nullptr;
  bool is_signed = false;
  const void* zero = nullptr;  // of the same type; null: zeros
  int64_t zero_step = 0;
};

/// c = (a - a's zero points) * (b - b's zero points), all row-major; sums wrap as int32 does.
struct IntegerGemm {
  int64_t m = 0, n = 0, k = 0;
  ByteMatrix a, b;
  int32_t* c = nullptr;
};

/// Scratch for these sizes; false when the number does not fit.
bool integer_gemm_scratch_bytes(int64_t m, int64_t n, int64_t k, size_t threads, int64_t* bytes);
void integer_gemm(const IntegerGemm& gemm, void* scratch, const Parallel& parallel);

constexpr int64_t kIntegerPanel = 16;                 // columns of a packed panel
constexpr int kIntegerRows = PENLIGHT_SMALL ? 2 : 6;  // of a tile

struct IntegerGemmTable {
  /// sums[i * kIntegerPanel + j] of a tile: rows of pairs of 16-bit numbers times a panel of such pairs.
  void (*tile[kIntegerRows + 1])(const int16_t* a, int64_t a_row, const int16_t* panel, int64_t pairs, int32_t* sums);
};

}  // namespace penlight
