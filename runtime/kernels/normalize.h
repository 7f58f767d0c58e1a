// Bare normalisations and softmax of float rows, vectorised for each instruction set. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "parallel.h"

namespace penlight {

/// Softmax, or its logarithm, of each of `rows` rows of `width` floats; y may be x. A row of -inf alone becomes NaN.
void softmax_rows_f32(const float* x, float* y, int64_t rows, int64_t width, bool logarithm, const Parallel& parallel);

/// As one row of it, y may be x; exponentials are within 2 ULP, and rounded as the instruction set does.
void softmax_row_near_f32(const float* x, float* y, int64_t width);

/// Sums in lanes, of x[i] and of x[i] * y[i].
float sum_f32(const float* x, int64_t count);
float dot_f32(const float* x, const float* y, int64_t count);
/// Mean and variance (divided by count) of a row, in two passes.
void moments_f32(const float* x, int64_t count, float* mean, float* variance);
/// The sum of (x[i] - shift)^2.
float square_sum_f32(const float* x, float shift, int64_t count);

/// y[i] = (x[i] - mean) * scale * weight[i] + bias[i]; weight and bias may be null; y may be x.
void scale_shift_f32(const float* x, float mean, float scale, const float* weight, const float* bias, float* y, int64_t count);
/// y[i] = (x[i] - mean) * scale + shift.
void affine_f32(const float* x, float mean, float scale, float shift, float* y, int64_t count);

/// Layer normalisation of each row. weight and bias (width,), mean and inverse_deviation (rows,) may be null.
void layer_norm_rows_f32(const float* x, const float* weight, const float* bias, float epsilon, int64_t rows, int64_t width,
                         float* y, float* mean, float* inverse_deviation, const Parallel& parallel);

/// Apart from the others, so that only a program with attention links it.
struct NearTable {
  float (*exp_sum)(const float* x, float shift, float* y, int64_t n);
};

struct NormalizeTable {
  float (*maximum)(const float* x, int64_t n);
  float (*exp_sum)(const float* x, float shift, float* y, int64_t n);  // y = exp(x - shift), may be null; the sum
  float (*sum)(const float* x, int64_t n);
  float (*square_sum)(const float* x, float shift, int64_t n);
  float (*dot)(const float* x, const float* y, int64_t n);
  void (*affine)(const float* x, float shift, float scale, float add, float* y, int64_t n);
  void (*scale_shift)(const float* x, float shift, float scale, const float* weight, const float* bias, float* y, int64_t n);
};

}  // namespace penlight
