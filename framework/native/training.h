// Loops of training that inference does not need, one table for each instruction set. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

namespace penlight {

/// Factors of one AdamW step: p = p * keep - rate * m / (sqrt(v) / correction + eps), m += (g - m) * mix1, v = v * keep2 + g^2 *
/// mix2.
struct AdamW {
  float keep, mix1, keep2, mix2, correction, eps, rate;
};

struct Sgd {
  float lr, momentum, weight_decay;
  bool nesterov;
};

struct TrainingTable {
  void (*relu_gradient)(const float* grad, const float* y, float* dx, size_t n);
  void (*clip_gradient)(const float* grad, const float* x, float low, float high, float* dx, size_t n);
  void (*max_pool_2x2_gradient)(const float* grad, const float* top, const float* bottom, float* dtop, float* dbottom, size_t n);
  void (*gelu_gradient)(const float* grad, const float* x, bool is_tanh, float* dx, size_t n);
  void (*softmax_gradient)(const float* grad, const float* y, float sum, float* dx, size_t n);
  void (*log_softmax_gradient)(const float* grad, const float* y, float sum, float* dx, size_t n);
  void (*layer_norm_sums)(const float* grad, const float* weight, const float* x, float mean, size_t n, float* sum, float* dot);
  void (*layer_norm_gradient)(const float* grad, const float* weight, const float* x, float mean, float scale, float shift,
                              float slope, float* dx, size_t n);
  void (*layer_norm_columns)(const float* grad, const float* x, float mean, float scale, float* dweight, float* dbias, size_t n);
  void (*adamw_step)(const AdamW& step, float* p, const float* g, float* m, float* v, size_t n);
  void (*sgd_step)(const Sgd& step, float* p, const float* g, float* buffer, size_t n);
};

/// The loops for this processor.
const TrainingTable& training_table();

}  // namespace penlight
