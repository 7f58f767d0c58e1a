// Circular and hyperbolic functions. SPDX-License-Identifier: Apache-2.0
#include "rare_elements.h"
#include "real_angles.h"
#include "real_functions.h"
#include "shape_rules.h"

namespace penlight {

namespace {

using RealFunction = double (*)(double);

Status run_real(Context& context, RealFunction function) {
  const Tensor& x = context.input(0);
  Tensor& y = context.output(0);
  const RealElements reals = real_elements(x.dtype);
  parallel_ranges(context_parallel(context), static_cast<size_t>(x.shape.count()), 1024, [&](size_t begin, size_t end) {
    for (int64_t i = static_cast<int64_t>(begin); i < static_cast<int64_t>(end); ++i)
      reals.write(y.data, i, function(reals.read(x.data, i)));
  });
  return Status::kOk;
}

}  // namespace

Status real_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  context.macs = saturating_mul(static_cast<uint64_t>(context.input(0).shape.count()), 16);  // as a power
  return set_output(context, 0, context.input(0).dtype, context.input(0).shape);
}

Status sin_run(Context& context) { return run_real(context, real_sin); }
Status cos_run(Context& context) { return run_real(context, real_cos); }
Status tan_run(Context& context) { return run_real(context, real_tan); }
Status asin_run(Context& context) { return run_real(context, real_asin); }
Status acos_run(Context& context) { return run_real(context, real_acos); }
Status atan_run(Context& context) { return run_real(context, real_atan); }
Status sinh_run(Context& context) { return run_real(context, real_sinh); }
Status cosh_run(Context& context) { return run_real(context, real_cosh); }
Status asinh_run(Context& context) { return run_real(context, real_asinh); }
Status acosh_run(Context& context) { return run_real(context, real_acosh); }
Status atanh_run(Context& context) { return run_real(context, real_atanh); }

}  // namespace penlight
