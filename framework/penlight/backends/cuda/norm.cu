// Layer and RMS normalisation over rows, forward and backward. SPDX-License-Identifier: Apache-2.0
// The variance takes a second look at the row instead of E[x^2] - E[x]^2, which cancels when the mean is large.
#include "common.cuh"

struct Moments {
  float mean;
  float rstd;  // 1 / sqrt(variance + eps)
};

template <typename T>
__device__ Moments row_moments(const T* row, size_t columns, float eps) {
  float sum = 0.0f, squares = 0.0f;
  for (size_t i = threadIdx.x; i < columns; i += blockDim.x) sum += to_float(row[i]);
  float mean = reduce_row(sum, Add()) / columns;
  for (size_t i = threadIdx.x; i < columns; i += blockDim.x) {
    float centred = to_float(row[i]) - mean;
    squares += centred * centred;
  }
  return {mean, 1.0f / sqrtf(reduce_row(squares, Add()) / columns + eps)};
}

// `weight` and `bias` (columns,) may be null. `rstd` and `mean` are (rows,): 1 / sqrt(variance + eps), and the mean.
template <typename T>
__global__ void layer_norm_forward(const T* x, const T* weight, const T* bias, T* y, float* rstd, float* mean, size_t rows,
                                   size_t columns, float eps) {
  for (size_t row = first_row(); row < rows; row += row_step()) {
    const T* in = x + row * columns;
    Moments moments = row_moments(in, columns, eps);
    for (size_t i = threadIdx.x; i < columns; i += blockDim.x) {
      float normal = (to_float(in[i]) - moments.mean) * moments.rstd;
      float scaled = weight ? normal * to_float(weight[i]) : normal;
      y[row * columns + i] = from_float<T>(bias ? scaled + to_float(bias[i]) : scaled);
    }
    if (threadIdx.x == 0) {
      rstd[row] = moments.rstd;
      mean[row] = moments.mean;
    }
  }
}

// With n the normalised row and h = grad * weight: dx = (h - mean(h) - n * mean(h * n)) * rstd.
// Computes the moments again, in float whatever T is, and leaves them for layer_norm_partial.
template <typename T>
__global__ void layer_norm_backward(const T* grad, const T* x, const T* weight, T* grad_x, float* means, float* rstds, size_t rows,
                                    size_t columns, float eps) {
  for (size_t row = first_row(); row < rows; row += row_step()) {
    const T *in = x + row * columns, *g = grad + row * columns;
    Moments moments = row_moments(in, columns, eps);
    float sum = 0.0f, dot = 0.0f;
    for (size_t i = threadIdx.x; i < columns; i += blockDim.x) {
      float h = to_float(g[i]) * (weight ? to_float(weight[i]) : 1.0f);
      sum += h;
      dot += h * (to_float(in[i]) - moments.mean) * moments.rstd;
    }
    float mean_h = reduce_row(sum, Add()) / columns, mean_dot = reduce_row(dot, Add()) / columns;
    for (size_t i = threadIdx.x; i < columns; i += blockDim.x) {
      float h = to_float(g[i]) * (weight ? to_float(weight[i]) : 1.0f);
      float normal = (to_float(in[i]) - moments.mean) * moments.rstd;
      grad_x[row * columns + i] = from_float<T>((h - mean_h - normal * mean_dot) * moments.rstd);
    }
    if (threadIdx.x == 0) {
      means[row] = moments.mean;
      rstds[row] = moments.rstd;
    }
  }
}

// First stage of the parameters' gradients: block (c, chunk) sums kColumns columns over rows_per_chunk rows into
// partial_weight/partial_bias (chunks, columns). Two stages and no atomics: the same bits every time. `means` null counts as 0.
constexpr int kColumns = 32, kRowLanes = 8;
template <typename T>
__global__ void layer_norm_partial(const T* grad, const T* x, const float* means, const float* rstds, float* partial_weight,
                                   float* partial_bias, size_t rows, size_t columns, size_t rows_per_chunk) {
  __shared__ float weight_sums[kRowLanes][kColumns], bias_sums[kRowLanes][kColumns];
  size_t column = static_cast<size_t>(blockIdx.x) * kColumns + threadIdx.x;
  size_t begin = blockIdx.y * rows_per_chunk, end = begin + rows_per_chunk < rows ? begin + rows_per_chunk : rows;
  float weight_sum = 0.0f, bias_sum = 0.0f;
  if (column < columns) {
    for (size_t row = begin + threadIdx.y; row < end; row += kRowLanes) {
      float g = to_float(grad[row * columns + column]);
      bias_sum += g;
      weight_sum += g * (to_float(x[row * columns + column]) - (means ? means[row] : 0.0f)) * rstds[row];
    }
  }
  weight_sums[threadIdx.y][threadIdx.x] = weight_sum;
  bias_sums[threadIdx.y][threadIdx.x] = bias_sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  for (int lane = 1; lane < kRowLanes; ++lane) {
    weight_sum += weight_sums[lane][threadIdx.x];
    bias_sum += bias_sums[lane][threadIdx.x];
  }
  partial_weight[blockIdx.y * columns + column] = weight_sum;
  partial_bias[blockIdx.y * columns + column] = bias_sum;
}

// Second stage: grad_weight and grad_bias (columns,), each may be null.
template <typename T>
__global__ void layer_norm_parameters(const float* partial_weight, const float* partial_bias, T* grad_weight, T* grad_bias,
                                      size_t chunks, size_t columns) {
  for (size_t column = global_thread(); column < columns; column += global_threads()) {
    float weight_sum = 0.0f, bias_sum = 0.0f;
    for (size_t chunk = 0; chunk < chunks; ++chunk) {
      weight_sum += partial_weight[chunk * columns + column];
      bias_sum += partial_bias[chunk * columns + column];
    }
    if (grad_weight) grad_weight[column] = from_float<T>(weight_sum);
    if (grad_bias) grad_bias[column] = from_float<T>(bias_sum);
  }
}

// y = x * rstd * weight, where rstd (rows,) is 1 / sqrt(mean(x^2) + eps); `weight` (columns,) may be null.
template <typename T>
__global__ void rms_norm_forward(const T* x, const T* weight, T* y, float* rstd, size_t rows, size_t columns, float eps) {
  for (size_t row = first_row(); row < rows; row += row_step()) {
    const T* in = x + row * columns;
    float squares = 0.0f;
    for (size_t i = threadIdx.x; i < columns; i += blockDim.x) squares += to_float(in[i]) * to_float(in[i]);
    float scale = 1.0f / sqrtf(reduce_row(squares, Add()) / columns + eps);
    for (size_t i = threadIdx.x; i < columns; i += blockDim.x)
      y[row * columns + i] = from_float<T>(to_float(in[i]) * scale * (weight ? to_float(weight[i]) : 1.0f));
    if (threadIdx.x == 0) rstd[row] = scale;
  }
}

// With n the normalised row and h = grad * weight: dx = (h - n * mean(h * n)) * rstd.
template <typename T>
__global__ void rms_norm_backward(const T* grad, const T* x, const T* weight, const float* rstds, T* grad_x, size_t rows,
                                  size_t columns) {
  for (size_t row = first_row(); row < rows; row += row_step()) {
    const T *in = x + row * columns, *g = grad + row * columns;
    float rstd = rstds[row], dot = 0.0f;
    for (size_t i = threadIdx.x; i < columns; i += blockDim.x)
      dot += to_float(g[i]) * (weight ? to_float(weight[i]) : 1.0f) * to_float(in[i]) * rstd;
    float mean = reduce_row(dot, Add()) / columns;
    for (size_t i = threadIdx.x; i < columns; i += blockDim.x) {
      float h = to_float(g[i]) * (weight ? to_float(weight[i]) : 1.0f);
      grad_x[row * columns + i] = from_float<T>((h - to_float(in[i]) * rstd * mean) * rstd);
    }
  }
}
