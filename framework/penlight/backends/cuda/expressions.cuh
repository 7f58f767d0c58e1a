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

}  // namespace expressions
