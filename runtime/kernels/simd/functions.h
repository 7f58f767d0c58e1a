// Vector exp, log, tanh, erf and rounding; included inside the namespace of each instruction set. SPDX-License-Identifier:
// Apache-2.0 Polynomials: Cephes (exp, log, tanh); N. Juffa, stackoverflow.com/a/35148199 (erf). Errors are below 1.5 ULP for exp,
// log, tanh and erf and below 2.5 ULP for sigmoid, softplus and expm1. Products and sums are rounded one by one, never fused, so
// that every instruction set gives the same bits; this costs little, since it is not multiplications that these wait for.

/// a * b + c.
PENLIGHT_INLINE Vf madd(Vf a, Vf b, Vf c) { return a * b + c; }
PENLIGHT_INLINE Vf madd(Vf a, Vf b, float c) { return a * b + splat(c); }

/// Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the sum.
constexpr float kRoundingShift = 12582912.0f;

/// exp(x) = 2^whole * (1 + the result), for x in [-104, 89].
PENLIGHT_INLINE Vf exp_part(Vf x, Vf* whole) {
  *whole = madd(x, splat(1.44269504f), kRoundingShift) - kRoundingShift;
  Vf r = madd(*whole, splat(-0.693359375f), x);
  r = madd(*whole, splat(2.12194440e-4f), r);
  Vf p = madd(splat(1.9875691500e-4f), r, 1.3981999507e-3f);
  p = madd(p, r, 8.3334519073e-3f);
  p = madd(p, r, 4.1665795894e-2f);
  p = madd(p, r, 1.6666665459e-1f);
  p = madd(p, r, 5.0000001201e-1f);
  return madd(p, r * r, r);
}

PENLIGHT_INLINE Vf vector_exp(Vf x) {
  Vf whole;
  x = at_most(at_least(x, splat(-104.0f)), splat(89.0f));  // beyond these the result is 0 or infinity anyway
  const Vf p = exp_part(x, &whole) + 1.0f;
  const Vi n = bits_of(whole + kRoundingShift) - bits_of(splat(kRoundingShift));
  const Vi half = n >> 1;  // two factors, so that neither overflows when the result is tiny or huge
  return p * float_of((half + 127) << 23) * float_of((n - half + 127) << 23);
}

PENLIGHT_INLINE Vf vector_log(Vf x) {
  const Vi tiny = x < 1.17549435e-38f;
  Vf m = select(tiny, x * 8388608.0f, x);
  Vi exponent = ((bits_of(m) >> 23) & 0xff) - 126;
  exponent = exponent - (tiny & 23);
  m = float_of((bits_of(m) & 0x007fffff) | 0x3f000000);  // [0.5, 1)
  const Vi low = m < 0.707106781f;
  exponent = exponent + low;  // a true lane is -1
  m = select(low, m + m, m) - 1.0f;
  const Vf e = __builtin_convertvector(exponent, Vf);
  const Vf z = m * m;
  Vf p = madd(splat(7.0376836292e-2f), m, -1.1514610310e-1f);
  p = madd(p, m, 1.1676998740e-1f);
  p = madd(p, m, -1.2420140846e-1f);
  p = madd(p, m, 1.4249322787e-1f);
  p = madd(p, m, -1.6668057665e-1f);
  p = madd(p, m, 2.0000714765e-1f);
  p = madd(p, m, -2.4999993993e-1f);
  p = madd(p, m, 3.3333331174e-1f);
  p = p * m * z;
  p = madd(e, splat(-2.12194440e-4f), p);
  p = madd(z, splat(-0.5f), p);
  Vf result = madd(e, splat(0.693359375f), m + p);
  result = select(x == __builtin_inff(), x, result);
  result = select(x == 0.0f, splat(-__builtin_inff()), result);
  return select((x < 0.0f) | (x != x), splat(__builtin_nanf("")), result);
}

PENLIGHT_INLINE Vf vector_tanh(Vf x) {
  const Vf size = magnitude(x);
  const Vf z = x * x;
  Vf p = madd(splat(-5.70498872745e-3f), z, 2.06390887954e-2f);
  p = madd(p, z, -5.37397155531e-2f);
  p = madd(p, z, 1.33314422036e-1f);
  p = madd(p, z, -3.33332819422e-1f);
  const Vf near = madd(p * z, x, x);
  const Vf far = 1.0f - 2.0f / (vector_exp(size + size) + 1.0f);
  return select(size < 0.625f, near, with_sign_of(far, x));
}

PENLIGHT_INLINE Vf vector_erf(Vf x) {
  const Vf t = magnitude(x);
  const Vf s = x * x;
  Vf far = madd(splat(-1.72853470e-5f), t, 3.83197126e-4f);
  far = madd(far, s, madd(splat(-3.88396438e-3f), t, 2.42546219e-2f));
  far = madd(far, t, -1.06777877e-1f);
  far = madd(far, t, -6.34846687e-1f);
  far = madd(far, t, -1.28717512e-1f);
  far = madd(far, t, -t);
  far = with_sign_of(1.0f - vector_exp(select(t > 4.0f, splat(-104.0f), far)), x);  // the polynomial turns up again far out
  Vf near = madd(splat(-5.96761703e-4f), s, 4.99119423e-3f);
  near = madd(near, s, -2.67681349e-2f);
  near = madd(near, s, 1.12819925e-1f);
  near = madd(near, s, -3.76125336e-1f);
  near = madd(near, s, 1.28379166e-1f);
  near = madd(near, x, x);
  return select(x != x, x, select(t > 0.927734375f, far, near));
}

/// Within 4.5e-7 of erf, and in [-1, 1]: a quotient of polynomials (Eigen's), which takes a third of the time.
PENLIGHT_INLINE Vf vector_erf_near(Vf x) {
  const Vf t = at_most(at_least(x, splat(-4.0f)), splat(4.0f));
  const Vf s = t * t;
  Vf p = madd(splat(-2.72614225801306e-10f), s, 2.77068142495902e-08f);
  p = madd(p, s, -2.10102402082508e-06f);
  p = madd(p, s, -5.69250639462346e-05f);
  p = madd(p, s, -7.34990630326855e-04f);
  p = madd(p, s, -2.95459980854025e-03f);
  p = madd(p, s, -1.60960333262415e-02f);
  Vf q = madd(splat(-1.45660718464996e-05f), s, -2.13374055278905e-04f);
  q = madd(q, s, -1.68282697438203e-03f);
  q = madd(q, s, -7.37332916720468e-03f);
  q = madd(q, s, -1.42647390514189e-02f);
  return at_most(at_least(t * p / q, splat(-1.0f)), splat(1.0f));
}

/// 1 / (1 + exp(-x)), by exp(-|x|), which does not overflow.
PENLIGHT_INLINE Vf vector_sigmoid(Vf x) {
  const Vf e = vector_exp(-magnitude(x));
  return select(x < 0.0f, e, splat(1.0f)) / (1.0f + e);
}

/// log(1 + exp(x)) without overflow: max(x, 0) + log1p(exp(-|x|)), with what rounding 1 + exp takes away.
PENLIGHT_INLINE Vf vector_softplus(Vf x) {
  const Vf e = vector_exp(-magnitude(x));
  const Vf u = 1.0f + e;
  return at_least(x, splat(0.0f)) + (vector_log(u) + (e - (u - 1.0f)) / u);
}

PENLIGHT_INLINE Vf vector_expm1(Vf x) {
  Vf whole;
  x = at_most(at_least(x, splat(-30.0f)), splat(89.0f));
  const Vf p = exp_part(x, &whole);
  const Vf half = float_of(((bits_of(whole + kRoundingShift) - bits_of(splat(kRoundingShift))) + 126)
                           << 23);  // of the power of two, which may be 2^128
  return 2.0f * (half * p + (half - 0.5f));
}

/// Ties go to even; beyond 2^23 every float is whole.
PENLIGHT_INLINE Vf vector_round(Vf x) {
  const Vf size = magnitude(x);
  const Vf whole = (size + 8388608.0f) - 8388608.0f;
  return select(size < 8388608.0f, with_sign_of(whole, x), x);
}

PENLIGHT_INLINE Vf vector_floor(Vf x) {
  const Vf r = vector_round(x);
  return with_sign_of(select(r > x, r - 1.0f, r), x);
}

PENLIGHT_INLINE Vf vector_ceil(Vf x) {
  const Vf r = vector_round(x);
  return with_sign_of(select(r < x, r + 1.0f, r), x);
}
