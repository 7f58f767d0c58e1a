// Bare elementwise kernels on float arrays, vectorised for each instruction set. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "parallel.h"
#include "selection.h"

namespace penlight {

/// Functions of one float. alpha, beta and gamma mean what the ONNX operator's attributes do; kIdentity comes first.
enum class Unary : int {
  kIdentity,
  kAbs,
  kNeg,
  kExp,
  kLog,
  kSqrt,
  kReciprocal,
  kFloor,
  kCeil,
  kRound,
  kSign,
  kTanh,
  kSigmoid,
  kErf,
  kSoftplus,
  kRelu,
  kLeakyRelu,
  kElu,
  kSelu,
  kCelu,
  kThresholdedRelu,
  kHardSigmoid,
  kHardSwish,
  kMish,
  kSilu,
  kGelu,
  kGeluTanh,
  kClip,
  kSoftsign,
  kCount
};

/// Whether this build has a function (`kSelectedFunctions`); kernels must not ask for the others.
constexpr bool function_selected(Unary function) { return (kSelectedFunctions >> static_cast<int>(function) & 1) != 0; }

struct UnaryParameters {
  float alpha = 0, beta = 0;
};

/// What a GEMM or convolution applies to each result before it is stored.
struct Activation {
  Unary function = Unary::kIdentity;
  UnaryParameters parameters;
};

/// Limits of a clamp that does what the activation does, where one exists; else none, and false.
inline bool activation_is_clamp(const Activation& activation, float* low, float* high) {
  const bool is_clip = activation.function == Unary::kClip, is_relu = activation.function == Unary::kRelu;
  *low = is_clip ? activation.parameters.alpha : is_relu ? 0.0f : -__builtin_inff();
  *high = is_clip ? activation.parameters.beta : __builtin_inff();
  return is_clip || is_relu || activation.function == Unary::kIdentity;
}

/// y[i] = function(x[i]); x and y may be the same array.
void unary_f32(Unary function, const UnaryParameters& parameters, const float* x, float* y, size_t count, const Parallel& parallel);

enum class Binary : int { kAdd, kSub, kMul, kDiv, kMin, kMax, kPRelu, kCount };

constexpr bool function_selected(Binary function) { return (kSelectedBinaries >> static_cast<int>(function) & 1) != 0; }

/// How an operand is read along the innermost dimension.
enum class Step : int { kEach, kSame };

/// z[i] = f(x[i], y[i]), one of x and y may be a single value; z may be x or y.
void binary_f32(Binary function, const float* x, Step x_step, const float* y, Step y_step, float* z, size_t count);

/// y[i] = x[2 * i] for i in [0, count).
void every_second_f32(const float* x, float* y, size_t count);

using UnaryArray = void (*)(const float* x, float* y, size_t n, float a, float b);
using BinaryArray = void (*)(const float* x, const float* y, float* z, size_t n);

// One table each, so that a program links only those that it uses.
struct UnaryTable {
  UnaryArray of[static_cast<int>(Unary::kCount)];
};

struct BinaryTable {
  BinaryArray of[static_cast<int>(Binary::kCount)][3];  // each-each, each-same, same-each
};

struct MoveTable {
  void (*every_second)(const float* x, float* y, size_t n);
};

}  // namespace penlight
