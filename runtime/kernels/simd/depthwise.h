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

/// kTaps 0: any number of taps.
template <int kTaps>
PENLIGHT_INLINE void depthwise_rows(const DepthwiseImage& d, const float* image, const float* weight, const float* bias, float* y) {
  const int64_t taps = kTaps > 0 ? kTaps : d.taps;
  const Vf start = load(bias), low = splat(d.low), high = splat(d.high);
  Vf w[kTaps > 0 ? kTaps : 1];
  int64_t places[kTaps > 0 ? kTaps : 1];
#pragma GCC unroll 9
  for (int t = 0; t < kTaps; ++t) {
    w[t] = load(weight + t * kLanes);
    places[t] = d.offsets[t];
  }
  for (int64_t h = 0; h < d.out_h; ++h) {
    const float* from = image + h * d.step_h;
    for (int64_t i = 0; i < d.out_w; ++i, from += d.step_w, y += kLanes) {
      Vf sum = start;
#pragma GCC unroll 9
      for (int64_t t = 0; t < taps; ++t)
        sum += load(from + (kTaps > 0 ? places[t] : d.offsets[t])) * (kTaps > 0 ? w[t] : load(weight + t * kLanes));
      store(y, at_most(at_least(sum, low), high));
    }
  }
}

inline void depthwise_forward(const DepthwiseImage& d, const float* image, const float* weight, const float* bias, float* y) {
  if (d.taps == 9)
    depthwise_rows<9>(d, image, weight, bias, y);
  else
    depthwise_rows<0>(d, image, weight, bias, y);
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
