// Channel-wise convolutions with channels as lanes; included inside the namespace of each instruction set. SPDX-License-Identifier:
// Apache-2.0

/// to[i * kLanes + k] = from[k * plane + i] for kLanes planes; whole vectors are read up to `end`.
inline void planes_to_lanes(const float* from, int64_t plane, int64_t count, const float* end, float* to) {
  const float* last = from + (kLanes - 1) * plane;
  int64_t i = 0;
  for (; i < count && last + i + kLanes <= end; i += kLanes) {
    Vf rows[kLanes];
#pragma GCC unroll 16
    for (int k = 0; k < kLanes; ++k) rows[k] = load(from + k * plane + i);
    transpose(rows);
    const int64_t left = count - i;
    if (left >= kLanes) {
#pragma GCC unroll 16
      for (int k = 0; k < kLanes; ++k) store(to + (i + k) * kLanes, rows[k]);
    } else {
      float block[kLanes * kLanes];
#pragma GCC unroll 16
      for (int k = 0; k < kLanes; ++k) store(block + k * kLanes, rows[k]);
      __builtin_memcpy(to + i * kLanes, block, static_cast<size_t>(left * kLanes) * sizeof(float));
    }
  }
  for (; i < count; ++i)
    for (int k = 0; k < kLanes; ++k) to[i * kLanes + k] = from[k * plane + i];
}

/// to[k * plane + i] = from[i * kLanes + k].
inline void lanes_to_planes(const float* from, int64_t plane, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Vf rows[kLanes];
#pragma GCC unroll 16
    for (int k = 0; k < kLanes; ++k) rows[k] = load(from + (i + k) * kLanes);
    transpose(rows);
#pragma GCC unroll 16
    for (int k = 0; k < kLanes; ++k) store(to + k * plane + i, rows[k]);
  }
  for (; i < count; ++i)
    for (int k = 0; k < kLanes; ++k) to[k * plane + i] = from[i * kLanes + k];
}

/// Nine taps, whose weights stay in registers.
PENLIGHT_INLINE void depthwise_nine(const DepthwiseImage& d, const float* image, const float* weight, const float* bias, float* y) {
  const Vf start = load(bias), low = splat(d.low), high = splat(d.high);
  Vf w[9];
  int64_t places[9];
#pragma GCC unroll 9
  for (int t = 0; t < 9; ++t) {
    w[t] = load(weight + t * kLanes);
    places[t] = d.offsets[t];
  }
  for (int64_t h = 0; h < d.out_h; ++h) {
    const float* from = image + h * d.step_h;
    for (int64_t i = 0; i < d.out_w; ++i, from += d.step_w, y += kLanes) {
      Vf sum = start;
#pragma GCC unroll 9
      for (int t = 0; t < 9; ++t) sum += load(from + places[t]) * w[t];
      store(y, at_most(at_least(sum, low), high));
    }
  }
}

/// kColumns outputs side by side with any number of taps: the sums wait for each other less.
template <int kColumns>
PENLIGHT_INLINE void depthwise_columns(const DepthwiseImage& d, const float* from, const float* weight, Vf start, float* y) {
  Vf sums[kColumns];
#pragma GCC unroll 4
  for (int i = 0; i < kColumns; ++i) sums[i] = start;
#pragma GCC unroll 5
  for (int64_t t = 0; t < d.taps; ++t) {
    const Vf w = load(weight + t * kLanes);
    const float* place = from + d.offsets[t];
#pragma GCC unroll 4
    for (int i = 0; i < kColumns; ++i) sums[i] += load(place + i * d.step_w) * w;
  }
  const Vf low = splat(d.low), high = splat(d.high);
#pragma GCC unroll 4
  for (int i = 0; i < kColumns; ++i) store(y + i * kLanes, at_most(at_least(sums[i], low), high));
}

inline void depthwise_forward(const DepthwiseImage& d, const float* image, const float* weight, const float* bias, float* y) {
  constexpr int kColumns = 4;
  if (d.taps == 9) {
    depthwise_nine(d, image, weight, bias, y);
    return;
  }
  const Vf start = load(bias);
  for (int64_t h = 0; h < d.out_h; ++h) {
    const float* from = image + h * d.step_h;
    int64_t i = 0;
    for (; i + kColumns <= d.out_w; i += kColumns, from += kColumns * d.step_w, y += kColumns * kLanes)
      depthwise_columns<kColumns>(d, from, weight, start, y);
    for (; i < d.out_w; ++i, from += d.step_w, y += kLanes) depthwise_columns<1>(d, from, weight, start, y);
  }
}

inline void depthwise_input_gradient(const DepthwiseImage& d, const float* dy, const float* weight, float* image) {
  for (int64_t h = 0; h < d.out_h; ++h) {
    float* to = image + h * d.step_h;
    for (int64_t i = 0; i < d.out_w; ++i, to += d.step_w, dy += kLanes) {
      const Vf g = load(dy);
      for (int64_t t = 0; t < d.taps; ++t) {
        float* place = to + d.offsets[t];
        store(place, load(place) + g * load(weight + t * kLanes));
      }
    }
  }
}

template <int kTaps>
PENLIGHT_INLINE void depthwise_taps(const DepthwiseImage& d, const float* image, const float* dy, const int64_t* offsets,
                                    float* dweight) {
  Vf sums[kTaps];
#pragma GCC unroll 9
  for (int t = 0; t < kTaps; ++t) sums[t] = load(dweight + t * kLanes);
  for (int64_t h = 0; h < d.out_h; ++h) {
    const float* from = image + h * d.step_h;
    for (int64_t i = 0; i < d.out_w; ++i, from += d.step_w, dy += kLanes) {
      const Vf g = load(dy);
#pragma GCC unroll 9
      for (int t = 0; t < kTaps; ++t) sums[t] += g * load(from + offsets[t]);
    }
  }
#pragma GCC unroll 9
  for (int t = 0; t < kTaps; ++t) store(dweight + t * kLanes, sums[t]);
}

inline void depthwise_weight_gradient(const DepthwiseImage& d, const float* image, const float* dy, float* dweight) {
  int64_t t = 0;
  for (; t + 9 <= d.taps; t += 9) depthwise_taps<9>(d, image, dy, d.offsets + t, dweight + t * kLanes);
  for (; t < d.taps; ++t) depthwise_taps<1>(d, image, dy, d.offsets + t, dweight + t * kLanes);
}

#if PENLIGHT_SMALL  // is for devices, which do not train
constexpr DepthwiseTable kDepthwiseTable = {kLanes, planes_to_lanes, lanes_to_planes, depthwise_forward, nullptr, nullptr};
#else
constexpr DepthwiseTable kDepthwiseTable = {
    kLanes, planes_to_lanes, lanes_to_planes, depthwise_forward, depthwise_input_gradient, depthwise_weight_gradient};
#endif
