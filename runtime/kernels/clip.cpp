// Clip with its limits as inputs. SPDX-License-Identifier: Apache-2.0
#include "shape_rules.h"
#include "vector_math.h"

namespace penlight {

Status clip_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kNumericTypes));
  for (int i = 1; i < context.input_count; ++i) {
    if (!context.input(i).present()) continue;
    PENLIGHT_TRY(check_same_dtype(context, i, 0));
    if (context.input(i).shape.count() != 1) return context.fail(Status::kShapeMismatch, "input %d (a limit) must be a scalar", i);
  }
  context.macs = static_cast<uint64_t>(context.input(0).shape.count());
  return set_output(context, 0, context.input(0).dtype, context.input(0).shape);
}

Status clip_run(Context& context) {
  const Tensor &x = context.input(0), &low = context.input(1), &high = context.input(2);
  Tensor& y = context.output(0);
  const size_t count = static_cast<size_t>(x.shape.count());
  if (x.dtype == DType::kF32) {
    const UnaryParameters limits{low.present() ? *low.as<float>() : -__builtin_inff(),
                                 high.present() ? *high.as<float>() : __builtin_inff()};
    unary_f32(Unary::kClip, limits, x.as<float>(), y.as<float>(), count, context_parallel(context));
    return Status::kOk;
  }
  with_numeric_type(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    for (size_t i = 0; i < count; ++i) {
      T value = x.as<T>()[i];
      if (low.present() && value < *low.as<T>()) value = *low.as<T>();
      if (high.present() && value > *high.as<T>()) value = *high.as<T>();
      y.as<T>()[i] = value;
    }
  });
  return Status::kOk;
}

}  // namespace penlight
