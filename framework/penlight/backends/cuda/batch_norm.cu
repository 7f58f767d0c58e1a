// Batch normalisation, forward and backward, for (N, C, ...) in row-major order and with channels last. SPDX-License-Identifier:
// Apache-2.0 Both ways need two sums per channel; they are taken by chunks first and then in the order of the chunks.
#include "common.cuh"
#include "expressions.cuh"

namespace operations {

#define PENLIGHT_SUMS(name, first_term, second_term)                              \
  struct channel_##name {                                                         \
    __device__ static float first(float x, float g, float centre, float scale) {  \
      (void)x, (void)g, (void)centre, (void)scale;                                \
      return first_term;                                                          \
    }                                                                             \
    __device__ static float second(float x, float g, float centre, float scale) { \
      (void)x, (void)g, (void)centre, (void)scale;                                \
      return second_term;                                                         \
    }                                                                             \
  };
PENLIGHT_CHANNEL(PENLIGHT_SUMS)
#undef PENLIGHT_SUMS

}  // namespace operations

__device__ inline float rstd_of(float variance, float eps) { return 1.0f / sqrtf(variance + eps); }

// What the sums are about: the mean and 1 / deviation where these are known, else the channel's first element, which is near enough
// to the mean that the variance does not cancel.
struct About {
  float centre, scale;
};
template <typename T>
__device__ About about(const T* first, const float* mean, const float* variance, size_t channel, float eps) {
  if (mean == nullptr) return {to_float(*first), 1.0f};
  return {mean[channel], rstd_of(variance[channel], eps)};
}

// x (batch, channels, spatial): block (channel, chunk) leaves its sums in partial (chunks, channels, 2).
template <typename T, typename F>
__global__ void channel_rows(const T* x, const T* grad, const float* mean, const float* variance, float* partial, size_t channels,
                             size_t spatial, size_t length, size_t chunk, float eps) {
  size_t channel = blockIdx.x, begin = blockIdx.y * chunk, end = begin + chunk < length ? begin + chunk : length;
  About known = about(x + channel * spatial, mean, variance, channel, eps);
  float first = 0.0f, second = 0.0f;
  for (size_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    size_t at = (i / spatial * channels + channel) * spatial + i % spatial;
    float value = to_float(x[at]), g = grad ? to_float(grad[at]) : 0.0f;
    first += F::first(value, g, known.centre, known.scale);
    second += F::second(value, g, known.centre, known.scale);
  }
  first = reduce_row(first, Add());
  second = reduce_row(second, Add());
  if (threadIdx.x != 0) return;
  partial[(blockIdx.y * channels + channel) * 2] = first;
  partial[(blockIdx.y * channels + channel) * 2 + 1] = second;
}

// x (length, channels): neighbouring channels by neighbouring threads.
constexpr int kTile = 32, kLanes = 8;
template <typename T, typename F>
__global__ void channel_columns(const T* x, const T* grad, const float* mean, const float* variance, float* partial,
                                size_t channels, size_t length, size_t chunk, float eps) {
  __shared__ float firsts[kLanes][kTile], seconds[kLanes][kTile];
  size_t channel = static_cast<size_t>(blockIdx.x) * kTile + threadIdx.x;
  size_t begin = blockIdx.y * chunk, end = begin + chunk < length ? begin + chunk : length;
  float first = 0.0f, second = 0.0f;
  if (channel < channels) {
    About known = about(x + channel, mean, variance, channel, eps);
    for (size_t i = begin + threadIdx.y; i < end; i += kLanes) {
      size_t at = i * channels + channel;
      float value = to_float(x[at]), g = grad ? to_float(grad[at]) : 0.0f;
      first += F::first(value, g, known.centre, known.scale);
      second += F::second(value, g, known.centre, known.scale);
    }
  }
  firsts[threadIdx.y][threadIdx.x] = first;
  seconds[threadIdx.y][threadIdx.x] = second;
  __syncthreads();
  if (threadIdx.y != 0 || channel >= channels) return;
  for (int lane = 1; lane < kLanes; ++lane) {
    first += firsts[lane][threadIdx.x];
    second += seconds[lane][threadIdx.x];
  }
  partial[(blockIdx.y * channels + channel) * 2] = first;
  partial[(blockIdx.y * channels + channel) * 2 + 1] = second;
}

// Adds up the chunks of one channel.
__device__ inline void sum_chunks(const float* partial, size_t channel, size_t channels, size_t chunks, float (&sums)[2]) {
  sums[0] = sums[1] = 0.0f;
  for (size_t chunk = 0; chunk < chunks; ++chunk)
    for (int k = 0; k < 2; ++k) sums[k] += partial[(chunk * channels + channel) * 2 + k];
}

// mean and variance (channels,) of `length` elements each; `step` leads from one channel's first element to the next one's.
template <typename T>
__global__ void batch_norm_moments(const T* x, const float* partial, float* mean, float* variance, size_t channels, size_t chunks,
                                   size_t length, size_t step) {
  for (size_t channel = global_thread(); channel < channels; channel += global_threads()) {
    float sums[2];
    sum_chunks(partial, channel, channels, chunks, sums);
    float count = static_cast<float>(length), shift = sums[0] / count, square = sums[1] / count - shift * shift;
    mean[channel] = to_float(x[channel * step]) + shift;
    variance[channel] = square < 0.0f ? 0.0f : square;  // rounding; NaN stays
  }
}

// sums (channels, 2), and the gradients of bias and weight where they are wanted.
template <typename T>
__global__ void batch_norm_parameters(const float* partial, float* sums, T* grad_weight, T* grad_bias, size_t channels,
                                      size_t chunks) {
  for (size_t channel = global_thread(); channel < channels; channel += global_threads()) {
    float own[2];
    sum_chunks(partial, channel, channels, chunks, own);
    sums[2 * channel] = own[0];
    sums[2 * channel + 1] = own[1];
    if (grad_bias) grad_bias[channel] = from_float<T>(own[0]);
    if (grad_weight) grad_weight[channel] = from_float<T>(own[1]);
  }
}

// y = (x - mean) / sqrt(variance + eps) * weight + bias; `spatial` is 1 with channels last. Weight and bias may be null.
template <typename T>
__global__ void batch_norm_apply(const T* x, const T* weight, const T* bias, const float* mean, const float* variance, T* y,
                                 size_t count, size_t channels, size_t spatial, float eps) {
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    size_t channel = i / spatial % channels;
    float scale = rstd_of(variance[channel], eps) * (weight ? to_float(weight[channel]) : 1.0f);
    float shift = bias ? to_float(bias[channel]) : 0.0f;
    y[i] = from_float<T>((to_float(x[i]) - mean[channel]) * scale + shift);
  }
}

// With n the normalised x: dx = (g - mean(g) - n * mean(g * n)) * rstd * weight.
template <typename T>
__global__ void batch_norm_input(const T* grad, const T* x, const T* weight, const float* mean, const float* variance,
                                 const float* sums, T* grad_x, size_t count, size_t channels, size_t spatial, size_t length,
                                 float eps) {
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    size_t channel = i / spatial % channels;
    float rstd = rstd_of(variance[channel], eps), normal = (to_float(x[i]) - mean[channel]) * rstd;
    float rest = (sums[2 * channel] + normal * sums[2 * channel + 1]) / static_cast<float>(length);
    float scale = weight ? rstd * to_float(weight[channel]) : rstd;
    grad_x[i] = from_float<T>((to_float(grad[i]) - rest) * scale);
  }
}
