// Operators of one tensor, element by element: activations, exp, log, rounding. SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "real_functions.h"
#include "shape_rules.h"
#include "vector_math.h"

namespace penlight {

namespace {

double at_most_zero(double x) { return x > 0.0 ? 0.0 : x; }
double clamped(double x) { return x < 0.0 ? 0.0 : x > 1.0 ? 1.0 : x; }

/// The same functions in double precision.
double unary_f64(Unary function, double x, double a, double b) {
  switch (function) {
    case Unary::kIdentity:
      return x;
    case Unary::kAbs:
      return fabs(x);
    case Unary::kNeg:
      return -x;
    case Unary::kExp:
      return real_exp(x);
    case Unary::kLog:
      return real_log(x);
    case Unary::kSqrt:
      return sqrt(x);
    case Unary::kReciprocal:
      return 1.0 / x;
    case Unary::kFloor:
      return floor(x);
    case Unary::kCeil:
      return ceil(x);
    case Unary::kRound:
      return nearbyint(x);
    case Unary::kSign:
      return x > 0 ? 1.0 : x < 0 ? -1.0 : x;
    case Unary::kTanh:
      return real_tanh(x);
    case Unary::kSigmoid:
      return 1.0 / (1.0 + real_exp(-x));
    case Unary::kErf:
      return real_erf(x);
    case Unary::kSoftplus:
      return (x < 0 ? 0.0 : x) + real_log1p(real_exp(-fabs(x)));
    case Unary::kRelu:
      return x < 0 ? 0.0 : x;
    case Unary::kLeakyRelu:
      return x < 0 ? x * a : x;
    case Unary::kElu:
      return x < 0 ? a * real_expm1(x) : x;
    case Unary::kSelu:
      return b * (x > 0 ? x : a * real_expm1(x));
    case Unary::kCelu:
      return (x < 0 ? 0.0 : x) + at_most_zero(a * real_expm1(x / a));
    case Unary::kThresholdedRelu:
      return x > a || x != x ? x : 0.0;
    case Unary::kHardSigmoid:
      return clamped(a * x + b);
    case Unary::kHardSwish:
      return x * clamped(x / 6.0 + 0.5);
    case Unary::kMish:
      return x * real_tanh((x < 0 ? 0.0 : x) + real_log1p(real_exp(-fabs(x))));
    case Unary::kSilu:
      return x / (1.0 + real_exp(-a * x));
    case Unary::kGelu:
      return 0.5 * x * (1.0 + real_erf(x * 0.70710678118654752));
    case Unary::kGeluTanh:
      return 0.5 * x * (1.0 + real_tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
    case Unary::kClip:
      return x < a ? a : x > b ? b : x;
    case Unary::kSoftsign:
      return x / (1.0 + fabs(x));
    case Unary::kCount:
      break;
  }
  return x;
}

/// Half-precision tensors go through float in pieces that stay in the first cache.
template <typename T>
void unary_16bit(Unary function, const UnaryParameters& parameters, const T* x, T* y, size_t count) {
  constexpr size_t kPiece = 512;
  float buffer[kPiece];
  for (size_t begin = 0; begin < count; begin += kPiece) {
    const size_t n = count - begin < kPiece ? count - begin : kPiece;
    for (size_t i = 0; i < n; ++i) buffer[i] = x[begin + i];
    unary_f32(function, parameters, buffer, buffer, n, Parallel{});
    for (size_t i = 0; i < n; ++i) y[begin + i] = T(buffer[i]);
  }
}

/// Abs, Neg, Sign and Relu are the functions that integers have.
template <typename T>
T unary_integer(Unary function, T x) {
  const T negative = static_cast<T>(uint64_t{0} - static_cast<uint64_t>(x));  // wraps at the smallest number
  switch (function) {
    case Unary::kAbs:
      return x < T{0} ? negative : x;
    case Unary::kNeg:
      return negative;
    case Unary::kSign:
      return static_cast<T>(x > T{0} ? 1 : x < T{0} ? -1 : 0);
    case Unary::kRelu:
      return x < T{0} ? T{0} : x;
    default:
      return x;
  }
}

template <typename T>
void unary_array_of(Unary function, const UnaryParameters& parameters, const Tensor& x, Tensor& y, size_t n) {
  for (size_t i = 0; i < n; ++i) y.as<T>()[i] = unary_integer(function, x.as<T>()[i]);
  (void)parameters;
}
template <>
[[maybe_unused]] void unary_array_of<double>(Unary function, const UnaryParameters& parameters, const Tensor& x, Tensor& y,
                                             size_t n) {
  const double a = static_cast<double>(parameters.alpha), b = static_cast<double>(parameters.beta);
  for (size_t i = 0; i < n; ++i) y.as<double>()[i] = unary_f64(function, x.as<double>()[i], a, b);
}
template <>
[[maybe_unused]] void unary_array_of<Half>(Unary function, const UnaryParameters& parameters, const Tensor& x, Tensor& y,
                                           size_t n) {
  unary_16bit(function, parameters, x.as<Half>(), y.as<Half>(), n);
}
template <>
[[maybe_unused]] void unary_array_of<BFloat>(Unary function, const UnaryParameters& parameters, const Tensor& x, Tensor& y,
                                             size_t n) {
  unary_16bit(function, parameters, x.as<BFloat>(), y.as<BFloat>(), n);
}

constexpr uint64_t kCurveWork = 8;  // of an exponential, a logarithm and what is made of them

Status unary_shape(Context& context, uint32_t dtypes, uint64_t work = 1) {
  PENLIGHT_TRY(check_dtype(context, 0, dtypes));
  context.macs = saturating_mul(static_cast<uint64_t>(context.input(0).shape.count()), work);
  return set_output(context, 0, context.input(0).dtype, context.input(0).shape);
}

Status unary_parametric(Context& context, double alpha, double beta, uint64_t work = 1) {
  UnaryParameters& parameters = context.state_as<UnaryParameters>();
  parameters.alpha = static_cast<float>(context.attributes->real("alpha", alpha));
  parameters.beta = static_cast<float>(context.attributes->real("beta", beta));
  return unary_shape(context, kFloatTypes, work);
}

Status run_unary(Context& context, Unary function) {
  const Tensor& x = context.input(0);
  Tensor& y = context.output(0);
  const UnaryParameters parameters = context.state_as<UnaryParameters>();
  const size_t count = static_cast<size_t>(x.shape.count());
  if (x.dtype == DType::kF32) {
    unary_f32(function, parameters, x.as<float>(), y.as<float>(), count, context_parallel(context));
    return Status::kOk;
  }
  with_numeric_type(x.dtype, [&](auto tag) { unary_array_of<typename decltype(tag)::Type>(function, parameters, x, y, count); });
  return Status::kOk;
}

}  // namespace

Status unary_float_infer(Context& context) {
  context.state_as<UnaryParameters>() = UnaryParameters{};
  return unary_shape(context, kFloatTypes);
}

Status unary_curve_infer(Context& context) {
  context.state_as<UnaryParameters>() = UnaryParameters{};
  return unary_shape(context, kFloatTypes, kCurveWork);
}

Status unary_signed_infer(Context& context) {
  context.state_as<UnaryParameters>() = UnaryParameters{};
  return unary_shape(context, kFloatTypes | kSignedTypes);
}

Status unary_numeric_infer(Context& context) {
  context.state_as<UnaryParameters>() = UnaryParameters{};
  return unary_shape(context, kNumericTypes);
}

Status leaky_relu_infer(Context& context) { return unary_parametric(context, 0.01, 0.0); }
Status elu_infer(Context& context) { return unary_parametric(context, 1.0, 0.0, kCurveWork); }
Status thresholded_relu_infer(Context& context) { return unary_parametric(context, 1.0, 0.0); }
Status hard_sigmoid_infer(Context& context) { return unary_parametric(context, 0.2, 0.5); }
Status swish_infer(Context& context) { return unary_parametric(context, 1.0, 0.0, kCurveWork); }

Status celu_infer(Context& context) {
  PENLIGHT_TRY(unary_parametric(context, 1.0, 0.0, kCurveWork));
  if (!(context.state_as<UnaryParameters>().alpha != 0.0f)) return context.fail(Status::kInvalidProgram, "alpha must not be 0");
  return Status::kOk;
}

Status selu_infer(Context& context) {
  UnaryParameters& parameters = context.state_as<UnaryParameters>();
  parameters.alpha = static_cast<float>(context.attributes->real("alpha", 1.67326319217681884765625));
  parameters.beta = static_cast<float>(context.attributes->real("gamma", 1.05070102214813232421875));
  return unary_shape(context, kFloatTypes, kCurveWork);
}

Status gelu_infer(Context& context) {
  const char* approximate = context.attributes->text("approximate");
  const bool exact = approximate == nullptr || strcmp(approximate, "none") == 0;
  if (!exact && strcmp(approximate, "tanh") != 0)
    return context.fail(Status::kInvalidProgram, "approximate is '%s', expected 'none' or 'tanh'", approximate);
  context.state_as<UnaryParameters>() = UnaryParameters{exact ? 0.0f : 1.0f, 0.0f};
  return unary_shape(context, kFloatTypes, kCurveWork);
}

Status gelu_run(Context& context) {
  return run_unary(context, context.state_as<UnaryParameters>().alpha == 0.0f ? Unary::kGelu : Unary::kGeluTanh);
}

Status abs_run(Context& context) { return run_unary(context, Unary::kAbs); }
Status neg_run(Context& context) { return run_unary(context, Unary::kNeg); }
Status exp_run(Context& context) { return run_unary(context, Unary::kExp); }
Status log_run(Context& context) { return run_unary(context, Unary::kLog); }
Status sqrt_run(Context& context) { return run_unary(context, Unary::kSqrt); }
Status reciprocal_run(Context& context) { return run_unary(context, Unary::kReciprocal); }
Status floor_run(Context& context) { return run_unary(context, Unary::kFloor); }
Status ceil_run(Context& context) { return run_unary(context, Unary::kCeil); }
Status round_run(Context& context) { return run_unary(context, Unary::kRound); }
Status sign_run(Context& context) { return run_unary(context, Unary::kSign); }
Status tanh_run(Context& context) { return run_unary(context, Unary::kTanh); }
Status sigmoid_run(Context& context) { return run_unary(context, Unary::kSigmoid); }
Status erf_run(Context& context) { return run_unary(context, Unary::kErf); }
Status softplus_run(Context& context) { return run_unary(context, Unary::kSoftplus); }
Status relu_run(Context& context) { return run_unary(context, Unary::kRelu); }
Status leaky_relu_run(Context& context) { return run_unary(context, Unary::kLeakyRelu); }
Status elu_run(Context& context) { return run_unary(context, Unary::kElu); }
Status selu_run(Context& context) { return run_unary(context, Unary::kSelu); }
Status celu_run(Context& context) { return run_unary(context, Unary::kCelu); }
Status thresholded_relu_run(Context& context) { return run_unary(context, Unary::kThresholdedRelu); }
Status hard_sigmoid_run(Context& context) { return run_unary(context, Unary::kHardSigmoid); }
Status hard_swish_run(Context& context) { return run_unary(context, Unary::kHardSwish); }
Status mish_run(Context& context) { return run_unary(context, Unary::kMish); }
Status swish_run(Context& context) { return run_unary(context, Unary::kSilu); }
Status softsign_run(Context& context) { return run_unary(context, Unary::kSoftsign); }

}  // namespace penlight
