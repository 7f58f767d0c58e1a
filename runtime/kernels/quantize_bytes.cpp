// Floats to 8 bits: sums of quantized tensors, and quantization by the range of what comes. SPDX-License-Identifier: Apache-2.0
#include "quantize_bytes.h"

// clang-format off
#include "simd/baseline.h"
#include "simd/baseline_begin.h"
#include "simd/quantize.h"
#include "simd/baseline_end.h"
#if PENLIGHT_X86
#include "simd/avx2.h"
#include "simd/avx2_begin.h"
#include "simd/quantize.h"
#include "simd/avx2_end.h"
#endif
// clang-format on

namespace penlight {

namespace {

constexpr const QuantizeTable* kQuantizeTables[] = {
    &baseline::kQuantizeTable,
#if PENLIGHT_X86
    &avx2::kQuantizeTable,
#endif
};

constexpr uint32_t kByteDTypes = dtype_bit(DType::kI8) | dtype_bit(DType::kU8);
constexpr size_t kQuantizeGrain = 16384;

/// The scale and the zero point of a quantized input, each one number.
Status check_quantization(Context& context, int scale) {
  PENLIGHT_TRY(check_dtype(context, scale, dtype_bit(DType::kF32)));
  PENLIGHT_TRY(check_same_dtype(context, scale + 1, 0));
  if (context.input(scale).shape.count() == 1 && context.input(scale + 1).shape.count() == 1) return Status::kOk;
  return context.fail(Status::kUnsupportedOperator, "inputs %d and %d must be one number", scale, scale + 1);
}

QuantizedTerm quantized_term(const Context& context, int i) {
  QuantizedTerm term;
  const Tensor& bytes = context.input(i);
  term.bytes = bytes.as<uint8_t>();
  term.flip = bytes.dtype == DType::kI8 ? 0x80 : 0;
  term.scale = context.input(i + 1).as<float>()[0];
  term.point = static_cast<float>(context.input(i + 2).as<uint8_t>()[0] ^ term.flip);
  return term;
}

}  // namespace

const QuantizeTable& quantize_table() { return *table_for_isa(kQuantizeTables); }

/// a, its scale, its zero point; the same of b; scale and zero point of the result.
Status quantized_add_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kByteDTypes));
  PENLIGHT_TRY(check_same_dtype(context, 3, 0));
  const int scales[] = {1, 4, 6};
  for (int i : scales) PENLIGHT_TRY(check_quantization(context, i));
  if (!same_shape(context.input(0).shape, context.input(3).shape))
    return context.fail(Status::kShapeMismatch, "the tensors must have one shape");
  context.macs = static_cast<uint64_t>(context.input(0).shape.count());
  return set_output(context, 0, context.input(0).dtype, context.input(0).shape);
}

Status quantized_add_run(Context& context) {
  const QuantizedTerm a = quantized_term(context, 0), b = quantized_term(context, 3);
  const Tensor& y = context.output(0);
  const ByteRange range =
      y.dtype == DType::kI8 ? byte_range(context.input(7).as<int8_t>()[0]) : byte_range(context.input(7).as<uint8_t>()[0]);
  const float scale = context.input(6).as<float>()[0];
  const auto count = static_cast<size_t>(y.shape.count());
  parallel_ranges(context_parallel(context), count, kQuantizeGrain, [&](size_t begin, size_t end) {
    QuantizedTerm left = a, right = b;
    left.bytes += begin;
    right.bytes += begin;
    quantize_table().add(left, right, static_cast<int64_t>(end - begin), scale, range, y.as<uint8_t>() + begin);
  });
  return Status::kOk;
}

/// Bytes, their scale and their zero point, for the range of x with 0.
Status dynamic_quantize_linear_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, dtype_bit(DType::kF32)));
  context.macs = static_cast<uint64_t>(context.input(0).shape.count());
  PENLIGHT_TRY(set_output(context, 0, DType::kU8, context.input(0).shape));
  PENLIGHT_TRY(set_output(context, 1, DType::kF32, Shape{}));
  return set_output(context, 2, DType::kU8, Shape{});
}

Status dynamic_quantize_linear_run(Context& context) {
  const Tensor& x = context.input(0);
  const auto count = static_cast<size_t>(x.shape.count());
  float low = 0, high = 0;
  quantize_table().range(x.as<float>(), static_cast<int64_t>(count), &low, &high);
  const float scale = (high - low) / 255.0f;
  const uint8_t zero = quantized<uint8_t>(-low / scale, 0);
  context.output(1).as<float>()[0] = scale;
  context.output(2).as<uint8_t>()[0] = zero;
  uint8_t* y = context.output(0).as<uint8_t>();
  parallel_ranges(context_parallel(context), count, kQuantizeGrain, [&](size_t begin, size_t end) {
    quantize_table().quantize(x.as<float>() + begin, static_cast<int64_t>(end - begin), scale, byte_range(zero), y + begin);
  });
  return Status::kOk;
}

}  // namespace penlight
