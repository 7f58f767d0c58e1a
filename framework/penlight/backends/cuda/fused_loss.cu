// Cross-entropy of logits with its gradient written in the forward pass. SPDX-License-Identifier: Apache-2.0
// A target outside of [0, columns) that is not `ignore_index` gives NaN in its row: a kernel cannot raise.
#include "common.cuh"

// With w the classes' weights (1 where null), t the target, s the smoothing, and wanted[c] = (c == t) * (1 - s) * w[t] + s / C *
// w[c]: losses (rows,) = -sum(wanted * log p), slopes (rows, columns) = (sum(wanted) * p - wanted) * factor. `slopes` may be `x`
// itself.
template <typename T>
__global__ void fused_cross_entropy_forward(const T* x, const int64* target, const T* weight, const float* factor, T* losses,
                                            T* slopes, size_t rows, size_t columns, int64 ignore_index, float label_smoothing) {
  float share = label_smoothing / columns, scale = factor ? *factor : 1.0f, weights = columns;
  for (size_t row = first_row(); row < rows; row += row_step()) {
    const T* logits = x + row * columns;
    RowStatistics statistics = row_statistics(logits, columns);
    float log_sum = statistics.maximum + logf(statistics.sum), inverse = 1.0f / statistics.sum;
    int64 label = target[row];
    bool is_ignored = label == ignore_index, is_valid = label >= 0 && static_cast<size_t>(label) < columns;
    float own = is_valid ? (1.0f - label_smoothing) * (weight ? to_float(weight[label]) : 1.0f) : not_a_number();
    float loss = is_valid ? own * (log_sum - to_float(logits[label])) : own;  // read before another thread writes there
    if (weight && share > 0.0f) {
      weights = 0.0f;
      for (size_t i = threadIdx.x; i < columns; i += blockDim.x) weights += to_float(weight[i]);
      weights = reduce_row(weights, Add());
    }
    if (blockDim.x == kWarp)
      __syncwarp();
    else
      __syncthreads();
    float total = own + share * weights, smooth = 0.0f;
    for (size_t i = threadIdx.x; i < columns; i += blockDim.x) {
      float value = to_float(logits[i]), wanted = share * (weight ? to_float(weight[i]) : 1.0f);
      if (wanted != 0.0f) smooth += wanted * (log_sum - value);  // where smoothing is 0, -inf logits cost nothing
      if (static_cast<int64>(i) == label) wanted += own;
      float slope = total * expf(value - statistics.maximum) * inverse - wanted;
      slopes[row * columns + i] = from_float<T>(is_ignored ? 0.0f : slope * scale);
    }
    if (share > 0.0f) smooth = reduce_row(smooth, Add());
    if (threadIdx.x == 0) losses[row] = from_float<T>(is_ignored ? 0.0f : loss + smooth);
  }
}

// grad_x = grad[row] * slopes
template <typename T>
__global__ void fused_cross_entropy_backward(const T* grad, const T* slopes, T* grad_x, size_t rows, size_t columns) {
  for (size_t row = first_row(); row < rows; row += row_step()) {
    float scale = to_float(grad[row]);
    for (size_t i = threadIdx.x; i < columns; i += blockDim.x)
      grad_x[row * columns + i] = from_float<T>(scale * to_float(slopes[row * columns + i]));
  }
}
