// Sums, maxima and affine maps of rows; included inside the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0

inline float row_maximum(const float* x, int64_t n) {
  Vf best = splat(-__builtin_inff());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) best = maximum(best, load(x + i));
  float result = maximum_lane(best);
  for (; i < n; ++i) result = (x[i] > result || x[i] != x[i]) ? x[i] : result;
  return result;
}

/// The first n lanes, zeros beyond.
PENLIGHT_INLINE Vf first_lanes(Vf v, size_t n) {
  float lanes[kLanes] = {};
  store_first(lanes, v, n);
  return load(lanes);
}

struct ExpTerm {
  static constexpr bool kIsShort = false;
  const float* x;
  float shift;
  float* y;
  PENLIGHT_INLINE Vf part(int64_t i, size_t n, bool all) const {
    const Vf e = vector_exp((all ? load(x + i) : load_first(x + i, n)) - shift);
    if (y != nullptr) all ? store(y + i, e) : store_first(y + i, e, n);
    return all ? e : first_lanes(e, n);
  }
  PENLIGHT_INLINE Vf whole(int64_t i) const { return part(i, kLanes, true); }
  PENLIGHT_INLINE Vf first(int64_t i, size_t n) const { return part(i, n, false); }
};

struct ValueTerm {
  static constexpr bool kIsShort = true;
  const float* x;
  PENLIGHT_INLINE Vf whole(int64_t i) const { return load(x + i); }
  PENLIGHT_INLINE Vf first(int64_t i, size_t n) const { return load_first(x + i, n); }
};

struct SquareTerm {
  static constexpr bool kIsShort = true;
  const float* x;
  float shift;
  PENLIGHT_INLINE Vf whole(int64_t i) const {
    const Vf d = load(x + i) - shift;
    return d * d;
  }
  PENLIGHT_INLINE Vf first(int64_t i, size_t n) const {
    const Vf d = load_first(x + i, n) - shift;
    return first_lanes(d * d, n);
  }
};

inline float row_exp_sum(const float* x, float shift, float* y, int64_t n) { return sum_of_terms(ExpTerm{x, shift, y}, n); }
inline float row_sum(const float* x, int64_t n) { return sum_of_terms(ValueTerm{x}, n); }
inline float row_square_sum(const float* x, float shift, int64_t n) { return sum_of_terms(SquareTerm{x, shift}, n); }
inline float row_dot(const float* x, const float* y, int64_t n) { return sum_of_terms(DotTerm{x, y}, n); }

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
