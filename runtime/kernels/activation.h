// The activation that a fused operator names. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string.h>

#include "element.h"
#include "vector_math.h"

namespace penlight {

/// Reads `activation`, `activation_alpha` and `activation_beta`; absent means none. The numbers mean what the attributes of the
/// operator of that name do; Clip has its limits in them, Gelu whether an error function near the exact one will do.
inline Status read_activation(Context& context, Activation* activation) {
  struct Named {
    const char* name;
    Unary function;
    double alpha, beta;
  };
  constexpr Named kNames[] = {{"Relu", Unary::kRelu, 0.0, 0.0},
                              {"LeakyRelu", Unary::kLeakyRelu, 0.01, 0.0},
                              {"Clip", Unary::kClip, -__builtin_inf(), __builtin_inf()},
                              {"Sigmoid", Unary::kSigmoid, 0.0, 0.0},
                              {"Tanh", Unary::kTanh, 0.0, 0.0},
                              {"HardSwish", Unary::kHardSwish, 0.0, 0.0},
                              {"HardSigmoid", Unary::kHardSigmoid, 0.2, 0.5},
                              {"Gelu", Unary::kGelu, 0.0, 0.0},
                              {"Silu", Unary::kSilu, 1.0, 0.0}};
  *activation = Activation{};
  const char* name = context.attributes->text("activation");
  if (name == nullptr || name[0] == '\0') return Status::kOk;
  for (const Named& known : kNames) {
    if (!function_selected(known.function) || strcmp(name, known.name) != 0) continue;
    activation->function = known.function;
    activation->parameters.alpha = static_cast<float>(context.attributes->real("activation_alpha", known.alpha));
    if (known.function == Unary::kGelu) activation->parameters.alpha = context.deterministic ? 0.0f : 1.0f;
    activation->parameters.beta = static_cast<float>(context.attributes->real("activation_beta", known.beta));
    return Status::kOk;
  }
  return context.fail(Status::kUnsupportedOperator, "activation '%s' is not known", name);
}

/// y[i] += x[i], rounded to the element's type.
template <typename T>
void add_elements(const T* x, T* y, int64_t count) {
  using Real = typename Element<T>::Compute;
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(static_cast<Real>(y[i]) + static_cast<Real>(x[i]));
}

/// Applies it in place to elements of any floating dtype, in float.
template <typename T>
void activate_elements(const Activation& activation, T* values, int64_t count) {
  if (activation.function == Unary::kIdentity) return;
  constexpr int64_t kPiece = 512;
  float piece[kPiece];
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t n = count - begin < kPiece ? count - begin : kPiece;
    for (int64_t i = 0; i < n; ++i) piece[i] = static_cast<float>(values[begin + i]);
    unary_f32(activation.function, activation.parameters, piece, piece, static_cast<size_t>(n), Parallel{});
    for (int64_t i = 0; i < n; ++i) values[begin + i] = static_cast<T>(piece[i]);
  }
}

}  // namespace penlight
