// Exponentials, logarithms and powers of doubles without the C library. SPDX-License-Identifier: Apache-2.0
#include "real_functions.h"

#include "real_parts.h"

namespace penlight {

namespace {

constexpr double kLog2High = 0x1.62e42feep-1, kLog2Low = 0x1.a39ef35793c76p-33;  // 32 bits, so that whole multiples are exact
constexpr double kInverseLog2 = 1.4426950408889634;

/// exp(r) - 1 - r for |r| <= 0.35: a Taylor series, whose terms fall fast enough.
double exp_rest(double r) {
  constexpr double kTerms[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                               1.0 / 5040,       1.0 / 720,       1.0 / 120,      1.0 / 24,      1.0 / 6,      1.0 / 2};
  return r * r * polynomial(kTerms, r);
}

/// x = n log(2) + high - low with a small difference of the two.
double exp_reduce(double x, double* high, double* low) {
  const double n = nearest_whole(x * kInverseLog2);
  *high = x - n * kLog2High;
  *low = n * kLog2Low;
  return n;
}

/// log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2)], less f.
double log_rest(double f) {
  constexpr double kTerms[] = {2.0 / 25, 2.0 / 23, 2.0 / 21, 2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13,
                               2.0 / 11, 2.0 / 9,  2.0 / 7,  2.0 / 5,  2.0 / 3,  0.0};
  const double s = f / (2.0 + f), half = 0.5 * f * f;
  return s * (half + polynomial(kTerms, s * s)) - half;
}

/// Splits a positive finite x into 2^exponent * m with m in [sqrt(1/2), sqrt(2)).
double log_reduce(double x, int* exponent) {
  *exponent = 0;
  if (x < 0x1p-1022) {
    x *= 0x1p54;
    *exponent = -54;
  }
  const uint64_t bits = bits_of_real(x);
  const bool upper = (bits & 0xfffffffffffffu) >= 0x6a09e667f3bcdu;
  *exponent += static_cast<int>(bits >> 52) - 1023 + upper;
  return real_of_bits((bits & 0xfffffffffffffu) | (upper ? 0x3fe0000000000000u : 0x3ff0000000000000u));
}

/// log(x) as high + low for a positive finite x, to about 2^-60.
double log_parts(double x, double* low) {
  constexpr double kTerms[] = {2.0 / 25, 2.0 / 23, 2.0 / 21, 2.0 / 19, 2.0 / 17, 2.0 / 15,
                               2.0 / 13, 2.0 / 11, 2.0 / 9,  2.0 / 7,  2.0 / 5};
  int exponent;
  const double f = log_reduce(x, &exponent) - 1.0;
  double t_low, square_low, cube_low;
  const double t = sum_parts(2.0, f, &t_low), s = f / t;
  double product_low;
  const double product = product_parts(s, t, &product_low);
  const double s_low = ((f - product) - product_low - s * t_low) / t;
  const double square = product_parts(s, s, &square_low), cube = product_parts(square, s, &cube_low);
  cube_low += (square_low + 2.0 * s * s_low) * s + square * s_low;
  double third_low;
  const double third = product_parts(cube, 2.0 / 3, &third_low);
  third_low += 2.0 / 3 * cube_low + cube * 3.7007434154171886e-17;  // what 2 / 3 lacks
  double whole_low, sum_low, all_low;
  const double whole = sum_parts(exponent * kLog2High, 2.0 * s, &whole_low);
  const double sum = sum_parts(whole, third, &sum_low);
  const double rest =
      whole_low + sum_low + exponent * kLog2Low + 2.0 * s_low + third_low + cube * square * polynomial(kTerms, square);
  const double all = sum_parts(sum, rest, &all_low);
  *low = all_low;
  return all;
}

/// exp(x + low) for a small low.
double exp_of_parts(double x, double low) {
  if (!(x < 710.0)) return x != x ? x : __builtin_inf();
  if (x < -746.0) return 0.0;
  double high, reduced;
  const double n = exp_reduce(x, &high, &reduced);
  const double left = reduced - low, r = high - left;
  return times_power_of_two(1.0 + (r + (((high - r) - left) + exp_rest(r))), static_cast<int>(n));
}

bool is_whole(double x) { return fabs(x) >= 0x1p53 || nearest_whole(x) == x; }
bool is_odd(double x) { return fabs(x) < 0x1p53 && is_whole(x) && !is_whole(0.5 * x); }

/// Where a base or an exponent is 0, 1, infinite or NaN.
bool pow_special(double x, double y, double* result) {
  const double size = fabs(x), infinity = __builtin_inf();
  if (y == 0.0 || x == 1.0) {
    *result = 1.0;
  } else if (x != x || y != y) {
    *result = x + y;
  } else if (fabs(y) == infinity) {
    *result = size == 1.0 ? 1.0 : (size > 1.0) == (y > 0) ? infinity : 0.0;
  } else if (x == 0.0 || size == infinity) {
    const double value = (x == 0.0) == (y > 0) ? 0.0 : infinity;
    *result = is_odd(y) ? copysign(value, x) : value;
  } else if (x < 0.0 && !is_whole(y)) {
    *result = __builtin_nan("");
  } else {
    return false;
  }
  return true;
}

}  // namespace

double real_exp(double x) { return exp_of_parts(x, 0.0); }

double real_expm1(double x) {
  if (fabs(x) < 0.34) return x + exp_rest(x);
  if (!(x < 710.0)) return x != x ? x : __builtin_inf();
  if (x < -40.0) return -1.0;
  double high, low;
  const double n = exp_reduce(x, &high, &low), r = high - low;
  const double part = r + (((high - r) - low) + exp_rest(r));
  if (n > 60.0) return times_power_of_two(1.0 + part, static_cast<int>(n));
  const double power = times_power_of_two(1.0, static_cast<int>(n));
  return power * part + (power - 1.0);
}

double real_log(double x) {
  if (!(x > 0.0)) return x == 0.0 ? -__builtin_inf() : __builtin_nan("");
  if (x > 0x1.fffffffffffffp1023) return x;
  int exponent;
  const double f = log_reduce(x, &exponent) - 1.0;
  return exponent * kLog2High + (f + (exponent * kLog2Low + log_rest(f)));
}

/// log(u) for the rounded u = 1 + x, and what the rounding took away.
double real_log1p(double x) {
  if (!(x > -1.0)) return x == -1.0 ? -__builtin_inf() : __builtin_nan("");
  if (fabs(x) < 0x1p-54 || x > 0x1.fffffffffffffp1023) return x;
  double lost;
  const double u = sum_parts(1.0, x, &lost);
  return u == 1.0 ? x : real_log(u) + lost / u;
}

double real_pow(double x, double y) {
  double result;
  if (pow_special(x, y, &result)) return result;
  const bool negative = x < 0.0 && is_odd(y);
  double low;
  const double high = log_parts(fabs(x), &low);
  if (fabs(y) > 0x1p900 || fabs(high * y) > 800.0) {
    result = (high > 0) == (y > 0) ? __builtin_inf() : 0.0;
    if (high == 0.0) result = 1.0;
  } else {
    double product_low;
    const double product = product_parts(high, y, &product_low);
    result = exp_of_parts(product, product_low + low * y);
  }
  return negative ? -result : result;
}

double real_sinh(double x) {
  const double size = fabs(x);
  if (size > 40.0) {
    const double half = real_exp(0.5 * size);
    return copysign(0.5 * half * half, x);
  }
  if (size < 0x1p-28) return x;
  const double t = real_expm1(size);
  return copysign(0.5 * (t + t / (t + 1.0)), x);
}

double real_cosh(double x) {
  const double size = fabs(x), half = real_exp(0.5 * size);
  if (size > 40.0) return 0.5 * half * half;
  const double e = real_exp(size);
  return 0.5 * e + 0.5 / e;
}

double real_tanh(double x) {
  const double size = fabs(x);
  if (size > 22.0) return copysign(1.0, x);
  if (!(size >= 0x1p-28)) return x;
  const double t = real_expm1(2.0 * size);
  return copysign(size < 1.0 ? t / (t + 2.0) : 1.0 - 2.0 / (t + 2.0), x);
}

double real_asinh(double x) {
  const double size = fabs(x);
  if (!(size >= 0x1p-28)) return x;
  if (size > 0x1p28) return copysign(real_log(size) + 0.69314718055994531, x);
  return copysign(real_log1p(size + x * x / (1.0 + sqrt(1.0 + x * x))), x);
}

double real_acosh(double x) {
  if (!(x >= 1.0)) return __builtin_nan("");
  if (x > 0x1p28) return real_log(x) + 0.69314718055994531;
  const double t = x - 1.0;
  return real_log1p(t + sqrt(2.0 * t + t * t));
}

double real_atanh(double x) {
  const double size = fabs(x);
  if (size < 0x1p-28) return x;
  return copysign(0.5 * real_log1p(2.0 * size / (1.0 - size)), x);
}

/// Kummer's series, whose terms are all positive; far out the continued fraction of 1 - erf.
double real_erf(double x) {
  constexpr double kFactor = 1.1283791670955126;  // 2 / sqrt(pi)
  const double size = fabs(x);
  if (!(size <= 6.0)) return x != x ? x : copysign(1.0, x);
  if (size < 0x1p-28) return kFactor * x;
  double low;
  const double square = product_parts(size, size, &low);
  if (size < 1.0) {
    double sum = 1.0;
    for (int n = 20; n > 0; --n) sum = 1.0 + 2.0 * square / (2 * n + 1) * sum;
    return kFactor * x * exp_of_parts(-square, -low) * sum;
  }
  double fraction = size;
  for (int n = 20 + static_cast<int>(160.0 / square); n > 0; --n) fraction = size + 0.5 * n / fraction;
  return copysign(1.0 - 0.5 * kFactor * exp_of_parts(-square, -low) / fraction, x);
}

}  // namespace penlight
