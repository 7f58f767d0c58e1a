// Elementwise operators, broadcast and strided, from the table in expressions.cuh. SPDX-License-Identifier: Apache-2.0
// Threads take packs of 16 bytes where the layout allows it, else single elements.
#include "common.cuh"
#include "expressions.cuh"

namespace operations {

#define PENLIGHT_FUNCTION(name, expression)                 \
  struct unary_##name {                                     \
    __device__ static float of(float x, float p, float q) { \
      (void)p, (void)q;                                     \
      return expression;                                    \
    }                                                       \
  };
PENLIGHT_UNARY(PENLIGHT_FUNCTION)
#undef PENLIGHT_FUNCTION

#define PENLIGHT_FUNCTION(name, expression)                          \
  struct slope_##name {                                              \
    __device__ static float of(float g, float x, float p, float q) { \
      (void)p, (void)q;                                              \
      return expression;                                             \
    }                                                                \
  };
PENLIGHT_SLOPE(PENLIGHT_FUNCTION)
#undef PENLIGHT_FUNCTION

#define PENLIGHT_FUNCTION(name, expression) \
  struct binary_##name {                    \
    template <typename C>                   \
    __device__ static C of(C a, C b) {      \
      return expression;                    \
    }                                       \
  };
PENLIGHT_BINARY(PENLIGHT_FUNCTION)
#undef PENLIGHT_FUNCTION

#define PENLIGHT_FUNCTION(name, expression)                             \
  struct fraction_##name {                                              \
    __device__ static float of(float a, float b) { return expression; } \
  };
PENLIGHT_FRACTION(PENLIGHT_FUNCTION)
#undef PENLIGHT_FUNCTION

#define PENLIGHT_FUNCTION(name, expression) \
  struct compare_##name {                   \
    template <typename C>                   \
    __device__ static bool of(C a, C b) {   \
      return expression;                    \
    }                                       \
  };
PENLIGHT_COMPARE(PENLIGHT_FUNCTION)
#undef PENLIGHT_FUNCTION

#define PENLIGHT_FUNCTION(name, expression) \
  struct test_##name {                      \
    template <typename C>                   \
    __device__ static bool of(C x) {        \
      return expression;                    \
    }                                       \
  };
PENLIGHT_TEST(PENLIGHT_FUNCTION)
#undef PENLIGHT_FUNCTION

#define PENLIGHT_TYPE(name, element) \
  struct cast_##name {               \
    using type = element;            \
  };
PENLIGHT_CAST(PENLIGHT_TYPE)
#undef PENLIGHT_TYPE

}  // namespace operations

// As many elements as one access of 16 bytes moves of the widest operand.
template <typename T, int kCount>
struct alignas(kCount * sizeof(T) < 16 ? kCount * sizeof(T) : 16) Run {
  T value[kCount];
};

template <int kCount, typename T>
__device__ bool is_run(const T* pointer, const Layout& layout, int operand) {
  return layout.inner[operand] == 0 || reinterpret_cast<size_t>(pointer) % alignof(Run<T, kCount>) == 0;
}

template <int kCount, typename T>
__device__ Run<T, kCount> load_run(const T* pointer, int64 stride) {
  if (stride == 1) return *reinterpret_cast<const Run<T, kCount>*>(pointer);
  Run<T, kCount> run;
  for (int i = 0; i < kCount; ++i) run.value[i] = *pointer;
  return run;
}

// y = f(x). A thread takes `step` elements at a time: a run where the layout has runs, else one.
template <typename T, typename U, typename F>
__device__ void map_strided(const T* x, U* y, size_t count, const Layout& layout, F f) {
  constexpr int kCount = 16 / (sizeof(T) > sizeof(U) ? sizeof(T) : sizeof(U));
  bool is_packed = layout.packed && is_run<kCount>(x, layout, 1) && is_run<kCount>(y, layout, 0);
  size_t step = is_packed ? kCount : 1;
  for (size_t first = global_thread() * step; first < count; first += global_threads() * step) {
    int64 at[2];
    find_places(layout, static_cast<unsigned>(first), at);
    if (is_packed && first + kCount <= count) {
      Run<T, kCount> in = load_run<kCount>(x + at[1], layout.inner[1]);
      Run<U, kCount> out;
      for (int k = 0; k < kCount; ++k) out.value[k] = f(in.value[k]);
      *reinterpret_cast<Run<U, kCount>*>(y + at[0]) = out;
      continue;
    }
#pragma unroll 1
    for (size_t k = 0; k < step && first + k < count; ++k) y[at[0] + k * layout.inner[0]] = f(x[at[1] + k * layout.inner[1]]);
  }
}

// y = f(a, b).
template <typename T, typename U, typename F>
__device__ void map_strided(const T* a, const T* b, U* y, size_t count, const Layout& layout, F f) {
  constexpr int kCount = 16 / sizeof(T);
  bool is_packed = layout.packed && is_run<kCount>(a, layout, 1) && is_run<kCount>(b, layout, 2) && is_run<kCount>(y, layout, 0);
  size_t step = is_packed ? kCount : 1;
  for (size_t first = global_thread() * step; first < count; first += global_threads() * step) {
    int64 at[3];
    find_places(layout, static_cast<unsigned>(first), at);
    if (is_packed && first + kCount <= count) {
      Run<T, kCount> left = load_run<kCount>(a + at[1], layout.inner[1]), right = load_run<kCount>(b + at[2], layout.inner[2]);
      Run<U, kCount> out;
      for (int k = 0; k < kCount; ++k) out.value[k] = f(left.value[k], right.value[k]);
      *reinterpret_cast<Run<U, kCount>*>(y + at[0]) = out;
      continue;
    }
#pragma unroll 1
    for (size_t k = 0; k < step && first + k < count; ++k) {
      T left = a[at[1] + k * layout.inner[1]], right = b[at[2] + k * layout.inner[2]];
      y[at[0] + k * layout.inner[0]] = f(left, right);
    }
  }
}

template <typename T, typename F>
__global__ void unary(const T* x, T* y, size_t count, Layout layout, float p, float q) {
  map_strided(x, y, count, layout, [p, q](T v) { return from_float<T>(F::of(to_float(v), p, q)); });
}

template <typename T, typename F>
__global__ void slope(const T* grad, const T* saved, T* y, size_t count, Layout layout, float p, float q) {
  map_strided(grad, saved, y, count, layout, [p, q](T g, T v) { return from_float<T>(F::of(to_float(g), to_float(v), p, q)); });
}

template <typename Number, typename F>
__global__ void binary(const Number* a, const Number* b, Number* y, size_t count, Layout layout) {
  map_strided(a, b, y, count, layout, [](Number m, Number n) { return narrow<Number>(F::of(to_computed(m), to_computed(n))); });
}

template <typename T, typename F>
__global__ void fraction(const T* a, const T* b, T* y, size_t count, Layout layout) {
  map_strided(a, b, y, count, layout, [](T m, T n) { return from_float<T>(F::of(to_float(m), to_float(n))); });
}

template <typename Any, typename F>
__global__ void compare(const Any* a, const Any* b, bool* y, size_t count, Layout layout) {
  map_strided(a, b, y, count, layout, [](Any m, Any n) { return F::of(to_computed(m), to_computed(n)); });
}

template <typename Any, typename F>
__global__ void test(const Any* x, bool* y, size_t count, Layout layout) {
  map_strided(x, y, count, layout, [](Any v) { return F::of(to_computed(v)); });
}

template <typename Any, typename F>
__global__ void cast(const Any* x, void* y, size_t count, Layout layout) {
  using U = typename F::type;
  map_strided(x, static_cast<U*>(y), count, layout, [](Any v) { return narrow<U>(to_computed(v)); });
}

// The bits as they are.
template <typename Any>
__global__ void copy(const Any* x, Any* y, size_t count, Layout layout) {
  map_strided(x, y, count, layout, [](Any v) { return v; });
}

// The bits of x (batches, rows, columns) in y (batches, columns, rows), tile by tile, so that both are read and written in whole
// lines. The layout is that of y, in three dimensions; 33 columns keep a tile's column in 32 banks.
constexpr int kTile = 32, kTileRows = 8;
template <typename Any>
__global__ void transpose(const Any* x, Any* y, Layout layout) {
  __shared__ Any tile[kTile][kTile + 1];
  int64 columns = layout.sizes[1], rows = layout.sizes[2];
  int64 column = static_cast<int64>(blockIdx.x) * kTile, row = static_cast<int64>(blockIdx.y) * kTile;
  for (int64 batch = blockIdx.z; batch < layout.sizes[0]; batch += gridDim.z) {
    const Any* from = x + batch * layout.strides[1][0] + column;
    Any* to = y + batch * layout.strides[0][0] + row;
    for (int k = threadIdx.y; k < kTile; k += kTileRows)
      if (row + k < rows && column + threadIdx.x < columns)
        tile[k][threadIdx.x] = from[(row + k) * layout.strides[1][2] + threadIdx.x];
    __syncthreads();
    for (int k = threadIdx.y; k < kTile; k += kTileRows)
      if (column + k < columns && row + threadIdx.x < rows)
        to[(column + k) * layout.strides[0][1] + threadIdx.x] = tile[threadIdx.x][k];
    __syncthreads();  // the tile is read before the next batch comes
  }
}

// y = condition ? a : b.
template <typename Any>
__global__ void where(const bool* condition, const Any* a, const Any* b, Any* y, size_t count, Layout layout) {
  constexpr int kCount = 16 / sizeof(Any);
  bool is_packed = layout.packed && is_run<kCount>(a, layout, 2) && is_run<kCount>(b, layout, 3) && is_run<kCount>(y, layout, 0) &&
                   is_run<kCount>(condition, layout, 1);
  size_t step = is_packed ? kCount : 1;
  for (size_t first = global_thread() * step; first < count; first += global_threads() * step) {
    int64 at[4];
    find_places(layout, static_cast<unsigned>(first), at);
    if (is_packed && first + kCount <= count) {
      Run<bool, kCount> chosen = load_run<kCount>(condition + at[1], layout.inner[1]);
      Run<Any, kCount> left = load_run<kCount>(a + at[2], layout.inner[2]), right = load_run<kCount>(b + at[3], layout.inner[3]);
      for (int k = 0; k < kCount; ++k) left.value[k] = chosen.value[k] ? left.value[k] : right.value[k];
      *reinterpret_cast<Run<Any, kCount>*>(y + at[0]) = left;
      continue;
    }
#pragma unroll 1
    for (size_t k = 0; k < step && first + k < count; ++k) {
      bool chosen = condition[at[1] + k * layout.inner[1]];
      y[at[0] + k * layout.inner[0]] = chosen ? a[at[2] + k * layout.inner[2]] : b[at[3] + k * layout.inner[3]];
    }
  }
}
