// QuantizeLinear and DequantizeLinear: one scale for a tensor, for each index of an axis, or for blocks along it.
// SPDX-License-Identifier: Apache-2.0
#include "quantize_bytes.h"

namespace penlight {

namespace {

using ScaleTypes = TypeList<float, Half, BFloat>;
using QuantizeTypes = ScaleTypes::And<int32_t>;
using DequantizeTypes = TypeList<int8_t, uint8_t, int16_t, uint16_t, int32_t>;

constexpr uint32_t kScaleTypes = ScaleTypes::kBits;

/// Element (outer, place, inner) has scale (outer, place / block, inner) * the strides.
struct QuantizeState {
  int64_t size = 1, inner = 1, block = 1;
  int64_t outer_step = 0, place_step = 0, inner_step = 0;
};

Status quantize_shapes(Context& context, QuantizeState* s) {
  const Shape &x = context.input(0).shape, &scale = context.input(1).shape;
  const Tensor& zero = context.input(2);
  if (zero.present() && !(same_shape(zero.shape, scale) || (zero.shape.count() == 1 && scale.count() == 1)))
    return context.fail(Status::kShapeMismatch, "the zero point must have the shape of the scale");
  *s = QuantizeState{};
  s->inner = x.count();
  const int64_t block = context.attributes->integer("block_size", 0);
  if (scale.rank == 0 || (scale.rank == 1 && scale.dims[0] == 1 && block == 0)) return Status::kOk;
  int axis = 0;
  PENLIGHT_TRY(normalize_axis(context, context.attributes->integer("axis", 1), x.rank, &axis));
  s->size = x.dims[axis];
  s->inner = dims_product(x, axis + 1, x.rank);
  s->place_step = 1;
  if (block == 0) {
    if (scale.rank == 1 && scale.dims[0] == s->size) return Status::kOk;
    return context.fail(Status::kShapeMismatch, "the scale must be one number or have shape (%lld,)",
                        static_cast<long long>(s->size));
  }
  if (block < 0 || scale.rank != x.rank) return context.fail(Status::kShapeMismatch, "blocks need a scale of the input's rank");
  for (int d = 0; d < x.rank; ++d) {
    const int64_t expected = d == axis ? (x.dims[d] > 0 ? (x.dims[d] - 1) / block + 1 : 0) : x.dims[d];
    if (scale.dims[d] != expected)
      return context.fail(Status::kShapeMismatch, "the scale has size %lld along dimension %d, expected %lld",
                          static_cast<long long>(scale.dims[d]), d, static_cast<long long>(expected));
  }
  s->block = block;
  s->place_step = s->inner;
  s->inner_step = 1;
  s->outer_step = scale.dims[axis] * s->inner;
  return Status::kOk;
}

[[maybe_unused]] int64_t scale_place(const QuantizeState& s, int64_t i) {
  const int64_t inside = i % s.inner, line = i / s.inner;
  return line / s.size * s.outer_step + line % s.size / s.block * s.place_step + inside * s.inner_step;
}

/// Elements [first, first + count), whose scales lie `step` apart from place `place` on; step is 0 or 1.
struct QuantizeRun {
  int64_t first, count, place, step;
};

/// Whether each element of a row has a scale of its own.
bool has_row_scales(const QuantizeState& s) { return s.inner == 1 && s.block == 1 && s.place_step == 1; }

/// Calls body(run) for all elements, on several threads.
template <typename Body>
void quantize_runs(Context& context, const QuantizeState& s, Body&& body) {
  const bool rows = has_row_scales(s);
  const int64_t length = rows ? s.size : s.inner, step = rows ? 1 : s.inner_step;
  parallel_ranges(context_parallel(context), static_cast<size_t>(context.input(0).shape.count()), 4096,
                  [&](size_t begin, size_t end) {
                    const int64_t last = static_cast<int64_t>(end);
                    for (int64_t i = static_cast<int64_t>(begin); i < last;) {
                      const int64_t rest = length - i % length, count = rest < last - i ? rest : last - i;
                      body(QuantizeRun{i, count, scale_place(s, i), step});
                      i += count;
                    }
                  });
}

constexpr int64_t kQuantizePiece = 64;  // elements that wait on the stack as floats

template <typename T>
void widen(const void* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(static_cast<typename Element<T>::Compute>(static_cast<const T*>(x)[i]));
}

using WidenedTypes = TypeList<Half, BFloat, int8_t, uint8_t, int16_t, uint16_t, int32_t>;

/// Elements [first, first + n) as floats: where they lie when they are floats, otherwise in `buffer`.
const float* widened(const Tensor& x, int64_t first, int64_t n, float* buffer) {
  if (x.dtype == DType::kF32) return x.as<float>() + first;
  WidenedTypes::call(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    widen<T>(x.as<T>() + first, n, buffer);
  });
  return buffer;
}

/// Scales and zero points of the elements of a run, a piece at a time.
class QuantizeNumbers {
 public:
  QuantizeNumbers(const QuantizeRun& run, const Tensor& scale, const Tensor& zero) : run_(run), scale_(scale), zero_(zero) {
    const int64_t n = run.count < kQuantizePiece ? run.count : kQuantizePiece;
    if (run.step == 0) fill(scales_, n, scale_value(scale, run.place));
    if (!zero.present())
      fill(points_, n, 0.0f);
    else if (zero.shape.count() == 1 || run.step == 0)
      fill(points_, n, *widened(zero, zero.shape.count() == 1 ? 0 : run.place, 1, points_));
  }

  /// Those of elements [at, at + n) of the run.
  void read(int64_t at, int64_t n) {
    if (run_.step == 0) return;
    scales = widened(scale_, run_.place + at, n, scales_);
    if (zero_.present() && zero_.shape.count() != 1) points = widened(zero_, run_.place + at, n, points_);
  }

  const float* scales = scales_;
  const float* points = points_;

 private:
  static void fill(float* numbers, int64_t n, float value) {
    for (int64_t i = 0; i < n; ++i) numbers[i] = value;
  }

  const QuantizeRun& run_;
  const Tensor &scale_, &zero_;
  float scales_[kQuantizePiece], points_[kQuantizePiece];
};

/// Calls body(first, n, numbers) for the pieces of all elements, on several threads.
template <typename Body>
Status quantize_pieces(Context& context, Body&& body) {
  quantize_runs(context, context.state_as<QuantizeState>(), [&](const QuantizeRun& run) {
    QuantizeNumbers numbers(run, context.input(1), context.input(2));
    for (int64_t at = 0; at < run.count; at += kQuantizePiece) {
      const int64_t n = run.count - at < kQuantizePiece ? run.count - at : kQuantizePiece;
      numbers.read(at, n);
      body(run.first + at, n, numbers);
    }
  });
  return Status::kOk;
}

/// The dtype that ONNX numbers `number`; kNone for those that are no choice here.
DType quantize_choice(int64_t number) {
  switch (number) {
    case 1:
      return DType::kF32;
    case 2:
      return DType::kU8;
    case 3:
      return DType::kI8;
    case 4:
      return DType::kU16;
    case 5:
      return DType::kI16;
    case 10:
      return DType::kF16;
    case 16:
      return DType::kBF16;
    default:
      return DType::kNone;
  }
}

}  // namespace

Status quantize_linear_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, QuantizeTypes::kBits));
  PENLIGHT_TRY(check_dtype(context, 1, kScaleTypes));
  const Tensor& zero = context.input(2);
  if (zero.present()) PENLIGHT_TRY(check_dtype(context, 2, kQuantizedTypes));
  const DType asked = quantize_choice(context.attributes->integer("output_dtype", 0));
  const DType dtype = zero.present() ? zero.dtype : context.attributes->integer("output_dtype", 0) == 0 ? DType::kU8 : asked;
  if ((dtype_bit(dtype) & kQuantizedTypes) == 0)
    return context.fail(Status::kUnsupportedOperator, "output_dtype must be int8, uint8, int16 or uint16");
  PENLIGHT_TRY(quantize_shapes(context, &context.state_as<QuantizeState>()));
  context.macs = static_cast<uint64_t>(context.input(0).shape.count());
  return set_output(context, 0, dtype, context.input(0).shape);
}

namespace {

/// Floats to 8 bits with one scale for each run.
[[maybe_unused]] Status quantize_byte_runs(Context& context) {
  const Tensor &x = context.input(0), &scale = context.input(1), &zero = context.input(2), &y = context.output(0);
  quantize_runs(context, context.state_as<QuantizeState>(), [&](const QuantizeRun& run) {
    const int64_t place = zero.present() && zero.shape.count() == 1 ? 0 : run.place;
    const ByteRange range = y.dtype == DType::kI8 ? byte_range(zero.present() ? zero.as<int8_t>()[place] : int8_t{0})
                                                  : byte_range(zero.present() ? zero.as<uint8_t>()[place] : uint8_t{0});
    quantize_table().quantize(x.as<float>() + run.first, run.count, scale_value(scale, run.place), range,
                              y.as<uint8_t>() + run.first);
  });
  return Status::kOk;
}

}  // namespace

Status quantize_linear_run(Context& context) {
  const Tensor &x = context.input(0), &y = context.output(0);
#if !PENLIGHT_SMALL
  const QuantizeState& s = context.state_as<QuantizeState>();
  if (x.dtype == DType::kF32 && dtype_size(y.dtype) == 1 && !has_row_scales(s) && s.inner_step == 0)
    return quantize_byte_runs(context);
#endif
  float low = 0, high = 0;
  with_quantized_type(y.dtype, [&](auto tag) {
    low = QuantizedRange<typename decltype(tag)::Type>::kLow;
    high = QuantizedRange<typename decltype(tag)::Type>::kHigh;
  });
  return quantize_pieces(context, [&](int64_t first, int64_t n, const QuantizeNumbers& numbers) {
    float buffer[kQuantizePiece];
    const float* values = widened(x, first, n, buffer);
    int32_t results[kQuantizePiece];
    for (int64_t i = 0; i < n; ++i) results[i] = quantized_within(values[i] / numbers.scales[i], numbers.points[i], low, high);
    if (dtype_size(y.dtype) == 1)
      for (int64_t i = 0; i < n; ++i) y.as<uint8_t>()[first + i] = static_cast<uint8_t>(results[i]);
    else
      for (int64_t i = 0; i < n; ++i) y.as<uint16_t>()[first + i] = static_cast<uint16_t>(results[i]);
  });
}

Status dequantize_linear_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, DequantizeTypes::kBits));
  PENLIGHT_TRY(check_dtype(context, 1, kScaleTypes));
  if (context.input(2).present()) PENLIGHT_TRY(check_same_dtype(context, 2, 0));
  const int64_t asked = context.attributes->integer("output_dtype", 0);
  const DType dtype = asked == 0 ? context.input(1).dtype : quantize_choice(asked);
  if ((dtype_bit(dtype) & kScaleTypes) == 0)
    return context.fail(Status::kUnsupportedOperator, "output_dtype must be float32, float16 or bfloat16");
  PENLIGHT_TRY(quantize_shapes(context, &context.state_as<QuantizeState>()));
  context.macs = static_cast<uint64_t>(context.input(0).shape.count());
  return set_output(context, 0, dtype, context.input(0).shape);
}

Status dequantize_linear_run(Context& context) {
  const Tensor& x = context.input(0);
  Tensor& y = context.output(0);
  return quantize_pieces(context, [&](int64_t first, int64_t n, const QuantizeNumbers& numbers) {
    float buffer[kQuantizePiece];
    float* results = y.dtype == DType::kF32 ? y.as<float>() + first : buffer;
    widened(x, first, n, results);
    for (int64_t i = 0; i < n; ++i) results[i] = (results[i] - numbers.points[i]) * numbers.scales[i];
    for (int64_t i = 0; results == buffer && i < n; ++i) store_scale(y, first + i, buffer[i]);
  });
}

}  // namespace penlight
