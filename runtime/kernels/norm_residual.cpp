// Normalisations of a sum of two values, in one pass over each row. SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "norm_operand.h"
#include "normalize.h"
#include "vector_math.h"

namespace penlight {

namespace {

constexpr int64_t kSumGrain = 4096;  // elements worth a thread

/// Rows of `width`, normalised from `axis` on.
struct NormOfSumState {
  int64_t rows = 1, width = 1;
  float epsilon = 0;
};

/// Inputs: two values of one shape, the scale and, for layer normalisation, the bias. Outputs: the result, and the sum.
Status norm_of_sum_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, dtype_bit(DType::kF32)));
  const Shape& x = context.input(0).shape;
  int axis = 0;
  PENLIGHT_TRY(normalize_axis(context, context.attributes->integer("axis", -1), x.rank, &axis));
  PENLIGHT_TRY(check_same_dtype(context, 1, 0));
  if (!same_shape(x, context.input(1).shape)) return context.fail(Status::kShapeMismatch, "the two that are added differ in shape");
  NormOfSumState& state = context.state_as<NormOfSumState>();
  state.rows = dims_product(x, 0, axis);
  state.width = dims_product(x, axis, x.rank);
  state.epsilon = static_cast<float>(context.attributes->real("epsilon", 1e-5));
  for (int i = 2; i < 4; ++i) {
    if (!context.input(i).present()) continue;
    PENLIGHT_TRY(check_same_dtype(context, i, 0));
    PENLIGHT_TRY(check_normalised_shape(context, i, x, axis));
  }
  context.macs = saturating_add(norm_work(x.count(), state.rows), static_cast<uint64_t>(x.count()));
  if (context.output_wanted(1)) PENLIGHT_TRY(set_output(context, 1, DType::kF32, x));
  return set_output(context, 0, DType::kF32, x);
}

/// Calls normalize(row of the sum, row of the result) for each row; without a second output the sum stands in the result's place.
template <typename Normalize>
Status norm_of_sum(Context& context, Normalize&& normalize) {
  const NormOfSumState& state = context.state_as<NormOfSumState>();
  if (context.input(0).shape.count() == 0) return Status::kOk;
  const float *x = context.input(0).as<float>(), *residual = context.input(1).as<float>();
  float *y = context.output(0).as<float>(), *sum = context.output_wanted(1) ? context.output(1).as<float>() : y;
  parallel_ranges(context_parallel(context), static_cast<size_t>(state.rows),
                  static_cast<size_t>(kSumGrain / (state.width + 1) + 1), [&](size_t begin, size_t end) {
                    for (auto r = static_cast<int64_t>(begin); r < static_cast<int64_t>(end); ++r) {
                      const int64_t at = r * state.width;
                      binary_f32(Binary::kAdd, x + at, Step::kEach, residual + at, Step::kEach, sum + at,
                                 static_cast<size_t>(state.width));
                      normalize(sum + at, y + at);
                    }
                  });
  return Status::kOk;
}

}  // namespace

Status fused_layer_norm_infer(Context& context) { return norm_of_sum_infer(context); }

Status fused_layer_norm_run(Context& context) {
  const NormOfSumState& state = context.state_as<NormOfSumState>();
  const float *scale = context.input(2).as<float>(), *bias = context.input(3).present() ? context.input(3).as<float>() : nullptr;
  return norm_of_sum(context, [&](const float* sum, float* y) {
    layer_norm_rows_f32(sum, scale, bias, state.epsilon, 1, state.width, y, nullptr, nullptr, Parallel{});
  });
}

Status fused_rms_norm_infer(Context& context) { return norm_of_sum_infer(context); }

Status fused_rms_norm_run(Context& context) {
  const NormOfSumState& state = context.state_as<NormOfSumState>();
  const float* scale = context.input(2).as<float>();
  return norm_of_sum(context, [&](const float* sum, float* y) {
    const float mean_square = square_sum_f32(sum, 0.0f, state.width) / static_cast<float>(state.width);
    scale_shift_f32(sum, 0.0f, 1.0f / sqrtf(mean_square + state.epsilon), scale, nullptr, y, state.width);
  });
}

}  // namespace penlight
