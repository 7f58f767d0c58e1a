// Softmax and its logarithm over the last axis, forward and backward. SPDX-License-Identifier: Apache-2.0
// Forward reads a row twice: for its statistics, and to write.
#include "common.cuh"

template <typename T>
__global__ void softmax_forward(const T* x, T* y, size_t rows, size_t columns) {
  for (size_t row = first_row(); row < rows; row += row_step()) {
    RowStatistics statistics = row_statistics(x + row * columns, columns);
    float scale = 1.0f / statistics.sum;
    for (size_t i = row * columns + threadIdx.x; i < (row + 1) * columns; i += blockDim.x)
      y[i] = from_float<T>(expf(to_float(x[i]) - statistics.maximum) * scale);
  }
}

// dx = y * (g - sum(g * y))
template <typename T>
__global__ void softmax_backward(const T* grad, const T* output, T* grad_x, size_t rows, size_t columns) {
  for (size_t row = first_row(); row < rows; row += row_step()) {
    float dot = 0.0f;
    for (size_t i = row * columns + threadIdx.x; i < (row + 1) * columns; i += blockDim.x)
      dot += to_float(grad[i]) * to_float(output[i]);
    dot = reduce_row(dot, Add());
    for (size_t i = row * columns + threadIdx.x; i < (row + 1) * columns; i += blockDim.x)
      grad_x[i] = from_float<T>(to_float(output[i]) * (to_float(grad[i]) - dot));
  }
}

template <typename T>
__global__ void log_softmax_forward(const T* x, T* y, size_t rows, size_t columns) {
  for (size_t row = first_row(); row < rows; row += row_step()) {
    RowStatistics statistics = row_statistics(x + row * columns, columns);
    float log_sum = logf(statistics.sum);
    for (size_t i = row * columns + threadIdx.x; i < (row + 1) * columns; i += blockDim.x)
      y[i] = from_float<T>(to_float(x[i]) - statistics.maximum - log_sum);
  }
}

// dx = g - exp(y) * sum(g)
template <typename T>
__global__ void log_softmax_backward(const T* grad, const T* output, T* grad_x, size_t rows, size_t columns) {
  for (size_t row = first_row(); row < rows; row += row_step()) {
    float sum = 0.0f;
    for (size_t i = row * columns + threadIdx.x; i < (row + 1) * columns; i += blockDim.x) sum += to_float(grad[i]);
    sum = reduce_row(sum, Add());
    for (size_t i = row * columns + threadIdx.x; i < (row + 1) * columns; i += blockDim.x)
      grad_x[i] = from_float<T>(to_float(grad[i]) - expf(to_float(output[i])) * sum);
  }
}
