// PairwiseCoupling: probabilities of classes from the scores of all pairs (SVMClassifier). SPDX-License-Identifier: Apache-2.0
#include "real_functions.h"
#include "shape_rules.h"

namespace penlight {

namespace {

constexpr int kCouplingSteps = 100;
constexpr float kCouplingFloor = 1e-7f;

/// The share of class i against j is r[i * classes + j].
struct Coupling {
  int64_t classes;
  float *r, *q, *product;  // (classes, classes), the same, (classes)
};

void coupling_shares(const Coupling& c, const float* scores, const float* a, const float* b) {
  int64_t pair = 0;
  for (int64_t i = 0; i < c.classes; ++i) {
    for (int64_t j = i + 1; j < c.classes; ++j, ++pair) {
      const float value = scores[pair] * a[pair] + b[pair],
                  tail = 1.0f / (1.0f + static_cast<float>(real_exp(-static_cast<double>(__builtin_fabsf(value)))));
      float share = value < 0 ? tail : 1.0f - tail;
      share = share < kCouplingFloor ? kCouplingFloor : share > 1.0f - kCouplingFloor ? 1.0f - kCouplingFloor : share;
      c.r[i * c.classes + j] = share;
      c.r[j * c.classes + i] = 1.0f - share;
    }
  }
}

void coupling_matrix(const Coupling& c) {
  const int64_t n = c.classes;
  for (int64_t i = 0; i < n; ++i) {
    float diagonal = 0.0f;
    for (int64_t j = 0; j < n; ++j) {
      if (j == i) continue;
      diagonal += c.r[j * n + i] * c.r[j * n + i];
      c.q[i * n + j] = -c.r[j * n + i] * c.r[i * n + j];
    }
    c.q[i * n + i] = diagonal;
  }
}

/// product = q p; returns p' q p.
float coupling_product(const Coupling& c, const float* p) {
  float whole = 0.0f;
  for (int64_t i = 0; i < c.classes; ++i) {
    c.product[i] = 0.0f;
    for (int64_t j = 0; j < c.classes; ++j) c.product[i] += c.q[i * c.classes + j] * p[j];
    whole += p[i] * c.product[i];
  }
  return whole;
}

/// Wu, Lin and Weng, "Probability estimates for multi-class classification by pairwise coupling" (2004), algorithm 2, with the
/// loose stopping rule of libsvm: other solvers would give other digits.
void coupling_solve(const Coupling& c, float* p) {
  const float enough = 0.005f / static_cast<float>(c.classes);
  for (int64_t i = 0; i < c.classes; ++i) p[i] = 1.0f / static_cast<float>(c.classes);
  for (int step = 0; step < kCouplingSteps; ++step) {
    float whole = coupling_product(c, p), error = 0.0f;
    for (int64_t i = 0; i < c.classes; ++i) {
      const float distance = __builtin_fabsf(c.product[i] - whole);
      if (distance > error) error = distance;
    }
    if (error < enough) return;
    for (int64_t i = 0; i < c.classes; ++i) {
      const float own = c.q[i * c.classes + i], change = (whole - c.product[i]) / own, scale = 1.0f + change;
      p[i] += change;
      whole = (whole + change * (change * own + 2.0f * c.product[i])) / scale / scale;
      for (int64_t j = 0; j < c.classes; ++j) {
        c.product[j] = (c.product[j] + change * c.q[i * c.classes + j]) / scale;
        p[j] /= scale;
      }
    }
  }
}

}  // namespace

/// Inputs: scores (N, P) of the pairs (0, 1), (0, 2), ..., and the slopes and offsets (P) of their logistic curves.
Status pairwise_coupling_infer(Context& context) {
  for (int i = 0; i < 3; ++i) PENLIGHT_TRY(check_dtype(context, i, dtype_bit(DType::kF32)));
  PENLIGHT_TRY(check_rank(context, 0, 2, 2));
  const int64_t classes = context.attributes->integer("classes", 0), pairs = context.input(0).shape.dims[1];
  int64_t twice = 0;
  if (classes < 2 || !checked_mul(classes, classes - 1, &twice) || pairs != twice / 2 || context.input(1).shape.count() != pairs ||
      context.input(2).shape.count() != pairs)
    return context.fail(Status::kInvalidProgram, "the number of pairs does not fit that of classes");
  const int64_t out[] = {context.input(0).shape.dims[0], classes};
  if (!add_scratch(context, 2 * (twice + classes) + classes, sizeof(float))) return scratch_too_large(context);
  // A step takes two products with the matrix, and mostly a few steps are enough.
  context.macs =
      saturating_mul(static_cast<uint64_t>(out[0]), saturating_mul(4 + 2 * kCouplingSteps, static_cast<uint64_t>(twice + classes)));
  return set_output(context, 0, DType::kF32, make_shape(out, 2));
}

Status pairwise_coupling_run(Context& context) {
  const int64_t pairs = context.input(0).shape.dims[1], classes = context.output(0).shape.dims[1];
  auto* scratch = static_cast<float*>(context.scratch);
  const Coupling c = {classes, scratch, scratch + classes * classes, scratch + 2 * classes * classes};
  for (int64_t row = 0; row < context.output(0).shape.dims[0]; ++row) {
    coupling_shares(c, context.input(0).as<float>() + row * pairs, context.input(1).as<float>(), context.input(2).as<float>());
    coupling_matrix(c);
    coupling_solve(c, context.output(0).as<float>() + row * classes);
  }
  return Status::kOk;
}

}  // namespace penlight
