// Rotary position embedding, forward and backward. SPDX-License-Identifier: Apache-2.0
#include "common.cuh"

template <typename T, int kUnit>
__device__ void load(const T* from, T (&to)[kUnit]) {
  if constexpr (kUnit == 1) {
    to[0] = from[0];
  } else {
    Pack<T> pack = *reinterpret_cast<const Pack<T>*>(from);
#pragma unroll
    for (int k = 0; k < kUnit; ++k) to[k] = pack.value[k];
  }
}

template <typename T, int kUnit>
__device__ void store(const T (&from)[kUnit], T* to) {
  if constexpr (kUnit == 1) {
    to[0] = from[0];
  } else {
    Pack<T> pack;
#pragma unroll
    for (int k = 0; k < kUnit; ++k) pack.value[k] = from[k];
    *reinterpret_cast<Pack<T>*>(to) = pack;
  }
}

// Pairs first..first + kUnit - 1 of one head, whose cosines and sines start at `cosines` and `sines`.
template <typename T, int kUnit>
__device__ void turn(const T* x, const T* cosines, const T* sines, T* y, int first, int pairs, bool in_turns, float direction,
                     bool known) {
  T a[kUnit], b[kUnit], cosine[kUnit], sine[kUnit];
  int at = in_turns ? 2 * first : first, other = in_turns ? 2 * first + kUnit : pairs + first;
  load(x + at, a);
  load(x + other, b);
  load(cosines + first, cosine);
  load(sines + first, sine);
#pragma unroll
  for (int k = 0; k < kUnit; ++k) {
    float c = known ? to_float(cosine[k]) : not_a_number(), s = known ? to_float(sine[k]) * direction : not_a_number();
    // In turns, pair k is elements 2 k and 2 k + 1 of a and b in a row.
    T& low = !in_turns ? a[k] : 2 * k < kUnit ? a[2 * k % kUnit] : b[2 * k % kUnit];
    T& high = !in_turns ? b[k] : 2 * k + 1 < kUnit ? a[(2 * k + 1) % kUnit] : b[(2 * k + 1) % kUnit];
    float p = to_float(low), q = to_float(high);
    low = from_float<T>(p * c - q * s);
    high = from_float<T>(p * s + q * c);
  }
  store(a, y + at);
  store(b, y + other);
}

template <typename T, int kUnit>
__device__ void turn_rows(const T* x, const T* cosines, const T* sines, const int64* ids, T* y, unsigned rows, unsigned heads,
                          unsigned times, int size, int pairs, int positions, bool time_first, bool in_turns, float direction) {
  unsigned width = (size - pairs) / kUnit, count = rows * width;
  for (size_t i = global_thread(); i < count; i += global_threads()) {
    unsigned row = static_cast<unsigned>(i) / width, first = (static_cast<unsigned>(i) - row * width) * kUnit;
    const T* in = x + static_cast<size_t>(row) * size;
    T* out = y + static_cast<size_t>(row) * size;
    if (first >= static_cast<unsigned>(pairs)) {  // a feature that stays
      T rest[kUnit];
      load(in + pairs + first, rest);
      store(rest, out + pairs + first);
      continue;
    }
    unsigned place = time_first ? row / heads : row / (heads * times) * times + row % times;
    int64 position = ids ? ids[place] : place;
    if (ids && position < 0) position += positions;
    bool known = !ids || (position >= 0 && position < positions);
    int64 at = known ? position * pairs : 0;
    turn<T, kUnit>(in, cosines + at, sines + at, out, first, pairs, in_turns, direction, known);
  }
}

// x, y (batch, heads, times, size), or (batch, times, heads, size) with `time_first`; cosines, sines (positions, pairs), of which
// `ids` (batch, times) chooses the rows, or null for a row to each place. A position outside gives NaN. `direction` is 1, or -1
// for the gradient, which turns back. `packed`: sizes and addresses are multiples of 16 bytes. Numbers of rows times size fit in
// 32 bits.
template <typename T>
__global__ void rotary_turn(const T* x, const T* cosines, const T* sines, const int64* ids, T* y, int rows, int heads, int times,
                            int size, int pairs, int positions, int time_first, int in_turns, int packed, float direction) {
  if (packed && is_packed(x) && is_packed(y) && is_packed(cosines) && is_packed(sines)) {
    turn_rows<T, Pack<T>::kCount>(x, cosines, sines, ids, y, rows, heads, times, size, pairs, positions, time_first, in_turns,
                                  direction);
  } else {
    turn_rows<T, 1>(x, cosines, sines, ids, y, rows, heads, times, size, pairs, positions, time_first, in_turns, direction);
  }
}
