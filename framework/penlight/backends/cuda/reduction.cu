// Sums, products, extremes and their places over any dimensions. SPDX-License-Identifier: Apache-2.0
// Long reductions go in two stages, each chunk by itself and then the chunks in order: no atomics, the same bits every time.
#include "common.cuh"
#include "expressions.cuh"

template <typename C>
struct Range;
template <>
struct Range<float> {
  __device__ static float lowest() { return -infinity(); }
  __device__ static float highest() { return infinity(); }
};
template <>
struct Range<int64> {
  __device__ static int64 lowest() { return static_cast<int64>(1ull << 63); }
  __device__ static int64 highest() { return static_cast<int64>(~(1ull << 63)); }
};
template <>
struct Range<int> {
  __device__ static int lowest() { return static_cast<int>(1u << 31); }
  __device__ static int highest() { return static_cast<int>(~(1u << 31)); }
};
template <>
struct Range<bool> {
  __device__ static bool lowest() { return false; }
  __device__ static bool highest() { return true; }
};

namespace operations {

#define PENLIGHT_PAIR(name, expression, nothing) \
  struct reduce_##name {                         \
    template <typename C>                        \
    __device__ static C of(C a, C b) {           \
      return static_cast<C>(expression);         \
    }                                            \
    template <typename C>                        \
    __device__ static C none() {                 \
      return nothing;                            \
    }                                            \
  };
PENLIGHT_REDUCE(PENLIGHT_PAIR)
#undef PENLIGHT_PAIR

#define PENLIGHT_ORDER(name, expression)                                      \
  struct position_##name {                                                    \
    __device__ static bool is_before(float a, float b) { return expression; } \
  };
PENLIGHT_POSITION(PENLIGHT_ORDER)
#undef PENLIGHT_ORDER

}  // namespace operations

template <typename C, typename F>
struct Pair {
  __device__ static C identity() { return F::template none<C>(); }
  __device__ C operator()(C a, C b) const { return F::of(a, b); }
};

// What stands at the end of a reduction: times `scale` for floats (means).
__device__ inline float finished(float value, float scale) { return value * scale; }
__device__ inline int64 finished(int64 value, float) { return value; }
__device__ inline int finished(int value, float) { return value; }
__device__ inline bool finished(bool value, float) { return value; }

// Row r starts where `kept` says; its elements lie where `reduced` says. Chunk blockIdx.y of each row goes to partial
// (rows, chunks), or to y where there is one chunk.
template <typename Any, typename F>
__global__ void reduce_rows(const Any* x, Any* y, computed<Any>* partial, size_t rows, size_t length, size_t chunk, Layout kept,
                            Layout reduced, float scale) {
  using C = computed<Any>;
  Pair<C, F> pair;
  size_t begin = blockIdx.y * chunk, end = begin + chunk < length ? begin + chunk : length;
  for (size_t row = first_row(); row < rows; row += row_step()) {
    int64 start[1], at[1];
    find_places(kept, static_cast<unsigned>(row), start);
    C value = pair.identity();
    for (size_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
      find_places(reduced, static_cast<unsigned>(i), at);
      value = pair(value, to_computed(x[start[0] + at[0]]));
    }
    value = reduce_row(value, pair);
    if (threadIdx.x != 0) continue;
    if (gridDim.y == 1) {
      y[row] = narrow<Any>(finished(value, scale));
    } else {
      partial[row * gridDim.y + blockIdx.y] = value;
    }
  }
}

// x (outer, length, inner) over its middle, neighbouring columns by neighbouring threads; partial is (outer, chunks, inner).
constexpr int kColumns = 32, kRowLanes = 8;
template <typename Any, typename F>
__global__ void reduce_columns(const Any* x, Any* y, computed<Any>* partial, size_t outer, size_t length, size_t inner,
                               size_t chunk, float scale) {
  using C = computed<Any>;
  Pair<C, F> pair;
  __shared__ C lanes[kRowLanes][kColumns];
  size_t column = static_cast<size_t>(blockIdx.x) * kColumns + threadIdx.x;
  size_t begin = blockIdx.y * chunk, end = begin + chunk < length ? begin + chunk : length;
  for (size_t o = blockIdx.z; o < outer; o += gridDim.z) {
    C value = pair.identity();
    if (column < inner)
      for (size_t i = begin + threadIdx.y; i < end; i += kRowLanes)
        value = pair(value, to_computed(x[(o * length + i) * inner + column]));
    __syncthreads();  // the lanes of the round before are read
    lanes[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    if (threadIdx.y != 0 || column >= inner) continue;
    for (int lane = 1; lane < kRowLanes; ++lane) value = pair(value, lanes[lane][threadIdx.x]);
    if (gridDim.y == 1) {
      y[o * inner + column] = narrow<Any>(finished(value, scale));
    } else {
      partial[(o * gridDim.y + blockIdx.y) * inner + column] = value;
    }
  }
}

// Second stage of both: partial (outer, chunks, inner) over its middle.
template <typename Any, typename F>
__global__ void reduce_chunks(const computed<Any>* partial, Any* y, size_t outer, size_t chunks, size_t inner, float scale) {
  using C = computed<Any>;
  Pair<C, F> pair;
  for (size_t i = global_thread(); i < outer * inner; i += global_threads()) {
    C value = pair.identity();
    for (size_t chunk = 0; chunk < chunks; ++chunk) value = pair(value, partial[(i / inner * chunks + chunk) * inner + i % inner]);
    y[i] = narrow<Any>(finished(value, scale));
  }
}

// An element and where it stood; NaN goes before all, the first of equals before the others.
struct Placed {
  float value;
  int index;
};

template <typename F>
struct Before {
  __device__ static bool of(Placed a, Placed b) {
    bool a_is_nan = a.value != a.value, b_is_nan = b.value != b.value;
    if (a_is_nan != b_is_nan) return a_is_nan;
    if (!a_is_nan && a.value != b.value) return F::is_before(a.value, b.value);
    return a.index < b.index;
  }
};

template <typename F>
__device__ Placed best_of_warp(Placed best) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    Placed other = {__shfl_xor_sync(kAllLanes, best.value, offset), __shfl_xor_sync(kAllLanes, best.index, offset)};
    if (Before<F>::of(other, best)) best = other;
  }
  return best;
}

// y (outer, inner) = the place of the first of x (outer, length, inner) over its middle; a warp to each, length below 2^31.
template <typename T, typename F>
__global__ void position(const T* x, int64* y, size_t outer, size_t length, size_t inner) {
  for (size_t row = first_row(); row < outer * inner; row += row_step()) {
    const T* start = x + row / inner * length * inner + row % inner;
    Placed best = {not_a_number(), 0x7fffffff};
    if (threadIdx.x < length) best = {to_float(start[threadIdx.x * inner]), static_cast<int>(threadIdx.x)};
    for (size_t i = threadIdx.x + kWarp; i < length; i += kWarp) {
      Placed next = {to_float(start[i * inner]), static_cast<int>(i)};
      if (Before<F>::of(next, best)) best = next;
    }
    // Lanes without an element copy lane 0's.
    Placed first = {__shfl_sync(kAllLanes, best.value, 0), __shfl_sync(kAllLanes, best.index, 0)};
    best = best_of_warp<F>(threadIdx.x < length ? best : first);
    if (threadIdx.x == 0) y[row] = best.index;
  }
}
