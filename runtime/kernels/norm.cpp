// Normalisation operators: batch, layer, instance, group and root mean square. SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "norm_operand.h"
#include "normalize.h"

namespace penlight {

namespace {

constexpr uint32_t kNormTypes = dtype_bit(DType::kF32);

Status check_norm_vector(Context& context, int i, int64_t size, const char* what) {
  PENLIGHT_TRY(check_same_dtype(context, i, 0));
  const Shape& shape = context.input(i).shape;
  if (shape.rank == 1 && shape.dims[0] == size) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "%s (input %d) must have shape (%lld,)", what, i, static_cast<long long>(size));
}

float norm_epsilon(Context& context) { return static_cast<float>(context.attributes->real("epsilon", 1e-5)); }

/// The state of the row norms: rows of `width`, normalised from `axis` on.
struct RowNormState {
  int64_t rows = 1, width = 1;
  float epsilon = 0;
};

Status row_norm_infer(Context& context, int operands) {
  PENLIGHT_TRY(check_dtype(context, 0, kNormTypes));
  const Shape& x = context.input(0).shape;
  int axis = 0;
  PENLIGHT_TRY(normalize_axis(context, context.attributes->integer("axis", -1), x.rank, &axis));
  RowNormState& state = context.state_as<RowNormState>();
  state.rows = dims_product(x, 0, axis);
  state.width = dims_product(x, axis, x.rank);
  state.epsilon = norm_epsilon(context);
  for (int i = 1; i <= operands; ++i) {
    if (!context.input(i).present()) continue;
    PENLIGHT_TRY(check_same_dtype(context, i, 0));
    PENLIGHT_TRY(check_normalised_shape(context, i, x, axis));
  }
  Shape statistics = x;
  for (int d = axis; d < x.rank; ++d) statistics.dims[d] = 1;
  for (int i = 1; i < context.output_count; ++i)
    if (context.output_wanted(i)) PENLIGHT_TRY(set_output(context, i, DType::kF32, statistics));
  context.macs = norm_work(x.count(), dims_product(x, 0, axis));
  return set_output(context, 0, DType::kF32, x);
}

const float* optional_floats(const Tensor& tensor) { return tensor.present() ? tensor.as<float>() : nullptr; }

/// Normalises `count` parts of `size` floats each; the channels of part p begin at (p * channels) % all and are `plane` long.
struct PartNorm {
  int64_t parts, size, channels, all, plane;
  float epsilon;
  bool scale_by_part;  // scale and bias have an entry for each part of an image, not for each channel
};

void normalize_parts(Context& context, const PartNorm& n) {
  const float *x = context.input(0).as<float>(), *scale = context.input(1).as<float>(), *bias = context.input(2).as<float>();
  float* y = context.output(0).as<float>();
  parallel_ranges(context_parallel(context), static_cast<size_t>(n.parts), 1, [&](size_t begin, size_t end) {
    for (int64_t p = static_cast<int64_t>(begin); p < static_cast<int64_t>(end); ++p) {
      float mean = 0.0f, variance = 0.0f;
      moments_f32(x + p * n.size, n.size, &mean, &variance);
      const float inverse = 1.0f / sqrtf(variance + n.epsilon);
      for (int64_t c = 0; c < n.channels; ++c) {
        const int64_t channel = (p * n.channels + c) % n.all, at = p * n.size + c * n.plane;
        const int64_t entry = n.scale_by_part ? channel / n.channels : channel;
        affine_f32(x + at, mean, inverse * scale[entry], bias[entry], y + at, n.plane);
      }
    }
  });
}

}  // namespace

Status batch_norm_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kNormTypes));
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  const Shape& x = context.input(0).shape;
  if (context.attributes->integer("training_mode", 0) != 0)
    return context.fail(Status::kUnsupportedOperator, "training mode is on; export the model for inference");
  const char* kNames[] = {"x", "scale", "bias", "mean", "variance"};
  for (int i = 1; i < 5; ++i) PENLIGHT_TRY(check_norm_vector(context, i, x.rank > 1 ? x.dims[1] : 1, kNames[i]));
  for (int i = 1; i < context.output_count; ++i)
    if (context.output_wanted(i)) return context.fail(Status::kUnsupportedOperator, "only the first output is computed");
  context.macs = saturating_add(static_cast<uint64_t>(x.count()),
                                saturating_mul(8, static_cast<uint64_t>(dims_product(x, 0, x.rank > 1 ? 2 : 1))));
  return set_output(context, 0, DType::kF32, x);
}

Status batch_norm_run(Context& context) {
  const Tensor& x = context.input(0);
  const float *scale = context.input(1).as<float>(), *bias = context.input(2).as<float>();
  const float *mean = context.input(3).as<float>(), *variance = context.input(4).as<float>();
  const float epsilon = norm_epsilon(context);
  const int64_t channels = x.shape.rank > 1 ? x.shape.dims[1] : 1;
  const int64_t planes = x.shape.rank > 1 ? x.shape.dims[0] * channels : 1;
  const int64_t size = x.shape.rank > 1 ? dims_product(x.shape, 2, x.shape.rank) : x.shape.dims[0];
  parallel_ranges(context_parallel(context), static_cast<size_t>(planes), static_cast<size_t>(8192 / (size + 1) + 1),
                  [&](size_t begin, size_t end) {
                    for (int64_t p = static_cast<int64_t>(begin); p < static_cast<int64_t>(end); ++p) {
                      const int64_t c = p % channels;
                      const float factor = scale[c] / sqrtf(variance[c] + epsilon);
                      affine_f32(x.as<float>() + p * size, mean[c], factor, bias[c], context.output(0).as<float>() + p * size,
                                 size);
                    }
                  });
  return Status::kOk;
}

Status layer_norm_infer(Context& context) { return row_norm_infer(context, 2); }

Status layer_norm_run(Context& context) {
  const RowNormState& state = context.state_as<RowNormState>();
  if (context.input(0).shape.count() == 0) return Status::kOk;
  layer_norm_rows_f32(context.input(0).as<float>(), context.input(1).as<float>(), optional_floats(context.input(2)), state.epsilon,
                      state.rows, state.width, context.output(0).as<float>(),
                      context.output_wanted(1) ? context.output(1).as<float>() : nullptr,
                      context.output_wanted(2) ? context.output(2).as<float>() : nullptr, context_parallel(context));
  return Status::kOk;
}

Status rms_norm_infer(Context& context) { return row_norm_infer(context, 1); }

Status rms_norm_run(Context& context) {
  const RowNormState& state = context.state_as<RowNormState>();
  const float *x = context.input(0).as<float>(), *scale = context.input(1).as<float>();
  float* y = context.output(0).as<float>();
  parallel_ranges(context_parallel(context), static_cast<size_t>(state.rows), static_cast<size_t>(4096 / (state.width + 1) + 1),
                  [&](size_t begin, size_t end) {
                    for (int64_t r = static_cast<int64_t>(begin); r < static_cast<int64_t>(end); ++r) {
                      const float* row = x + r * state.width;
                      const float mean_square = square_sum_f32(row, 0.0f, state.width) / static_cast<float>(state.width);
                      const float inverse = 1.0f / sqrtf(mean_square + state.epsilon);
                      scale_shift_f32(row, 0.0f, inverse, scale, nullptr, y + r * state.width, state.width);
                    }
                  });
  return Status::kOk;
}

Status instance_norm_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kNormTypes));
  PENLIGHT_TRY(check_rank(context, 0, 2, kMaxRank));
  const Shape& x = context.input(0).shape;
  PENLIGHT_TRY(check_norm_vector(context, 1, x.dims[1], "scale"));
  PENLIGHT_TRY(check_norm_vector(context, 2, x.dims[1], "bias"));
  context.macs = norm_work(x.count(), dims_product(x, 0, 2));
  return set_output(context, 0, DType::kF32, x);
}

Status instance_norm_run(Context& context) {
  const Shape& x = context.input(0).shape;
  if (x.count() == 0) return Status::kOk;
  const int64_t plane = dims_product(x, 2, x.rank);
  normalize_parts(context, PartNorm{x.dims[0] * x.dims[1], plane, 1, x.dims[1], plane, norm_epsilon(context), false});
  return Status::kOk;
}

/// Before opset 21 scale and bias have one entry for each group.
Status group_norm_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kNormTypes));
  PENLIGHT_TRY(check_rank(context, 0, 2, kMaxRank));
  const Shape& x = context.input(0).shape;
  const int64_t groups = context.attributes->integer("num_groups", 0);
  if (groups < 1 || x.dims[1] % groups != 0)
    return context.fail(Status::kShapeMismatch, "num_groups %lld does not divide %lld channels", static_cast<long long>(groups),
                        static_cast<long long>(x.dims[1]));
  const int64_t entries = context.version < 21 ? groups : x.dims[1];
  PENLIGHT_TRY(check_norm_vector(context, 1, entries, "scale"));
  PENLIGHT_TRY(check_norm_vector(context, 2, entries, "bias"));
  context.macs = norm_work(x.count(), dims_product(x, 0, 2));
  return set_output(context, 0, DType::kF32, x);
}

Status group_norm_run(Context& context) {
  const Shape& x = context.input(0).shape;
  if (x.count() == 0) return Status::kOk;
  const int64_t groups = context.attributes->integer("num_groups", 1), channels = x.dims[1] / groups;
  const int64_t plane = dims_product(x, 2, x.rank);
  normalize_parts(context, PartNorm{x.dims[0] * groups, channels * plane, channels, x.dims[1], plane, norm_epsilon(context),
                                    context.version < 21});
  return Status::kOk;
}

}  // namespace penlight
