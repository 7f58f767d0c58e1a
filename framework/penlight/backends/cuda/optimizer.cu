// Steps, clipping and unscaling of many arrays in one launch. SPDX-License-Identifier: Apache-2.0
// Whatever changes from step to step (settings, counts, the flag of infinities) is read from device memory, so that a captured
// launch can be replayed; the arrays' addresses travel by value in the launch's arguments.
#include "common.cuh"

// As written by optimizer.py: element counts and the arrays of each entry. Below the 4 KB that arguments may take everywhere.
constexpr int kEntries = 64, kArrays = 5;
struct Entries {
  int64 counts[kEntries];
  void* arrays[kEntries][kArrays];
};

// The slice of entry blockIdx.y that is left to this block: blocks of one entry stride through it together.
template <typename T>
__device__ T* array_of(const Entries& entries, int which) {
  return static_cast<T*>(entries.arrays[blockIdx.y][which]);
}

__device__ inline bool is_skipped(const float* found_inf) { return found_inf != nullptr && *found_inf != 0.0f; }

// settings: lr, beta1, beta2, eps, weight_decay. Arrays: parameter, gradient, average, average of squares, step count (float32).
enum AdamwSetting { kRate, kBeta1, kBeta2, kEps, kDecay };

// Counts the step and leaves 1 - beta1^step and sqrt(1 - beta2^step) in corrections (entries, 2); one thread to an entry.
template <typename Real>
__global__ void adamw_advance(const Real* settings, const float* found_inf, Real* corrections, int count, Entries entries) {
  int entry = static_cast<int>(threadIdx.x);
  if (entry >= count || is_skipped(found_inf)) return;
  float* step = static_cast<float*>(entries.arrays[entry][4]);
  *step += 1.0f;
  corrections[2 * entry] = static_cast<float>(1.0 - pow(static_cast<double>(settings[kBeta1]), static_cast<double>(*step)));
  corrections[2 * entry + 1] =
      static_cast<float>(sqrt(1.0 - pow(static_cast<double>(settings[kBeta2]), static_cast<double>(*step))));
}

// Decoupled decay (Loshchilov and Hutter 2019), in the order of torch's fused step.
template <typename T>
__global__ void adamw_step(const float* settings, const float* found_inf, const float* corrections, Entries entries) {
  if (is_skipped(found_inf)) return;
  T *parameter = array_of<T>(entries, 0), *average = array_of<T>(entries, 2), *square_average = array_of<T>(entries, 3);
  const T* gradients = array_of<T>(entries, 1);
  float lr = settings[kRate], beta1 = settings[kBeta1], beta2 = settings[kBeta2], eps = settings[kEps];
  float kept = 1.0f - lr * settings[kDecay];
  float rate = lr / corrections[2 * blockIdx.y], root = corrections[2 * blockIdx.y + 1];
  size_t count = static_cast<size_t>(entries.counts[blockIdx.y]);
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    float gradient = to_float(gradients[i]);
    float mean = to_float(average[i]), square = to_float(square_average[i]);
    mean += (gradient - mean) * (1.0f - beta1);
    square = beta2 * square + (1.0f - beta2) * gradient * gradient;
    average[i] = from_float<T>(mean);
    square_average[i] = from_float<T>(square);
    parameter[i] = from_float<T>(to_float(parameter[i]) * kept - rate * mean / (sqrtf(square) / root + eps));
  }
}

// settings: lr, momentum, weight_decay. Arrays: parameter, gradient, momentum buffer or null.
template <typename T>
__global__ void sgd_step(const float* settings, const float* found_inf, int nesterov, Entries entries) {
  if (is_skipped(found_inf)) return;
  T *parameter = array_of<T>(entries, 0), *buffer = array_of<T>(entries, 2);
  const T* gradients = array_of<T>(entries, 1);
  float lr = settings[0], momentum = settings[1], decay = settings[2];
  size_t count = static_cast<size_t>(entries.counts[blockIdx.y]);
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    float value = to_float(parameter[i]), gradient = to_float(gradients[i]) + decay * value;
    if (buffer != nullptr) {
      float moved = momentum * to_float(buffer[i]) + gradient;
      buffer[i] = from_float<T>(moved);
      gradient = nesterov ? gradient + momentum * moved : moved;
    }
    parameter[i] = from_float<T>(value - lr * gradient);
  }
}

// partial (entries, blocks): the sum of squares that each block saw, in double, as squares of float overflow early.
template <typename T>
__global__ void gradient_squares(void* partial, Entries entries) {
  const T* gradients = array_of<T>(entries, 0);
  size_t count = static_cast<size_t>(entries.counts[blockIdx.y]);
  double sum = 0.0;
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    double value = static_cast<double>(to_float(gradients[i]));
    sum += value * value;
  }
  sum = reduce_row(sum, AddDouble());
  if (threadIdx.x == 0) static_cast<double*>(partial)[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// norm = the root of the sum of all partial sums; factor = what brings the norm down to max_norm, 1 where it is below. One block.
template <typename Real>
__global__ void gradient_norm(const void* partial, Real* norm, Real* factor, size_t count, float max_norm) {
  double sum = 0.0;
  for (size_t i = threadIdx.x; i < count; i += blockDim.x) sum += static_cast<const double*>(partial)[i];
  sum = sqrt(reduce_row(sum, AddDouble()));
  if (threadIdx.x != 0) return;
  float wanted = static_cast<float>(max_norm / (sum + 1e-6));
  *norm = static_cast<float>(sum);
  *factor = wanted >= 1.0f ? 1.0f : wanted;
}

template <typename T>
__global__ void gradient_scale(const float* factor, Entries entries) {
  if (*factor == 1.0f) return;
  T* gradients = array_of<T>(entries, 0);
  size_t count = static_cast<size_t>(entries.counts[blockIdx.y]);
  for (size_t i = global_thread(); i < count; i += global_threads()) gradients[i] = from_float<T>(to_float(gradients[i]) * *factor);
}

// Times inverse_scale; found_inf becomes 1 where a gradient is not finite. All that write it write the same.
template <typename T>
__global__ void gradient_unscale(const float* inverse_scale, float* found_inf, Entries entries) {
  T* gradients = array_of<T>(entries, 0);
  size_t count = static_cast<size_t>(entries.counts[blockIdx.y]);
  bool is_found = false;
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    float value = to_float(gradients[i]);
    is_found = is_found || value - value != 0.0f;
    gradients[i] = from_float<T>(value * *inverse_scale);
  }
  if (is_found) *found_inf = 1.0f;
}
