// MatMulDequantized: floats times weights of 8 bits, which are scaled where they are read. SPDX-License-Identifier: Apache-2.0
#include "gemm.h"
#include "isa.h"
#include "quantize.h"

namespace penlight {

namespace {

constexpr int64_t kWeightRowsOnce = 8;

/// As simd/weight_rows.h says.
struct WeightRows {
  void (*add)(const float* x, const uint8_t* w, int64_t row, int64_t rows, int64_t count, bool is_signed, int32_t point,
              float* sums);
};

}  // namespace

}  // namespace penlight

// clang-format off
#include "simd/baseline.h"
#include "simd/baseline_begin.h"
#include "simd/weight_rows.h"
#include "simd/baseline_end.h"
#if PENLIGHT_X86
#include "simd/avx2.h"
#include "simd/avx2_begin.h"
#include "simd/weight_rows.h"
#include "simd/avx2_end.h"
#endif
// clang-format on

namespace penlight {

namespace {

constexpr const WeightRows* kWeightRowTables[] = {
    &baseline::kWeightRows,
#if PENLIGHT_X86
    &avx2::kWeightRows,
#endif
};

constexpr int64_t kFewRows = 4;  // of x: more are worth a matrix of floats

/// Scale and zero point of weight (i, j) are number i / block * block_step + j * column_step.
struct DequantizedState {
  int64_t m = 1, n = 0, k = 0;
  int64_t block = 0, block_step = 0, column_step = 0;
};

Status read_scales(Context& context, DequantizedState* s) {
  const Shape& scale = context.input(2).shape;
  const int64_t block = context.attributes->integer("block_size", 0);
  s->block = s->k > 0 ? s->k : 1;
  if (block == 0 && (scale.count() == 1 || (scale.rank == 1 && scale.dims[0] == s->n))) {
    s->column_step = scale.count() == 1 ? 0 : 1;
    return Status::kOk;
  }
  s->block_step = s->n;
  s->column_step = 1;
  if (block > 0 && scale.rank == 2 && scale.dims[1] == s->n && scale.dims[0] == (s->k > 0 ? (s->k - 1) / block + 1 : 0)) {
    s->block = block;
    return Status::kOk;
  }
  return context.fail(Status::kShapeMismatch, "the scales must be one, one for each column, or one for each column of a block");
}

int32_t weight_zero(const Tensor& zero, int64_t place) {
  if (!zero.present()) return 0;
  return zero.dtype == DType::kI8 ? zero.as<int8_t>()[place] : zero.as<uint8_t>()[place];
}

/// Columns [begin, end) of y = one row of x times the weights; `sums` has room for them.
void multiply_row(const Context& context, const DequantizedState& s, const float* x, int64_t begin, int64_t end, float* sums,
                  float* y) {
  const Tensor &w = context.input(1), &scale = context.input(2), &zero = context.input(3);
  const WeightRows& table = *table_for_isa(kWeightRowTables);
  for (int64_t j = begin; j < end; ++j) y[j] = 0;
  for (int64_t first = 0; first < s.k; first += s.block) {
    const int64_t rows = s.k - first < s.block ? s.k - first : s.block, place = first / s.block * s.block_step;
    const int32_t point = s.column_step == 0 ? weight_zero(zero, 0) : 0;
    __builtin_memset(sums + begin, 0, static_cast<size_t>(end - begin) * sizeof(float));
    table.add(x + first, w.as<uint8_t>() + first * s.n + begin, s.n, rows, end - begin, w.dtype == DType::kI8, point, sums + begin);
    float total = 0;  // of x, for zero points of columns
    for (int64_t i = 0; zero.present() && i < rows; ++i) total += x[first + i];
    for (int64_t j = begin; j < end; ++j) {
      const int64_t at = place + j * s.column_step;
      const float correction = s.column_step == 0 ? 0.0f : total * static_cast<float>(weight_zero(zero, at));
      y[j] += (sums[j] - correction) * scale.as<float>()[at];
    }
  }
}

void dequantize_weights(const Context& context, const DequantizedState& s, int64_t begin, int64_t end, float* to) {
  const Tensor &w = context.input(1), &scale = context.input(2), &zero = context.input(3);
  for (int64_t i = begin; i < end; ++i)
    for (int64_t j = 0; j < s.n; ++j) {
      const int64_t place = i / s.block * s.block_step + j * s.column_step;
      const int32_t byte = w.dtype == DType::kI8 ? w.as<int8_t>()[i * s.n + j] : w.as<uint8_t>()[i * s.n + j];
      to[i * s.n + j] = static_cast<float>(byte - weight_zero(zero, place)) * scale.as<float>()[place];
    }
}

Gemm dequantized_gemm(const Context& context, const DequantizedState& s) {
  Gemm gemm;
  gemm.m = s.m;
  gemm.n = s.n;
  gemm.k = s.k;
  gemm.a = context.input(0).as<float>();
  gemm.a_row = s.k;
  gemm.b_depth = s.n;
  gemm.c_row = s.n;
  gemm.deterministic = context.deterministic;
  return gemm;
}

}  // namespace

/// x (..., k), weights (k, n) of 8 bits, scales, zero points.
Status matmul_dequantized_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, dtype_bit(DType::kF32)));
  PENLIGHT_TRY(check_dtype(context, 1, dtype_bit(DType::kI8) | dtype_bit(DType::kU8)));
  PENLIGHT_TRY(check_dtype(context, 2, dtype_bit(DType::kF32)));
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  PENLIGHT_TRY(check_rank(context, 1, 2, 2));
  const Shape &x = context.input(0).shape, &w = context.input(1).shape;
  DequantizedState& s = context.state_as<DequantizedState>();
  s = DequantizedState{};
  s.k = w.dims[0];
  s.n = w.dims[1];
  if (x.dims[x.rank - 1] != s.k) return context.fail(Status::kShapeMismatch, "inner sizes differ");
  PENLIGHT_TRY(read_scales(context, &s));
  if (context.input(3).present()) {
    PENLIGHT_TRY(check_same_dtype(context, 3, 1));
    if (!same_shape(context.input(3).shape, context.input(2).shape))
      return context.fail(Status::kShapeMismatch, "the zero points must have the shape of the scales");
  }
  Shape out = x;
  out.dims[out.rank - 1] = s.n;
  PENLIGHT_TRY(set_output(context, 0, DType::kF32, out));
  s.m = dims_product(out, 0, out.rank - 1);
  context.macs = saturating_mul(static_cast<uint64_t>(out.count()), static_cast<uint64_t>(s.k > 0 ? s.k : 1));
  int64_t floats = 0;
  if (s.m <= kFewRows) return add_scratch(context, s.n, sizeof(float)) ? Status::kOk : scratch_too_large(context);
  if (!add_scratch(context, w.count(), sizeof(float)) || !gemm_scratch_floats(dequantized_gemm(context, s), &floats) ||
      !add_scratch(context, floats, sizeof(float)))
    return scratch_too_large(context);
  return Status::kOk;
}

Status matmul_dequantized_run(Context& context) {
  const DequantizedState& s = context.state_as<DequantizedState>();
  const Tensor& x = context.input(0);
  float *y = context.output(0).as<float>(), *scratch = static_cast<float*>(context.scratch);
  if (context.output(0).shape.count() == 0) return Status::kOk;
  const Parallel parallel = context_parallel(context);
  if (s.m <= kFewRows) {
    parallel_ranges(parallel, static_cast<size_t>(s.n), 64, [&](size_t begin, size_t end) {
      for (int64_t i = 0; i < s.m; ++i)
        multiply_row(context, s, x.as<float>() + i * s.k, static_cast<int64_t>(begin), static_cast<int64_t>(end), scratch,
                     y + i * s.n);
    });
    return Status::kOk;
  }
  parallel_ranges(parallel, static_cast<size_t>(s.k), 8, [&](size_t begin, size_t end) {
    dequantize_weights(context, s, static_cast<int64_t>(begin), static_cast<int64_t>(end), scratch);
  });
  Gemm gemm = dequantized_gemm(context, s);
  gemm.b = scratch;
  gemm.c = y;
  gemm_f32(gemm, scratch + (s.k * s.n + 15) / 16 * 16, parallel);
  return Status::kOk;
}

}  // namespace penlight
