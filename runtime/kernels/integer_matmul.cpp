// Products of 8-bit matrices: MatMulInteger and QLinearMatMul, exact in 32 bits. SPDX-License-Identifier: Apache-2.0
#include "broadcast.h"
#include "integer_gemm.h"
#include "quantize.h"

namespace penlight {

namespace {

constexpr uint32_t kByteTypes = dtype_bit(DType::kI8) | dtype_bit(DType::kU8);

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
constexpr IntegerOperands kToFloatOperands = {0, 4, 1, 5};

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
  PENLIGHT_TRY(check_rank(context, use.a, 1, kMaxRank));
  PENLIGHT_TRY(check_rank(context, use.b, 1, kMaxRank));
  if (context.input(use.a_zero).present()) PENLIGHT_TRY(check_same_dtype(context, use.a_zero, use.a));
  if (context.input(use.b_zero).present()) PENLIGHT_TRY(check_same_dtype(context, use.b_zero, use.b));
  const Shape &a = context.input(use.a).shape, &b = context.input(use.b).shape;
  IntegerMatMulState& s = context.state_as<IntegerMatMulState>();
  s = IntegerMatMulState{};
  const bool is_row = a.rank == 1, is_column = b.rank == 1;  // as in numpy.matmul, the 1 beside a vector is not in the result
  s.m = is_row ? 1 : a.dims[a.rank - 2];
  s.k = a.dims[a.rank - 1];
  s.n = is_column ? 1 : b.dims[b.rank - 1];
  if (b.dims[is_column ? 0 : b.rank - 2] != s.k) return context.fail(Status::kShapeMismatch, "inner sizes differ");
  const Shape left = make_shape(a.dims, is_row ? 0 : a.rank - 2), right = make_shape(b.dims, is_column ? 0 : b.rank - 2);
  Shape out;
  PENLIGHT_TRY(broadcast_shapes(context, left, right, &out));
  const Shape* batches[] = {&left, &right};
  s.batch = plan_broadcast(out, batches, 2);
  if (!is_row) out.dims[out.rank++] = s.m;
  if (!is_column) out.dims[out.rank++] = s.n;
  PENLIGHT_TRY(check_line_parameter(context, use.a_zero, s.m));
  PENLIGHT_TRY(check_line_parameter(context, use.b_zero, s.n));
  PENLIGHT_TRY(set_output(context, 0, dtype, out));
  int64_t count = 0, bytes = 0;
  if (!integer_gemm_scratch_bytes(s.m, s.n, s.k, context.threads(), &bytes) || !add_scratch(context, bytes, 1))
    return scratch_too_large(context);
  const auto depth = static_cast<uint64_t>(s.k > 0 ? s.k : 1);
  context.macs = checked_count(out, &count) ? saturating_mul(static_cast<uint64_t>(count), depth) : UINT64_MAX;
  return Status::kOk;
}

ByteMatrix byte_matrix(const Tensor& tensor, int64_t offset, const Tensor& zero) {
  ByteMatrix matrix;
  matrix.data = tensor.as<unsigned char>() + offset;
  matrix.is_signed = tensor.dtype == DType::kI8;
  matrix.zero = zero.present() ? zero.data : nullptr;
  matrix.zero_step = zero.present() && zero.shape.count() > 1 ? 1 : 0;
  return matrix;
}

using IntegerFinish = void (*)(const void* target, int64_t row, int64_t first, int64_t count, int32_t* sums);

/// What takes the sums of one product of the batch: its first row in the output is `row`.
struct IntegerTarget {
  Context* context;
  int64_t row, n;
};

void integer_products(Context& context, const IntegerOperands& use, IntegerFinish finish) {
  const IntegerMatMulState& s = context.state_as<IntegerMatMulState>();
  const int last = s.batch.rank - 1;
  IntegerTarget target = {&context, 0, s.n};
  IntegerGemm gemm;
  gemm.m = s.m;
  gemm.n = s.n;
  gemm.k = s.k;
  gemm.finish = finish;
  gemm.target = &target;
  broadcast_rows(s.batch, 0, broadcast_row_count(s.batch), [&](int64_t at, const int64_t* offsets) {
    for (int64_t i = 0; i < s.batch.dims[last]; ++i) {
      const int64_t left = (offsets[0] + i * s.batch.strides[0][last]) * s.m * s.k;
      const int64_t right = (offsets[1] + i * s.batch.strides[1][last]) * s.k * s.n;
      gemm.a = byte_matrix(context.input(use.a), left, context.input(use.a_zero));
      gemm.b = byte_matrix(context.input(use.b), right, context.input(use.b_zero));
      target.row = (at + i) * s.m;
      integer_gemm(gemm, context.scratch, context_parallel(context));
    }
  });
}

void keep_sums(const void* target, int64_t row, int64_t first, int64_t count, int32_t* sums) {
  const auto& to = *static_cast<const IntegerTarget*>(target);
  __builtin_memcpy(to.context->output(0).as<int32_t>() + (to.row + row) * to.n + first, sums,
                   static_cast<size_t>(count) * sizeof(int32_t));
}

float line_scale(const Tensor& scale, int64_t line) { return scale_value(scale, scale.shape.count() == 1 ? 0 : line); }

/// (a - a zero) * (b - b zero) * scales in 8 bits: a scale for each row of a, for each column of b, one for the output.
void round_sums(const void* target, int64_t row, int64_t first, int64_t count, int32_t* sums) {
  const auto& to = *static_cast<const IntegerTarget*>(target);
  Context& context = *to.context;
  const float a_scale = line_scale(context.input(1), row), y_scale = scale_value(context.input(6), 0);
  TypeList<int8_t, uint8_t>::call(context.output(0).dtype, [&](auto tag) {
    using Q = typename decltype(tag)::Type;
    const float point = static_cast<float>(context.input(7).as<Q>()[0]);
    Q* y = context.output(0).as<Q>() + (to.row + row) * to.n + first;
    for (int64_t j = 0; j < count; ++j) {
      const float scale = a_scale * line_scale(context.input(4), first + j) / y_scale;
      y[j] = quantized<Q>(static_cast<float>(sums[j]) * scale, point);
    }
  });
}

}  // namespace

Status matmul_integer_infer(Context& context) { return integer_product_infer(context, kMatMulIntegerOperands, DType::kI32); }

Status matmul_integer_run(Context& context) {
  if (context.output(0).shape.count() > 0) integer_products(context, kMatMulIntegerOperands, keep_sums);
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
  if (context.output(0).shape.count() > 0) integer_products(context, kQLinearOperands, round_sums);
  return Status::kOk;
}

namespace {

/// Sums times the scales of both sides, plus the bias.
void scale_products(const void* target, int64_t row, int64_t first, int64_t count, int32_t* sums) {
  const auto& to = *static_cast<const IntegerTarget*>(target);
  Context& context = *to.context;
  const Tensor &b_scale = context.input(3), &bias = context.input(6);
  const bool one = b_scale.shape.count() == 1;
  const float a_scale = context.input(2).as<float>()[0], scale = one ? a_scale * b_scale.as<float>()[0] : a_scale;
  integer_gemm_table().scale(sums, count, scale, one ? nullptr : b_scale.as<float>() + first,
                             bias.present() ? bias.as<float>() + first : nullptr,
                             context.output(0).as<float>() + (to.row + row) * to.n + first);
}

}  // namespace

Status matmul_integer_to_float_infer(Context& context) {
  PENLIGHT_TRY(integer_product_infer(context, kToFloatOperands, DType::kF32));
  const int64_t n = context.state_as<IntegerMatMulState>().n;
  for (int i = 2; i < 4; ++i) PENLIGHT_TRY(check_dtype(context, i, dtype_bit(DType::kF32)));
  PENLIGHT_TRY(check_line_parameter(context, 2, 1));
  PENLIGHT_TRY(check_line_parameter(context, 3, n));
  const Tensor& bias = context.input(6);
  if (!bias.present()) return Status::kOk;
  PENLIGHT_TRY(check_dtype(context, 6, dtype_bit(DType::kF32)));
  if (bias.shape.rank == 1 && bias.shape.dims[0] == n) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "the bias must have shape (%lld,)", static_cast<long long>(n));
}

Status matmul_integer_to_float_run(Context& context) {
  if (context.output(0).shape.count() > 0) integer_products(context, kToFloatOperands, scale_products);
  return Status::kOk;
}

}  // namespace penlight
