// Products of 8-bit matrices: MatMulInteger and QLinearMatMul, exact in 32 bits. SPDX-License-Identifier: Apache-2.0
#include "broadcast.h"
#include "quantize.h"

namespace penlight {

namespace {

constexpr uint32_t kByteTypes = dtype_bit(DType::kI8) | dtype_bit(DType::kU8);
constexpr int64_t kIntegerColumns = 64;  // results computed side by side

/// Where the operands of an integer product are among the inputs; -1: there is none.
struct IntegerOperands {
  int a, a_zero, b, b_zero;
};

struct IntegerMatMulState {
  int64_t m = 1, n = 1, k = 1;
  Broadcast batch;
};

constexpr IntegerOperands kMatMulIntegerOperands = {0, 2, 1, 3};
constexpr IntegerOperands kQLinearOperands = {0, 2, 3, 5};

/// One number, or one for each of `size` rows or columns (at the place of a matrix's rows or columns).
Status check_line_parameter(Context& context, int i, int64_t size) {
  const Tensor& tensor = context.input(i);
  if (!tensor.present()) return Status::kOk;
  const int64_t count = tensor.shape.count();
  if (count == 1 || (count == size && tensor.shape.rank <= 2)) return Status::kOk;
  return context.fail(Status::kUnsupportedOperator, "input %d must be one number or have %lld", i, static_cast<long long>(size));
}

Status integer_product_infer(Context& context, const IntegerOperands& use, DType dtype) {
  PENLIGHT_TRY(check_dtype(context, use.a, kByteTypes));
  PENLIGHT_TRY(check_dtype(context, use.b, kByteTypes));
  PENLIGHT_TRY(check_rank(context, use.a, 2, kMaxRank));
  PENLIGHT_TRY(check_rank(context, use.b, 2, kMaxRank));
  if (context.input(use.a_zero).present()) PENLIGHT_TRY(check_same_dtype(context, use.a_zero, use.a));
  if (context.input(use.b_zero).present()) PENLIGHT_TRY(check_same_dtype(context, use.b_zero, use.b));
  const Shape &a = context.input(use.a).shape, &b = context.input(use.b).shape;
  IntegerMatMulState& s = context.state_as<IntegerMatMulState>();
  s = IntegerMatMulState{};
  s.m = a.dims[a.rank - 2];
  s.k = a.dims[a.rank - 1];
  s.n = b.dims[b.rank - 1];
  if (b.dims[b.rank - 2] != s.k) return context.fail(Status::kShapeMismatch, "inner sizes differ");
  const Shape left = make_shape(a.dims, a.rank - 2), right = make_shape(b.dims, b.rank - 2);
  Shape out;
  PENLIGHT_TRY(broadcast_shapes(context, left, right, &out));
  const Shape* batches[] = {&left, &right};
  s.batch = plan_broadcast(out, batches, 2);
  out.dims[out.rank++] = s.m;
  out.dims[out.rank++] = s.n;
  PENLIGHT_TRY(check_line_parameter(context, use.a_zero, s.m));
  PENLIGHT_TRY(check_line_parameter(context, use.b_zero, s.n));
  PENLIGHT_TRY(set_output(context, 0, dtype, out));
  int64_t count = 0;
  context.macs = checked_count(out, &count) ? saturating_mul(static_cast<uint64_t>(count), static_cast<uint64_t>(s.k)) : UINT64_MAX;
  return Status::kOk;
}

template <typename T>
int32_t line_zero(const Tensor& zero, int64_t line) {
  return zero.present() ? static_cast<int32_t>(zero.as<T>()[zero.shape.count() == 1 ? 0 : line]) : 0;
}

/// Calls store(row, column, sum) for one matrix; sums wrap as int32 does.
template <typename A, typename B, typename Store>
void integer_product(const IntegerMatMulState& s, const A* a, const B* b, const Tensor& a_zero, const Tensor& b_zero,
                     Store&& store) {
  for (int64_t i = 0; i < s.m; ++i) {
    const int32_t a_offset = line_zero<A>(a_zero, i);
    for (int64_t first = 0; first < s.n; first += kIntegerColumns) {
      const int64_t width = s.n - first < kIntegerColumns ? s.n - first : kIntegerColumns;
      uint32_t sums[kIntegerColumns] = {};
      int32_t b_offsets[kIntegerColumns];
      for (int64_t j = 0; j < width; ++j) b_offsets[j] = line_zero<B>(b_zero, first + j);
      for (int64_t k = 0; k < s.k; ++k) {
        const int32_t left = static_cast<int32_t>(a[i * s.k + k]) - a_offset;
        const B* row = b + k * s.n + first;
        for (int64_t j = 0; j < width; ++j) sums[j] += static_cast<uint32_t>(left * (static_cast<int32_t>(row[j]) - b_offsets[j]));
      }
      for (int64_t j = 0; j < width; ++j) store(i, first + j, static_cast<int32_t>(sums[j]));
    }
  }
}

template <typename Function>
void with_byte_type(DType dtype, Function&& function) {
  TypeList<int8_t, uint8_t>::call(dtype, function);
}

/// Calls store(flat output position, row, column, sum) for the whole product.
template <typename Store>
void integer_products(Context& context, const IntegerOperands& use, Store&& store) {
  const IntegerMatMulState& s = context.state_as<IntegerMatMulState>();
  const Tensor &a = context.input(use.a), &b = context.input(use.b);
  if (context.output(0).shape.count() == 0) return;
  with_byte_type(a.dtype, [&](auto a_tag) {
    using A = typename decltype(a_tag)::Type;
    with_byte_type(b.dtype, [&](auto b_tag) {
      using B = typename decltype(b_tag)::Type;
      const int last = s.batch.rank - 1;
      broadcast_rows(s.batch, 0, broadcast_row_count(s.batch), [&](int64_t at, const int64_t* offsets) {
        for (int64_t i = 0; i < s.batch.dims[last]; ++i) {
          const A* left = a.as<A>() + (offsets[0] + i * s.batch.strides[0][last]) * s.m * s.k;
          const B* right = b.as<B>() + (offsets[1] + i * s.batch.strides[1][last]) * s.k * s.n;
          const int64_t matrix = (at + i) * s.m * s.n;
          integer_product(s, left, right, context.input(use.a_zero), context.input(use.b_zero),
                          [&](int64_t row, int64_t column, int32_t sum) { store(matrix + row * s.n + column, row, column, sum); });
        }
      });
    });
  });
}

float line_scale(const Tensor& scale, int64_t line) { return scale_value(scale, scale.shape.count() == 1 ? 0 : line); }

}  // namespace

Status matmul_integer_infer(Context& context) { return integer_product_infer(context, kMatMulIntegerOperands, DType::kI32); }

Status matmul_integer_run(Context& context) {
  int32_t* y = context.output(0).as<int32_t>();
  integer_products(context, kMatMulIntegerOperands, [&](int64_t at, int64_t, int64_t, int32_t sum) { y[at] = sum; });
  return Status::kOk;
}

Status qlinear_matmul_infer(Context& context) {
  constexpr uint32_t scales = dtype_bit(DType::kF32) | dtype_bit(DType::kF16) | dtype_bit(DType::kBF16);
  constexpr int kScaleInputs[] = {1, 4, 6};
  for (int i : kScaleInputs) PENLIGHT_TRY(check_dtype(context, i, scales));
  PENLIGHT_TRY(check_dtype(context, 7, kByteTypes));
  PENLIGHT_TRY(integer_product_infer(context, kQLinearOperands, context.input(7).dtype));
  const IntegerMatMulState& s = context.state_as<IntegerMatMulState>();
  PENLIGHT_TRY(check_line_parameter(context, 1, s.m));
  PENLIGHT_TRY(check_line_parameter(context, 4, s.n));
  if (context.input(6).shape.count() != 1 || context.input(7).shape.count() != 1)
    return context.fail(Status::kUnsupportedOperator, "the output must have one scale and one zero point");
  return Status::kOk;
}

Status qlinear_matmul_run(Context& context) {
  const Tensor &a_scale = context.input(1), &b_scale = context.input(4);
  if (context.output(0).shape.count() == 0) return Status::kOk;
  const float y_scale = scale_value(context.input(6), 0);
  with_byte_type(context.output(0).dtype, [&](auto tag) {
    using Q = typename decltype(tag)::Type;
    const float zero = static_cast<float>(context.input(7).as<Q>()[0]);
    Q* y = context.output(0).as<Q>();
    integer_products(context, kQLinearOperands, [&](int64_t at, int64_t row, int64_t column, int32_t sum) {
      const float scale = line_scale(a_scale, row) * line_scale(b_scale, column) / y_scale;
      y[at] = quantized<Q>(static_cast<float>(sum) * scale, zero);
    });
  });
  return Status::kOk;
}

}  // namespace penlight
