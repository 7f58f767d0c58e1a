// Circular functions of doubles and their inverses without the C library. SPDX-License-Identifier: Apache-2.0
#include "real_angles.h"

#include "real_parts.h"

namespace penlight {

namespace {

constexpr double kHalfPi = 1.5707963267948966, kHalfPiLow = 6.123233995736766e-17;

/// An angle of at most pi / 4 (a bit more by rounding) as high + low, and the quarter of the circle.
struct Quarter {
  double high, low;
  int number;
};

/// pi / 2 in three parts, of which the first two have 33 bits, so that their products with n < 2^20 are exact (Cody and Waite).
Quarter quarter_near(double x) {
  const double n = nearest_whole(x * 0.6366197723675814);
  const double first = x - n * 1.5707963267341256, second = n * 6.077100506303966e-11;
  double low, rest_low;
  const double middle = sum_parts(first, -second, &low);
  const double high = sum_parts(middle, low - n * 2.0222662487959506e-21, &rest_low);
  return {high, rest_low, static_cast<int>(static_cast<int64_t>(n) & 3)};
}

/// 2 / pi behind the point, 32 bits each.
constexpr uint32_t kTwoOverPi[] = {0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab, 0xdebbc561,
                                   0xb7246e3a, 0x424dd2e0, 0x06492eea, 0x09d1921c, 0xfe1deb1c, 0xb129a73e, 0xe88235f5, 0x2ebb4484,
                                   0xe99c7026, 0xb45f7e41, 0x3991d639, 0x835339f4, 0x9c845f8b, 0xbdf9283b, 0x1ff897ff, 0xde05980f,
                                   0xef2f118b, 0x5a0a6d1f, 0x6d367ecf, 0x27cb09b7, 0x4f463f66, 0x9e5fea2d, 0x7527bac7, 0xebe5f17b,
                                   0x3d0739f7, 0x8a5292ea, 0x6bfb5fb1, 0x1f8d5d08, 0x56033046, 0xfc7b6bab, 0xf0cfbc20};

constexpr int kWindow = 7;  // words of 2 / pi that matter: those before give whole circles, those behind too little

/// M. Payne and R. Hanek, Radian reduction for trigonometric functions (1983), for a finite x >= 2^20.
Quarter quarter_far(double x) {
  const int exponent = static_cast<int>(bits_of_real(x) >> 52) - 1075;  // x = mantissa * 2^exponent
  const uint64_t mantissa = (bits_of_real(x) & 0xfffffffffffffu) | 0x10000000000000u;
  const int skipped = exponent > 34 ? (exponent - 2) / 32 : 0;
  uint32_t product[kWindow + 2] = {};  // the lowest word first
  const uint32_t factors[] = {static_cast<uint32_t>(mantissa), static_cast<uint32_t>(mantissa >> 32)};
  for (int f = 0; f < 2; ++f) {
    uint64_t carry = 0;
    for (int i = 0; i < kWindow; ++i) {
      carry += uint64_t{factors[f]} * kTwoOverPi[skipped + kWindow - 1 - i] + product[f + i];
      product[f + i] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    product[f + kWindow] = static_cast<uint32_t>(carry);
  }
  const int point = 32 * (skipped + kWindow) - exponent;  // bits of the product behind the point
  const auto word = [&](int first) {                      // 32 bits from bit `first` on
    const int at = first >> 5, shift = first & 31;
    const uint64_t upper = at + 1 < kWindow + 2 ? product[at + 1] : 0, lower = at >= 0 ? product[at] : 0;
    return static_cast<uint32_t>((upper << 32 | lower) >> shift);
  };
  uint32_t number = word(point) & 3;
  const bool upper = (word(point - 32) >> 31) != 0;  // a fraction of a half or more counts down from the next quarter
  double fraction = 0, scale = 0x1p-32;
  for (int i = 1; i <= 5; ++i, scale *= 0x1p-32) {
    const uint32_t digits = word(point - 32 * i);
    fraction += static_cast<double>(upper ? ~digits : digits) * scale;
  }
  if (upper) {
    number = (number + 1) & 3;
    fraction = -fraction;
  }
  return {fraction * kHalfPi, fraction * kHalfPiLow, static_cast<int>(number)};
}

Quarter quarter_of(double x) {
  if (fabs(x) < 0x1p20) return quarter_near(x);
  const Quarter q = quarter_far(fabs(x));
  return x < 0 ? Quarter{-q.high, -q.low, -q.number & 3} : q;
}

double sin_near(double x, double low) {
  constexpr double kTerms[] = {1.0 / 355687428096000, -1.0 / 1307674368000, 1.0 / 6227020800, -1.0 / 39916800,
                               1.0 / 362880,          -1.0 / 5040,          1.0 / 120,        -1.0 / 6};
  const double z = x * x;
  return x + (x * z * polynomial(kTerms, z) + low * (1.0 - 0.5 * z));
}

double cos_near(double x, double low) {
  constexpr double kTerms[] = {-1.0 / 6402373705728000, 1.0 / 20922789888000, -1.0 / 87178291200, 1.0 / 479001600,
                               -1.0 / 3628800,          1.0 / 40320,          -1.0 / 720,         1.0 / 24};
  const double z = x * x, half = 0.5 * z, first = 1.0 - half;
  return first + (((1.0 - first) - half) + (z * z * polynomial(kTerms, z) - x * low));
}

bool is_angle(double x) { return fabs(x) <= 0x1.fffffffffffffp1023; }

double sin_of(const Quarter& q, int turned) {
  const int number = (q.number + turned) & 3;
  const double value = number % 2 == 0 ? sin_near(q.high, q.low) : cos_near(q.high, q.low);
  return number >= 2 ? -value : value;
}

/// For |x| <= 7 / 16.
double atan_near(double x) {
  constexpr double kTerms[] = {1.0 / 45, -1.0 / 43, 1.0 / 41, -1.0 / 39, 1.0 / 37, -1.0 / 35, 1.0 / 33, -1.0 / 31,
                               1.0 / 29, -1.0 / 27, 1.0 / 25, -1.0 / 23, 1.0 / 21, -1.0 / 19, 1.0 / 17, -1.0 / 15,
                               1.0 / 13, -1.0 / 11, 1.0 / 9,  -1.0 / 7,  1.0 / 5,  -1.0 / 3};
  const double z = x * x;
  return x + x * z * polynomial(kTerms, z);
}

}  // namespace

double real_sin(double x) {
  if (fabs(x) < 0x1p-27) return x;
  return is_angle(x) ? sin_of(quarter_of(x), 0) : __builtin_nan("");
}

double real_cos(double x) { return is_angle(x) ? sin_of(quarter_of(x), 1) : __builtin_nan(""); }

double real_tan(double x) {
  if (fabs(x) < 0x1p-27) return x;
  if (!is_angle(x)) return __builtin_nan("");
  const Quarter q = quarter_of(x);
  const double sine = sin_near(q.high, q.low), cosine = cos_near(q.high, q.low);
  return q.number % 2 == 0 ? sine / cosine : -cosine / sine;
}

double real_atan(double x) {
  struct Step {
    double up_to, centre, high, low;  // the angle whose tangent is `centre`
  };
  constexpr Step kSteps[] = {{0.6875, 0.5, 0.4636476090008061, 2.2698777452961687e-17},
                             {1.1875, 1.0, 0.7853981633974483, 3.061616997868383e-17},
                             {2.4375, 1.5, 0.982793723247329, 1.3903311031230998e-17}};
  const double size = fabs(x);
  if (!(size > 0.4375)) return atan_near(x);
  for (const Step& step : kSteps)
    if (size < step.up_to)
      return copysign(step.high + (atan_near((size - step.centre) / (1.0 + step.centre * size)) + step.low), x);
  return copysign(kHalfPi - (atan_near(1.0 / size) - kHalfPiLow), x);
}

double real_asin(double x) {
  const double size = fabs(x);
  if (!(size <= 1.0)) return __builtin_nan("");
  if (size <= 0.5) return size < 0x1p-27 ? x : real_atan(x / sqrt((1.0 - x) * (1.0 + x)));
  const double half = sqrt(0.5 * (1.0 - size));
  return copysign(kHalfPi - (2.0 * real_asin(half) - kHalfPiLow), x);
}

double real_acos(double x) {
  if (!(fabs(x) <= 1.0)) return __builtin_nan("");
  if (x > 0.5) return 2.0 * real_asin(sqrt(0.5 * (1.0 - x)));
  if (x < -0.5) return 2.0 * (kHalfPi - (real_asin(sqrt(0.5 * (1.0 + x))) - kHalfPiLow));
  return kHalfPi - (real_asin(x) - kHalfPiLow);
}

}  // namespace penlight
