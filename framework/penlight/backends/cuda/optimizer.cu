// AdamW over all parameters in one launch. SPDX-License-Identifier: Apache-2.0
#include "common.cuh"

// One line of the pointer table: a parameter and what belongs to it, all with `count` elements. Five 64-bit words, as written by
// optimizer.py.
template <typename T>
struct AdamwEntry {
  T* parameter;
  const T* gradient;
  T* average;
  T* square_average;
  size_t count;
};

// Block b works on the chunk chunks[b] = (entry, first element). Decoupled decay (Loshchilov and Hutter 2019), in the order of
// torch's fused step.
template <typename T>
__global__ void adamw_step(const AdamwEntry<T>* entries, const int64* chunks, size_t chunk_size, float lr, float beta1, float beta2,
                           float eps, float weight_decay, float correction1, float root_correction2) {
  AdamwEntry<T> entry = entries[chunks[2 * blockIdx.x]];
  size_t begin = static_cast<size_t>(chunks[2 * blockIdx.x + 1]);
  size_t end = begin + chunk_size < entry.count ? begin + chunk_size : entry.count;
  for (size_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    float gradient = to_float(entry.gradient[i]);
    float average = to_float(entry.average[i]), square = to_float(entry.square_average[i]);
    average += (gradient - average) * (1.0f - beta1);
    square = beta2 * square + (1.0f - beta2) * gradient * gradient;
    float decayed = to_float(entry.parameter[i]) * (1.0f - lr * weight_decay);
    float denominator = sqrtf(square) / root_correction2 + eps;
    entry.average[i] = from_float<T>(average);
    entry.square_average[i] = from_float<T>(square);
    entry.parameter[i] = from_float<T>(decayed - lr / correction1 * average / denominator);
  }
}
