// Cross-entropy of logits against class indices, fused with its log-softmax. SPDX-License-Identifier: Apache-2.0
// A target outside of [0, columns) that is not `ignore_index` gives NaN in its row: a kernel cannot raise.
#include "common.cuh"

// log_probabilities (rows, columns) = x - log(sum(exp(x))), and with s the smoothing
// losses (rows,) = -(1 - s) * log_probabilities[target] - s * mean(log_probabilities), 0 where ignored.
template <typename T>
__global__ void cross_entropy_forward(const T* x, const int64* target, T* losses, T* log_probabilities, size_t rows, size_t columns,
                                      int64 ignore_index, float label_smoothing) {
  for (size_t row = first_row(); row < rows; row += row_step()) {
    const T* logits = x + row * columns;
    RowStatistics statistics = row_statistics(logits, columns);
    float log_sum = logf(statistics.sum), total = 0.0f;
    for (size_t i = threadIdx.x; i < columns; i += blockDim.x) {
      float value = to_float(logits[i]) - statistics.maximum - log_sum;
      log_probabilities[row * columns + i] = from_float<T>(value);
      total += value;
    }
    float mean = label_smoothing > 0.0f ? reduce_row(total, Add()) / columns : 0.0f;
    if (threadIdx.x != 0) continue;
    int64 label = target[row];
    bool valid = label >= 0 && static_cast<size_t>(label) < columns;
    float picked = valid ? to_float(logits[label]) - statistics.maximum - log_sum : not_a_number();
    losses[row] = from_float<T>(label == ignore_index ? 0.0f : -(1.0f - label_smoothing) * picked - label_smoothing * mean);
  }
}

// grad_x = grad[row] * (exp(log_probabilities) - (1 - s) * onehot(target) - s / columns), 0 where ignored.
template <typename T>
__global__ void cross_entropy_backward(const T* grad, const T* log_probabilities, const int64* target, T* grad_x, size_t rows,
                                       size_t columns, int64 ignore_index, float label_smoothing) {
  for (size_t row = first_row(); row < rows; row += row_step()) {
    int64 label = target[row];
    bool valid = label >= 0 && static_cast<size_t>(label) < columns;
    float scale = label == ignore_index ? 0.0f : valid ? to_float(grad[row]) : not_a_number();
    for (size_t i = threadIdx.x; i < columns; i += blockDim.x) {
      float expected = label_smoothing / columns + (static_cast<int64>(i) == label ? 1.0f - label_smoothing : 0.0f);
      float slope = expf(to_float(log_probabilities[row * columns + i])) - expected;
      grad_x[row * columns + i] = from_float<T>(scale == 0.0f ? 0.0f : scale * slope);
    }
  }
}
