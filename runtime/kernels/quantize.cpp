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

/// Calls body(run) for all elements, on several threads.
template <typename Body>
void quantize_runs(Context& context, const QuantizeState& s, Body&& body) {
  const bool rows = s.inner == 1 && s.block == 1 && s.place_step == 1;  // each element of a row has a scale of its own
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

template <typename T>
float zero_point_of(const Tensor& zero, int64_t place) {
  return zero.present() ? static_cast<float>(zero.as<T>()[zero.shape.count() == 1 ? 0 : place]) : 0.0f;
}

/// Calls each(i, scale, zero point) for the elements of a run; Z is the zero points' type.
template <typename Z, typename Each>
void quantize_run(const QuantizeRun& run, const Tensor& scale, const Tensor& zero, Each&& each) {
  const int64_t end = run.first + run.count;
  if (run.step == 0) {
    const float one = scale_value(scale, run.place), point = zero_point_of<Z>(zero, run.place);
    for (int64_t i = run.first; i < end; ++i) each(i, one, point);
  } else if (scale.dtype == DType::kF32) {
    const float* scales = scale.as<float>() + run.place - run.first;
    const Z* points = zero.present() ? zero.as<Z>() + run.place - run.first : nullptr;
    if (points == nullptr)
      for (int64_t i = run.first; i < end; ++i) each(i, scales[i], 0.0f);
    else
      for (int64_t i = run.first; i < end; ++i) each(i, scales[i], static_cast<float>(points[i]));
  } else {
    for (int64_t i = run.first; i < end; ++i) {
      const int64_t place = run.place + i - run.first;
      each(i, scale_value(scale, place), zero_point_of<Z>(zero, place));
    }
  }
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

Status quantize_linear_run(Context& context) {
  const QuantizeState& s = context.state_as<QuantizeState>();
  const Tensor &x = context.input(0), &scale = context.input(1), &zero = context.input(2);
  Tensor& y = context.output(0);
  with_quantized_type(y.dtype, [&](auto to) {
    using Q = typename decltype(to)::Type;
    QuantizeTypes::call(x.dtype, [&](auto from) {
      using T = typename decltype(from)::Type;
      const T* values = x.as<T>();
      Q* results = y.as<Q>();
      quantize_runs(context, s, [&](const QuantizeRun& run) {
        if constexpr (sizeof(T) == sizeof(float) && Element<T>::kIsFloat && sizeof(Q) == 1 && !PENLIGHT_SMALL) {
          const Q point = zero.present() ? zero.as<Q>()[zero.shape.count() == 1 ? 0 : run.place] : Q(0);
          if (run.step == 0)
            return quantize_table().quantize(values + run.first, run.count, scale_value(scale, run.place), byte_range(point),
                                             reinterpret_cast<uint8_t*>(results + run.first));
        }
        quantize_run<Q>(run, scale, zero, [values, results](int64_t i, float own, float point) {
          const float value = static_cast<float>(static_cast<typename Element<T>::Compute>(values[i]));
          results[i] = quantized<Q>(value / own, point);
        });
      });
    });
  });
  return Status::kOk;
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
  const QuantizeState& s = context.state_as<QuantizeState>();
  const Tensor &x = context.input(0), &scale = context.input(1), &zero = context.input(2);
  Tensor& y = context.output(0);
  DequantizeTypes::call(x.dtype, [&](auto from) {
    using Q = typename decltype(from)::Type;
    const Q* numbers = x.as<Q>();
    float* results = y.dtype == DType::kF32 ? y.as<float>() : nullptr;
    quantize_runs(context, s, [&](const QuantizeRun& run) {
      if (results != nullptr)
        quantize_run<Q>(run, scale, zero, [numbers, results](int64_t i, float own, float point) {
          results[i] = (static_cast<float>(numbers[i]) - point) * own;
        });
      else
        quantize_run<Q>(run, scale, zero, [&](int64_t i, float own, float point) {
          store_scale(y, i, (static_cast<float>(numbers[i]) - point) * own);
        });
    });
  });
  return Status::kOk;
}

}  // namespace penlight
