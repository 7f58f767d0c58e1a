// Cross-entropy of logits against class indices: loss and gradient in one kernel. SPDX-License-Identifier: Apache-2.0
// Per row: loss = log_sum - (1 - s) * x[target] - s * mean(x), gradient = softmax(x) - (1 - s) * onehot(target) - s / columns,
// with s the label smoothing. A target outside of [0, columns) that is not `ignore_index` gives NaN: a kernel cannot raise.
#include "common.cuh"

// Threads of one block that all get the sum; for the small reductions over rows.
__device__ inline float reduce_block(float value) { return reduce_row(value, Add()); }

// `losses` (rows,) and `grad_x` (rows, columns) may each be null; grad_x is multiplied by *scale.
template <typename T>
__global__ void cross_entropy_rows(const T* x, const int64* target, const float* scale, float* losses, T* grad_x, size_t rows,
                                   size_t columns, int64 ignore_index, float smoothing) {
  for (size_t row = first_row(); row < rows; row += row_step()) {
    const T* logits = x + row * columns;
    int64 label = target[row];
    bool ignored = label == ignore_index, valid = label >= 0 && static_cast<size_t>(label) < columns;
    RowStatistics statistics = row_statistics(logits, columns);
    if (losses) {
      float mean = 0.0f;
      if (smoothing > 0.0f) {
        for (size_t i = threadIdx.x; i < columns; i += blockDim.x) mean += to_float(logits[i]) / columns;
        mean = reduce_row(mean, Add());
      }
      float picked = valid ? to_float(logits[label]) : not_a_number();
      float smoothed = smoothing > 0.0f ? smoothing * (statistics.maximum - mean) : 0.0f;
      if (threadIdx.x == 0)
        losses[row] = ignored ? 0.0f : logf(statistics.sum) + (1.0f - smoothing) * (statistics.maximum - picked) + smoothed;
    }
    if (!grad_x) continue;
    float inverse = 1.0f / statistics.sum;
    for (size_t i = threadIdx.x; i < columns; i += blockDim.x) {
      float expected = (valid && i == static_cast<size_t>(label) ? 1.0f - smoothing : 0.0f) + smoothing / columns;
      float slope = valid ? expf(to_float(logits[i]) - statistics.maximum) * inverse - expected : not_a_number();
      grad_x[row * columns + i] = from_float<T>(ignored ? 0.0f : slope * *scale);
    }
  }
}

// One block. *scale = *upstream, divided by the number of rows that count when `mean`; upstream null means 1.
template <typename T>
__global__ void cross_entropy_scale(const int64* target, const T* upstream, float* scale, size_t rows, int64 ignore_index,
                                    int mean) {
  float counted = 0.0f;
  if (mean)
    for (size_t row = threadIdx.x; row < rows; row += blockDim.x) counted += target[row] != ignore_index ? 1.0f : 0.0f;
  counted = reduce_block(counted);
  if (threadIdx.x == 0) *scale = (upstream ? to_float(*upstream) : 1.0f) / (mean ? counted : 1.0f);
}

// One block, a fixed order: the same loss every time. *loss = *scale * sum(losses).
template <typename T>
__global__ void cross_entropy_total(const float* losses, const float* scale, T* loss, size_t rows) {
  float total = 0.0f;
  for (size_t row = threadIdx.x; row < rows; row += blockDim.x) total += losses[row];
  total = reduce_block(total);
  if (threadIdx.x == 0) *loss = from_float<T>(total * *scale);
}
