// Element types, launch indices and reductions shared by all families. SPDX-License-Identifier: Apache-2.0
#pragma once

#ifdef PENLIGHT_HOST_SHIM
#include "host_shim.h"  // tests run the kernels on the CPU with this
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

using int64 = long long;

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// NVRTC has neither <math.h> nor its INFINITY and NAN.
__device__ inline float infinity() { return __int_as_float(0x7f800000); }
__device__ inline float not_a_number() { return __int_as_float(0x7fffffff); }

// Halves are storage formats only: every kernel computes in float.
__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline __half from_float<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// The largest vector that one load instruction moves.
template <typename T>
struct alignas(16) Pack {
  static constexpr int kCount = 16 / sizeof(T);
  T value[kCount];
};

__device__ inline size_t global_thread() { return static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline size_t global_threads() { return static_cast<size_t>(gridDim.x) * blockDim.x; }

// The type that a kernel computes in.
template <typename T>
struct Computed {
  using type = float;
};
template <>
struct Computed<int64> {
  using type = int64;
};
template <>
struct Computed<int> {
  using type = int;
};
template <>
struct Computed<bool> {
  using type = bool;
};
template <typename T>
using computed = typename Computed<T>::type;

__device__ inline int64 to_computed(int64 x) { return x; }
__device__ inline int to_computed(int x) { return x; }
__device__ inline bool to_computed(bool x) { return x; }
template <typename T>
__device__ float to_computed(T x) {
  return to_float(x);
}

// A number as it is computed, rounded to the element type.
template <typename T>
struct Rounded {
  template <typename C>
  __device__ static T of(C x) {
    return from_float<T>(static_cast<float>(x));
  }
};
template <>
struct Rounded<int64> {
  template <typename C>
  __device__ static int64 of(C x) {
    return static_cast<int64>(x);
  }
};
template <>
struct Rounded<int> {
  template <typename C>
  __device__ static int of(C x) {
    return static_cast<int>(x);
  }
};
template <>
struct Rounded<bool> {
  template <typename C>
  __device__ static bool of(C x) {
    return x != 0;
  }
};
template <typename T, typename C>
__device__ T narrow(C x) {
  return Rounded<T>::of(x);
}

template <typename T>
__device__ bool is_packed(const T* pointer) {
  return reinterpret_cast<size_t>(pointer) % sizeof(Pack<T>) == 0;
}

// y[i] = f(x[i]) over the whole grid; views that start at an odd address go one element at a time.
template <typename T, typename F>
__device__ void map(const T* x, T* y, size_t count, F f) {
  size_t packs = is_packed(x) && is_packed(y) ? count / Pack<T>::kCount : 0;
  for (size_t i = global_thread(); i < packs; i += global_threads()) {
    Pack<T> in = reinterpret_cast<const Pack<T>*>(x)[i], out;
    for (int k = 0; k < Pack<T>::kCount; ++k) out.value[k] = from_float<T>(f(to_float(in.value[k])));
    reinterpret_cast<Pack<T>*>(y)[i] = out;
  }
  for (size_t i = packs * Pack<T>::kCount + global_thread(); i < count; i += global_threads())
    y[i] = from_float<T>(f(to_float(x[i])));
}

// z[i] = f(x[i], y[i]).
template <typename T, typename F>
__device__ void map(const T* x, const T* y, T* z, size_t count, F f) {
  size_t packs = is_packed(x) && is_packed(y) && is_packed(z) ? count / Pack<T>::kCount : 0;
  for (size_t i = global_thread(); i < packs; i += global_threads()) {
    Pack<T> a = reinterpret_cast<const Pack<T>*>(x)[i], b = reinterpret_cast<const Pack<T>*>(y)[i], out;
    for (int k = 0; k < Pack<T>::kCount; ++k) out.value[k] = from_float<T>(f(to_float(a.value[k]), to_float(b.value[k])));
    reinterpret_cast<Pack<T>*>(z)[i] = out;
  }
  for (size_t i = packs * Pack<T>::kCount + global_thread(); i < count; i += global_threads())
    z[i] = from_float<T>(f(to_float(x[i]), to_float(y[i])));
}

struct Add {
  __device__ static float identity() { return 0.0f; }
  __device__ float operator()(float a, float b) const { return a + b; }
};

struct AddDouble {
  __device__ static double identity() { return 0.0; }
  __device__ double operator()(double a, double b) const { return a + b; }
};

// fmaxf drops a NaN; a row with a NaN must not look like a row without.
struct Max {
  __device__ static float identity() { return -infinity(); }
  __device__ float operator()(float a, float b) const { return a > b || a != a ? a : b; }
};

// One row belongs to the blockDim.x threads of one threadIdx.y. All of them get the result. With more than one warp to a row there
// is one row to a block (see row_sizes in launch.py), so the shared array below has one owner.
template <typename C, typename Combine>
__device__ C reduce_row(C value, Combine combine) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = combine(value, __shfl_xor_sync(kAllLanes, value, offset));
  if (blockDim.x == kWarp) return value;
  __shared__ C partial[kWarp];
  int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  __syncthreads();  // the previous reduction's readers are done
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  value = lane < warps ? partial[lane] : Combine::identity();
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = combine(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}

__device__ inline size_t first_row() { return static_cast<size_t>(blockIdx.x) * blockDim.y + threadIdx.y; }
__device__ inline size_t row_step() { return static_cast<size_t>(gridDim.x) * blockDim.y; }

// One reading of a row gives its maximum and its sum of exponentials (Milakov and Gimelshein 2018).
struct RowStatistics {
  float maximum;
  float sum;  // of exp(x - maximum)
};

// -inf counts as nothing until something larger comes (attention masks start rows with it); a row of -inf alone has the sum 0 and
// gives NaN, as the reference does.
template <typename T>
__device__ RowStatistics row_statistics(const T* row, size_t columns) {
  float maximum = -infinity(), sum = 0.0f;
  for (size_t i = threadIdx.x; i < columns; i += blockDim.x) {
    float value = to_float(row[i]), larger = Max()(value, maximum);
    if (larger == -infinity()) continue;
    if (maximum != larger) sum *= expf(maximum - larger);
    sum += expf(value - larger);
    maximum = larger;
  }
  float row_maximum = reduce_row(maximum, Max());
  if (maximum != row_maximum) sum *= expf(maximum - row_maximum);
  return {row_maximum, reduce_row(sum, Add())};
}

// How the operands of a kernel lie in memory: operand 0 is the output. Written by layout.py; strides count elements, and 0 repeats.
constexpr int kDims = 6, kOperands = 4;
struct Layout {
  int dims;
  int packed;              // whether the last dimension may go in packs of 16 bytes
  int64 inner[kOperands];  // strides of the last dimension
  int64 sizes[kDims];
  int64 strides[kOperands][kDims];
};

// Element numbers in each operand of the element `rest` of the row-major whole. Constant bounds, so that nothing is indexed by a
// variable and all stays in registers. 32 bits, as division of 64 takes five times as long; layout.py declines larger arrays.
template <int kCount>
__device__ void find_places(const Layout& layout, unsigned rest, int64 (&at)[kCount]) {
#pragma unroll
  for (int k = 0; k < kCount; ++k) at[k] = 0;
#pragma unroll
  for (int d = kDims - 1; d > 0; --d) {
    if (d >= layout.dims) continue;
    unsigned size = static_cast<unsigned>(layout.sizes[d]), next = rest / size, index = rest - next * size;
#pragma unroll
    for (int k = 0; k < kCount; ++k) at[k] += index * layout.strides[k][d];
    rest = next;
  }
#pragma unroll
  for (int k = 0; k < kCount; ++k) at[k] += rest * layout.strides[k][0];
}
