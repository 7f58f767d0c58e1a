// The exponential of attention's scores; included inside the namespace of each instruction set. SPDX-License-Identifier: Apache-2.0

/// exp(x) within 2 ULP for finite x up to 0, and 0 below -87.
PENLIGHT_INLINE Vf exp_near(Vf x) {
  const Vf kept = at_least(x, splat(-87.0f));
  const Vf shifted = kept * 1.44269504f + kRoundingShift;
  const Vf whole = shifted - kRoundingShift;
  Vf r = whole * -0.693359375f + kept;
  r = whole * 2.12194440e-4f + r;
  Vf p = 1.9875691500e-4f * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  typedef uint32_t Bits __attribute__((vector_size(PENLIGHT_LANES * 4)));  // may wrap around, as beyond the end of a row
  const Bits power = reinterpret_cast<Bits>(shifted) << 23;
  return select(x < -87.0f, Vf{}, reinterpret_cast<Vf>(reinterpret_cast<Bits>(p) + power));
}

/// y[i] = exp(x[i] - shift); the sum.
inline __attribute__((noinline)) float row_exp_near(const float* x, float shift, float* y, int64_t n) {
  Vf sum = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vf e = exp_near(load(x + i) - shift);
    store(y + i, e);
    sum += e;
  }
  if (i == n) return sum_lanes(sum);
  const size_t rest = static_cast<size_t>(n - i);
  store_first(y + i, exp_near(load_first(x + i, rest) - shift), rest);
  return sum_lanes(sum + load_first(y + i, rest));
}

constexpr NearTable kNearTable = {row_exp_near};
