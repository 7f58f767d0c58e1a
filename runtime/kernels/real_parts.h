// Steps that the functions of a double share. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <math.h>
#include <stdint.h>

namespace penlight {

inline uint64_t bits_of_real(double x) {
  uint64_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline double real_of_bits(uint64_t bits) {
  double x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

/// Ties to even, for |x| < 2^51: adding 1.5 * 2^52 leaves no room for a fraction.
inline double nearest_whole(double x) { return (x + 0x1.8p52) - 0x1.8p52; }

/// x * 2^n in two factors, so that neither overflows when the result is tiny or huge.
inline double times_power_of_two(double x, int n) {
  const int half = n / 2;
  return x * real_of_bits(static_cast<uint64_t>(half + 1023) << 52) * real_of_bits(static_cast<uint64_t>(n - half + 1023) << 52);
}

/// a + b = result + low exactly (Knuth).
inline double sum_parts(double a, double b, double* low) {
  const double sum = a + b, part = sum - a;
  *low = (a - (sum - part)) + (b - part);
  return sum;
}

/// a * b = result + low exactly (Dekker), without a fused multiply-add.
inline double product_parts(double a, double b, double* low) {
  const double a_high = real_of_bits(bits_of_real(a) & ~uint64_t{0x7ffffff}), a_low = a - a_high;
  const double b_high = real_of_bits(bits_of_real(b) & ~uint64_t{0x7ffffff}), b_low = b - b_high;
  const double product = a * b;
  *low = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
  return product;
}

/// The highest power's factor comes first.
template <int kCount>
double polynomial(const double (&factors)[kCount], double x) {
  double sum = factors[0];
  for (int i = 1; i < kCount; ++i) sum = sum * x + factors[i];
  return sum;
}

}  // namespace penlight
