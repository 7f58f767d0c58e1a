// Softmax and normalisation of rows around the functions of simd/normalize.h. SPDX-License-Identifier: Apache-2.0
#include "normalize.h"

#include <math.h>

#include "isa.h"
#include "real_functions.h"
#include "vector_math.h"

// clang-format off
#include "simd/baseline.h"
#include "simd/baseline_begin.h"
#include "simd/normalize.h"
#if PENLIGHT_BASELINE_FUSES
#include "simd/fused_begin.h"
#endif
#include "simd/exp_near.h"
#if PENLIGHT_BASELINE_FUSES
#include "simd/fused_end.h"
#endif
#include "simd/baseline_end.h"
#if PENLIGHT_X86
#include "simd/avx2.h"
#include "simd/avx2_begin.h"
#include "simd/normalize.h"
#include "simd/fused_begin.h"
#include "simd/exp_near.h"
#include "simd/fused_end.h"
#include "simd/avx2_end.h"
#include "simd/avx512.h"
#include "simd/avx512_begin.h"
#include "simd/normalize.h"
#include "simd/fused_begin.h"
#include "simd/exp_near.h"
#include "simd/fused_end.h"
#include "simd/avx512_end.h"
#endif
// clang-format on

namespace penlight {

namespace {

constexpr const NormalizeTable* kNormalizeTables[] = {
    &baseline::kNormalizeTable,
#if PENLIGHT_X86
    &avx2::kNormalizeTable,
    &avx512::kNormalizeTable,
#endif
};

constexpr const NearTable* kNearTables[] = {
#if PENLIGHT_BASELINE_FUSES
    &baseline::fused::kNearTable,
#else
    &baseline::kNearTable,
#endif
#if PENLIGHT_X86
    &avx2::fused::kNearTable,
    &avx512::fused::kNearTable,
#endif
};

constexpr int64_t kNormalizeGrain = 4096;  // elements worth a thread

size_t normalize_grain(int64_t width) { return static_cast<size_t>(kNormalizeGrain / (width > 0 ? width : 1) + 1); }

}  // namespace

void softmax_rows_f32(const float* x, float* y, int64_t rows, int64_t width, bool logarithm, const Parallel& parallel) {
  parallel_ranges(parallel, static_cast<size_t>(rows), normalize_grain(width), [&](size_t begin, size_t end) {
    const NormalizeTable& table = *table_for_isa(kNormalizeTables);  // known here where there is one: the rest of it is dropped
    for (size_t r = begin; r < end; ++r) {
      const float* from = x + static_cast<int64_t>(r) * width;
      float* to = y + static_cast<int64_t>(r) * width;
      const float largest = table.maximum(from, width);
      const float sum = table.exp_sum(from, largest, logarithm ? nullptr : to, width);
      if (logarithm)
        table.affine(from, largest, 1.0f, static_cast<float>(-real_log(static_cast<double>(sum))), to, width);
      else
        table.affine(to, 0.0f, 1.0f / sum, 0.0f, to, width);
    }
  });
}

void softmax_row_near_f32(const float* x, float* y, int64_t width) {
  const NormalizeTable& table = *table_for_isa(kNormalizeTables);
  const float largest = table.maximum(x, width);
  if (!(largest - largest == 0.0f)) return softmax_rows_f32(x, y, 1, width, false, Parallel{});  // not finite
  const float sum = table_for_isa(kNearTables)->exp_sum(x, largest, y, width);
  table.affine(y, 0.0f, 1.0f / sum, 0.0f, y, width);
}

float sum_f32(const float* x, int64_t count) { return table_for_isa(kNormalizeTables)->sum(x, count); }

float dot_f32(const float* x, const float* y, int64_t count) { return table_for_isa(kNormalizeTables)->dot(x, y, count); }

void moments_f32(const float* x, int64_t count, float* mean, float* variance) {
  const NormalizeTable& table = *table_for_isa(kNormalizeTables);
  *mean = table.sum(x, count) / static_cast<float>(count);
  *variance = table.square_sum(x, *mean, count) / static_cast<float>(count);
}

float square_sum_f32(const float* x, float shift, int64_t count) {
  return table_for_isa(kNormalizeTables)->square_sum(x, shift, count);
}

void scale_shift_f32(const float* x, float mean, float scale, const float* weight, const float* bias, float* y, int64_t count) {
  table_for_isa(kNormalizeTables)->scale_shift(x, mean, scale, weight, bias, y, count);
}

void affine_f32(const float* x, float mean, float scale, float shift, float* y, int64_t count) {
  table_for_isa(kNormalizeTables)->affine(x, mean, scale, shift, y, count);
}

void layer_norm_rows_f32(const float* x, const float* weight, const float* bias, float epsilon, int64_t rows, int64_t width,
                         float* y, float* mean, float* inverse_deviation, const Parallel& parallel) {
  parallel_ranges(parallel, static_cast<size_t>(rows), normalize_grain(width), [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r) {
      const float* from = x + static_cast<int64_t>(r) * width;
      float row_mean = 0.0f, variance = 0.0f;
      moments_f32(from, width, &row_mean, &variance);
      const float scale = 1.0f / sqrtf(variance + epsilon);
      if (y != nullptr) scale_shift_f32(from, row_mean, scale, weight, bias, y + static_cast<int64_t>(r) * width, width);
      if (mean != nullptr) mean[r] = row_mean;
      if (inverse_deviation != nullptr) inverse_deviation[r] = scale;
    }
  });
}

}  // namespace penlight
