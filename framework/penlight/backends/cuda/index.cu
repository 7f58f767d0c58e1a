// Reading, writing and adding at arrays of indices. SPDX-License-Identifier: Apache-2.0
// What is added is sorted by its destination first, and each destination summed in order by one thread: no atomics, so repeated
// indices give the same bits every time. A kernel cannot raise: an index outside counts from the other end, round and round.
#include "common.cuh"

__device__ inline int64 wrapped(int64 index, int64 size) {
  int64 rest = index % size;
  return rest < 0 ? rest + size : rest;
}

// y (outer, count, inner) = x (outer, size, inner) at index (count,).
template <typename Any>
__global__ void take(const Any* x, const int64* index, Any* y, size_t outer, size_t size, size_t count, size_t inner) {
  constexpr int kCount = Pack<Any>::kCount;
  size_t step = inner % kCount == 0 && is_packed(x) && is_packed(y) ? kCount : 1, packs = inner / step;
  for (size_t i = global_thread(); i < outer * count * packs; i += global_threads()) {
    size_t row = i / packs, column = i % packs * step;
    int64 place = wrapped(index[row % count], static_cast<int64>(size));
    const Any* from = x + (row / count * size + static_cast<size_t>(place)) * inner + column;
    if (step == 1) {
      y[row * inner + column] = *from;
    } else {
      *reinterpret_cast<Pack<Any>*>(y + row * inner + column) = *reinterpret_cast<const Pack<Any>*>(from);
    }
  }
}

// y = x where the index says along one dimension, everywhere else at the same place. Operands of the layout: y, x (that dimension
// as 0), index.
template <typename Any>
__global__ void gather(const Any* x, const int64* index, Any* y, size_t count, int64 size, int64 stride, Layout layout) {
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    int64 at[3];
    find_places(layout, static_cast<unsigned>(i), at);
    y[at[0]] = x[at[1] + wrapped(index[at[2]], size) * stride];
  }
}

// The other way round: operands are index, y (that dimension as 0), source. Of equal places any one wins.
template <typename Any>
__global__ void scatter(const int64* index, Any* y, const Any* source, size_t count, int64 size, int64 stride, Layout layout) {
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    int64 at[3];
    find_places(layout, static_cast<unsigned>(i), at);
    y[at[1] + wrapped(index[at[0]], size) * stride] = source[at[2]];
  }
}

// keys[i] = where element i of the index goes: operands of the layout are index and destination (that dimension as 0).
template <typename Real>
__global__ void find_keys(const int64* index, int64* keys, size_t count, int64 size, int64 stride, Layout layout) {
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    int64 at[2];
    find_places(layout, static_cast<unsigned>(i), at);
    keys[i] = at[1] + wrapped(index[at[0]], size) * stride;
  }
}

// A stable radix sort, eight bits at a time. Blocks of kDigits threads take kDigits keys.
constexpr int kDigits = 256;

__device__ inline int digit_of(const int64* keys, size_t i, size_t count, int shift) {
  return i < count ? static_cast<int>(keys[i] >> shift & (kDigits - 1)) : -1;
}

// counts (kDigits, blocks): how many keys of each block have each digit.
template <typename Real>
__global__ void radix_count(const int64* keys, void* counts, size_t count, int shift) {
  __shared__ int digits[kDigits];
  digits[threadIdx.x] = digit_of(keys, global_thread(), count, shift);
  __syncthreads();
  int total = 0;
  for (int i = 0; i < kDigits; ++i) total += digits[i] == static_cast<int>(threadIdx.x);
  static_cast<int*>(counts)[threadIdx.x * static_cast<size_t>(gridDim.x) + blockIdx.x] = total;
}

// counts become where each block's keys of each digit start: sums of all before. One block of kScanned threads.
constexpr int kScanned = 1024;
template <typename Real>
__global__ void radix_scan(void* counts, size_t count) {
  __shared__ int sums[kScanned];
  int* values = static_cast<int*>(counts);
  size_t part = (count + kScanned - 1) / kScanned, begin = threadIdx.x * part;
  size_t end = begin + part < count ? begin + part : count;
  int own = 0;
  for (size_t i = begin; i < end; ++i) own += values[i];
  sums[threadIdx.x] = own;
  __syncthreads();
  for (unsigned offset = 1; offset < kScanned; offset *= 2) {
    int before = threadIdx.x >= offset ? sums[threadIdx.x - offset] : 0;
    __syncthreads();
    sums[threadIdx.x] += before;
    __syncthreads();
  }
  int start = sums[threadIdx.x] - own;
  for (size_t i = begin; i < end; ++i) {
    int value = values[i];
    values[i] = start;
    start += value;
  }
}

// Keys and the places they came from (`order`, null for the first pass), moved to where radix_scan says.
template <typename Real>
__global__ void radix_place(const int64* keys, const int64* order, int64* moved_keys, int64* moved_order, const void* starts,
                            size_t count, int shift) {
  __shared__ int digits[kDigits];
  size_t i = global_thread();
  int digit = digit_of(keys, i, count, shift);
  digits[threadIdx.x] = digit;
  __syncthreads();
  if (i >= count) return;
  size_t place = static_cast<size_t>(static_cast<const int*>(starts)[digit * static_cast<size_t>(gridDim.x) + blockIdx.x]);
  for (unsigned before = 0; before < threadIdx.x; ++before) place += digits[before] == digit;
  moved_keys[place] = keys[i];
  moved_order[place] = order ? order[i] : static_cast<int64>(i);
}

// y (outer, size, inner) += x (outer, count, inner): of sorted keys, rows with one key are summed into row `key` in their order.
template <typename T>
__global__ void add_sorted(const int64* keys, const int64* order, const T* x, T* y, size_t outer, size_t size, size_t count,
                           size_t inner) {
  for (size_t i = global_thread(); i < outer * count * inner; i += global_threads()) {
    size_t column = i % inner, first = i / inner % count, o = i / inner / count;
    int64 key = keys[first];
    if (first > 0 && keys[first - 1] == key) continue;
    T* target = y + (o * size + static_cast<size_t>(key)) * inner + column;
    float sum = to_float(*target);
    for (size_t row = first; row < count && keys[row] == key; ++row)
      sum += to_float(x[(o * count + static_cast<size_t>(order[row])) * inner + column]);
    *target = from_float<T>(sum);
  }
}
