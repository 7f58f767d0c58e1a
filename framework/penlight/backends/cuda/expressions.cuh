// Elementwise mathematics as plain functions of floats, without anything of CUDA: the CPU tests compile this file too.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#ifdef __CUDACC__
#define PENLIGHT_EXPRESSION __device__ inline
#else
#include <math.h>
#define PENLIGHT_EXPRESSION inline
#endif

namespace expressions {

constexpr float kSqrtHalf = 0.70710678118654752f;
constexpr float kInverseSqrtTwoPi = 0.39894228040143268f;
constexpr float kSqrtTwoOverPi = 0.79788456080286536f;
constexpr float kTanhCubic = 0.044715f;  // Hendrycks and Gimpel 2016

PENLIGHT_EXPRESSION float relu(float x) { return x > 0.0f || x != x ? x : 0.0f; }
PENLIGHT_EXPRESSION float relu_slope(float y) { return y > 0.0f ? 1.0f : 0.0f; }

PENLIGHT_EXPRESSION float leaky_relu(float x, float slope) { return x > 0.0f ? x : slope * x; }
PENLIGHT_EXPRESSION float leaky_relu_slope(float x, float slope) { return x > 0.0f ? 1.0f : slope; }

// exp of a negative number only, so that nothing overflows.
PENLIGHT_EXPRESSION float sigmoid(float x) {
  float e = expf(-fabsf(x));
  return x >= 0.0f ? 1.0f / (1.0f + e) : e / (1.0f + e);
}
PENLIGHT_EXPRESSION float sigmoid_slope(float y) { return y * (1.0f - y); }

PENLIGHT_EXPRESSION float tanh(float x) { return tanhf(x); }
PENLIGHT_EXPRESSION float tanh_slope(float y) { return 1.0f - y * y; }

PENLIGHT_EXPRESSION float silu(float x) { return x * sigmoid(x); }
PENLIGHT_EXPRESSION float silu_slope(float x) {
  float s = sigmoid(x);
  return s * (1.0f + x * (1.0f - s));
}

// erfc keeps its relative accuracy where 1 + erf would cancel.
PENLIGHT_EXPRESSION float gelu(float x) { return 0.5f * x * erfcf(-x * kSqrtHalf); }
PENLIGHT_EXPRESSION float gelu_slope(float x) { return 0.5f * erfcf(-x * kSqrtHalf) + x * kInverseSqrtTwoPi * expf(-0.5f * x * x); }

PENLIGHT_EXPRESSION float gelu_tanh(float x) {
  float inner = kSqrtTwoOverPi * (x + kTanhCubic * x * x * x);
  return 0.5f * x * (1.0f + tanhf(inner));
}
PENLIGHT_EXPRESSION float gelu_tanh_slope(float x) {
  float t = tanhf(kSqrtTwoOverPi * (x + kTanhCubic * x * x * x));
  float inner_slope = kSqrtTwoOverPi * (1.0f + 3.0f * kTanhCubic * x * x);
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner_slope;
}

PENLIGHT_EXPRESSION float sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }

// x itself above the threshold, where log(1 + exp(x)) no longer differs from it.
PENLIGHT_EXPRESSION float softplus(float x, float beta, float threshold) {
  float scaled = beta * x;
  return scaled > threshold ? x : (fmaxf(scaled, 0.0f) + log1pf(expf(-fabsf(scaled)))) / beta;
}

// Python's %: the sign is the divisor's.
PENLIGHT_EXPRESSION float remainder(float a, float b) {
  float rest = fmodf(a, b);
  if (rest == 0.0f) return copysignf(0.0f, b);
  return (rest < 0.0f) != (b < 0.0f) ? rest + b : rest;
}

// By the exact rest: the quotient alone may round up to the next integer.
PENLIGHT_EXPRESSION float floor_divide(float a, float b) {
  if (b == 0.0f) return a / b;
  float rest = fmodf(a, b), quotient = (a - rest) / b;
  if (rest != 0.0f && (rest < 0.0f) != (b < 0.0f)) quotient -= 1.0f;
  if (quotient == 0.0f) return copysignf(0.0f, a / b);
  float whole = floorf(quotient);
  return quotient - whole > 0.5f ? whole + 1.0f : whole;
}

PENLIGHT_EXPRESSION float power(float x, float exponent) {
  if (exponent == 2.0f) return x * x;
  if (exponent == 3.0f) return x * x * x;
  return powf(x, exponent);
}

// NaN where either is: fmaxf drops it.
template <typename C>
PENLIGHT_EXPRESSION C larger(C a, C b) {
  return a > b || a != a ? a : b;
}
template <typename C>
PENLIGHT_EXPRESSION C smaller(C a, C b) {
  return a < b || a != a ? a : b;
}

}  // namespace expressions

// The table of elementwise mathematics: each list is that of the kernel of its name, each line (operator, expression). The kernels
// compute in float for all floating point; `Number` and `Any` lists compute integers as they are.

// float x -> float; p and q are the operator's own arguments in their order.
#define PENLIGHT_UNARY(X)                                                                 \
  X(neg, -x)                                                                              \
  X(abs, fabsf(x))                                                                        \
  X(sign, expressions::sign(x))                                                           \
  X(floor, floorf(x))                                                                     \
  X(ceil, ceilf(x))                                                                       \
  X(round, rintf(x))                                                                      \
  X(trunc, truncf(x))                                                                     \
  X(exp, expf(x))                                                                         \
  X(expm1, expm1f(x))                                                                     \
  X(log, logf(x))                                                                         \
  X(log1p, log1pf(x))                                                                     \
  X(log2, log2f(x))                                                                       \
  X(log10, log10f(x))                                                                     \
  X(sqrt, sqrtf(x))                                                                       \
  X(rsqrt, 1.0f / sqrtf(x))                                                               \
  X(reciprocal, 1.0f / x)                                                                 \
  X(sin, sinf(x))                                                                         \
  X(cos, cosf(x))                                                                         \
  X(tan, tanf(x))                                                                         \
  X(asin, asinf(x))                                                                       \
  X(acos, acosf(x))                                                                       \
  X(atan, atanf(x))                                                                       \
  X(sinh, sinhf(x))                                                                       \
  X(cosh, coshf(x))                                                                       \
  X(asinh, asinhf(x))                                                                     \
  X(acosh, acoshf(x))                                                                     \
  X(atanh, atanhf(x))                                                                     \
  X(erf, erff(x))                                                                         \
  X(erfc, erfcf(x))                                                                       \
  X(elu, x > 0.0f ? x : p * expm1f(fminf(x, 0.0f)))                                       \
  X(softplus, expressions::softplus(x, p, q))                                             \
  X(hardsigmoid, expressions::smaller(expressions::larger(x / 6.0f + 0.5f, 0.0f), 1.0f))  \
  X(hardswish, x* expressions::smaller(expressions::larger(x / 6.0f + 0.5f, 0.0f), 1.0f)) \
  X(clamp, expressions::smaller(expressions::larger(x, p), q))                            \
  X(pow_scalar, expressions::power(x, p))

// float g, x -> float: the gradient from what the tape kept, the input or (exp) the output.
#define PENLIGHT_SLOPE(X)               \
  X(exp, g* x)                          \
  X(clamp, x >= p && x <= q ? g : 0.0f) \
  X(pow_scalar, g* p* expressions::power(x, p - 1.0f))

// C a, b -> C, floats and integers.
#define PENLIGHT_BINARY(X)              \
  X(add, a + b)                         \
  X(sub, a - b)                         \
  X(mul, a* b)                          \
  X(maximum, expressions::larger(a, b)) \
  X(minimum, expressions::smaller(a, b))

// float a, b -> float.
#define PENLIGHT_FRACTION(X)                       \
  X(div, a / b)                                    \
  X(pow, powf(a, b))                               \
  X(fmod, fmodf(a, b))                             \
  X(remainder, expressions::remainder(a, b))       \
  X(floor_divide, expressions::floor_divide(a, b)) \
  X(atan2, atan2f(a, b))

// C a, b -> bool, any element.
#define PENLIGHT_COMPARE(X)            \
  X(eq, a == b)                        \
  X(ne, a != b)                        \
  X(lt, a < b)                         \
  X(le, a <= b)                        \
  X(gt, a > b)                         \
  X(ge, a >= b)                        \
  X(logical_and, (a != 0) && (b != 0)) \
  X(logical_or, (a != 0) || (b != 0))  \
  X(logical_xor, (a != 0) != (b != 0))

// C x -> bool, any element; x - x is 0 for what is finite alone.
#define PENLIGHT_TEST(X)             \
  X(isnan, x != x)                   \
  X(isinf, x == x && x - x != x - x) \
  X(logical_not, x == 0)

// What a cast may lead to, by dtype name.
#define PENLIGHT_CAST(X)     \
  X(float32, float)          \
  X(float16, __half)         \
  X(bfloat16, __nv_bfloat16) \
  X(int64, int64)            \
  X(int32, int)              \
  X(bool, bool)

// C a, b -> C: how two parts of a reduction become one, and what nothing counts as.
#define PENLIGHT_REDUCE(X)                               \
  X(sum, a + b, C(0))                                    \
  X(prod, a* b, C(1))                                    \
  X(amax, expressions::larger(a, b), Range<C>::lowest()) \
  X(amin, expressions::smaller(a, b), Range<C>::highest())

// float a, b: whether a goes before b.
#define PENLIGHT_POSITION(X) \
  X(argmax, a > b)           \
  X(argmin, a < b)

// float x, g -> two floats that are summed over each channel: the moments about `centre`, and what the gradient needs.
#define PENLIGHT_CHANNEL(X)                           \
  X(moments, x - centre, (x - centre) * (x - centre)) \
  X(gradients, g, g*(x - centre) * scale)
