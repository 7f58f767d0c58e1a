// Sums, maxima and affine maps of rows; included inside the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0

constexpr int64_t kStep = 4 * kLanes;  // four sums at once hide the latency of an addition

inline float row_maximum(const float* x, int64_t n) {
  Vf best = splat(-__builtin_inff());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) best = maximum(best, load(x + i));
  float result = maximum_lane(best);
  for (; i < n; ++i) result = (x[i] > result || x[i] != x[i]) ? x[i] : result;
  return result;
}

inline float row_exp_sum(const float* x, float shift, float* y, int64_t n) {
  Vf sum = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vf e = vector_exp(load(x + i) - shift);
    if (y != nullptr) store(y + i, e);
    sum += e;
  }
  float total = sum_lanes(sum);
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    const Vf e = vector_exp(load_first(x + i, rest) - shift);
    if (y != nullptr) store_first(y + i, e, rest);
    for (size_t k = 0; k < rest; ++k) total += e[k];
  }
  return total;
}

inline float row_sum(const float* x, int64_t n) {
  Vf sums[4] = {};
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep)
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) sums[k] += load(x + i + k * kLanes);
  for (; i + kLanes <= n; i += kLanes) sums[0] += load(x + i);
  if (i < n) sums[1] += load_first(x + i, static_cast<size_t>(n - i));
  return sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

inline float row_square_sum(const float* x, float shift, int64_t n) {
  Vf sums[4] = {};
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep)
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const Vf d = load(x + i + k * kLanes) - shift;
      sums[k] += d * d;
    }
  for (; i + kLanes <= n; i += kLanes) {
    const Vf d = load(x + i) - shift;
    sums[0] += d * d;
  }
  float total = sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < n; ++i) total += (x[i] - shift) * (x[i] - shift);
  return total;
}

inline float row_dot(const float* x, const float* y, int64_t n) {
  Vf sums[4] = {};
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep)
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) sums[k] += load(x + i + k * kLanes) * load(y + i + k * kLanes);
  for (; i + kLanes <= n; i += kLanes) sums[0] += load(x + i) * load(y + i);
  if (i < n) sums[1] += load_first(x + i, static_cast<size_t>(n - i)) * load_first(y + i, static_cast<size_t>(n - i));
  return sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

inline void row_affine(const float* x, float shift, float scale, float add, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, (load(x + i) - shift) * scale + add);
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    store_first(y + i, (load_first(x + i, rest) - shift) * scale + add, rest);
  }
}

inline void row_scale_shift(const float* x, float shift, float scale, const float* weight, const float* bias, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Vf v = (load(x + i) - shift) * scale;
    if (weight != nullptr) v = v * load(weight + i);
    if (bias != nullptr) v = v + load(bias + i);
    store(y + i, v);
  }
  if (i == n) return;
  const size_t rest = static_cast<size_t>(n - i);
  Vf v = (load_first(x + i, rest) - shift) * scale;
  if (weight != nullptr) v = v * load_first(weight + i, rest);
  if (bias != nullptr) v = v + load_first(bias + i, rest);
  store_first(y + i, v, rest);
}

constexpr NormalizeTable kNormalizeTable = {row_maximum, row_exp_sum, row_sum,        row_square_sum,
                                            row_dot,     row_affine,  row_scale_shift};
