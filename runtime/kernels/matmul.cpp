// Matrix products: MatMul with broadcast batches, Gemm, and Gemm with an activation. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "activation.h"
#include "broadcast.h"
#include "gemm.h"
#include "shape_rules.h"

namespace penlight {

namespace {

/// Matrices of m x k and k x n, one pair for each row of the batch plan.
struct MatMulState {
  int64_t m = 0, n = 0, k = 0;
  size_t slices = 1;  // parts of the scratch, one for each thread when batches run side by side
  int64_t slice_floats = 0;
  Broadcast batch;
};

struct GemmState {
  int64_t m = 0, n = 0, k = 0;
  int64_t a_row = 0, a_depth = 0, b_depth = 0, b_column = 0, bias_row = 0, bias_column = 0;
  double alpha = 1, beta = 1;
  bool panels = false;  // float weights lie as gemm_panels_f32 reads them
  Activation activation;
};

/// What the plain product serves; float has the packed one.
using PlainMatMulTypes = TypeList<double, Half, BFloat, int32_t, int64_t, uint32_t, uint64_t>;
constexpr uint32_t kMatMulTypes = PlainMatMulTypes::kBits | dtype_bit(DType::kF32);

/// The plain product for every dtype but float. `bias` may be null.
template <typename T>
void matmul_plain(const GemmState& g, const T* a, const T* b, const T* bias, T* c) {
  using S = typename Element<T>::Sum;
  for (int64_t i = 0; i < g.m; ++i)
    for (int64_t j = 0; j < g.n; ++j) {
      S sum{};
      for (int64_t k = 0; k < g.k; ++k)
        sum = static_cast<S>(sum +
                             static_cast<S>(a[i * g.a_row + k * g.a_depth]) * static_cast<S>(b[k * g.b_depth + j * g.b_column]));
      if (bias == nullptr) {
        c[i * g.n + j] = static_cast<T>(sum);
        continue;
      }
      const S added = static_cast<S>(bias[i * g.bias_row + j * g.bias_column]);
      c[i * g.n + j] = static_cast<T>(static_cast<S>(g.alpha) * sum + static_cast<S>(g.beta) * added);
    }
}

Gemm gemm_of_state(const GemmState& g, const float* a, const float* b, float* c) {
  Gemm gemm;
  gemm.m = g.m;
  gemm.n = g.n;
  gemm.k = g.k;
  gemm.a = a;
  gemm.a_row = g.a_row;
  gemm.a_depth = g.a_depth;
  gemm.b = b;
  gemm.b_depth = g.b_depth;
  gemm.b_column = g.b_column;
  gemm.c = c;
  gemm.c_row = g.n;
  return gemm;
}

bool product_scratch_floats(const GemmState& g, int64_t* floats) {
  if (g.panels) return gemm_panel_floats(g.n % kPanel, g.k, floats);
  return gemm_scratch_floats(gemm_of_state(g, nullptr, nullptr, nullptr), floats);
}

void run_product(Context& context, const GemmState& g, Gemm& gemm) {
  float* scratch = static_cast<float*>(context.scratch);
  gemm.deterministic = context.deterministic;
  if (g.panels)
    gemm_panels_f32(gemm, scratch, context_parallel(context));
  else
    gemm_f32(gemm, scratch, context_parallel(context));
}

GemmState row_major_product(int64_t m, int64_t n, int64_t k) {
  GemmState g;
  g.m = m;
  g.n = n;
  g.k = k;
  g.a_row = k;
  g.a_depth = 1;
  g.b_depth = n;
  g.b_column = 1;
  return g;
}

/// Shape without its last `drop` dimensions.
Shape matmul_batch(const Shape& shape, int drop) { return make_shape(shape.dims, shape.rank > drop ? shape.rank - drop : 0); }

/// The one-dimensional forms: a vector on the left is a row, on the right a column, and its dimension leaves the result.
Status matmul_shapes(Context& context, MatMulState* state, Shape* out) {
  const Shape &a = context.input(0).shape, &b = context.input(1).shape;
  if (a.rank < 1 || b.rank < 1) return context.fail(Status::kShapeMismatch, "scalars have no matrix product");
  state->m = a.rank > 1 ? a.dims[a.rank - 2] : 1;
  state->k = a.dims[a.rank - 1];
  state->n = b.rank > 1 ? b.dims[b.rank - 1] : 1;
  const int64_t depth = b.rank > 1 ? b.dims[b.rank - 2] : b.dims[0];
  if (state->k != depth)
    return context.fail(Status::kShapeMismatch, "inner sizes differ: a has %lld, b has %lld", static_cast<long long>(state->k),
                        static_cast<long long>(depth));
  const Shape a_batch = matmul_batch(a, 2), b_batch = matmul_batch(b, 2);
  PENLIGHT_TRY(broadcast_shapes(context, a_batch, b_batch, out));
  if (b_batch.count() == 1 && b.rank == 2 && a.rank > 2) {  // one right side for all: one tall product
    state->m *= a_batch.count();
    state->batch = plan_broadcast(Shape{}, nullptr, 0);
  } else {
    const Shape* batches[] = {&a_batch, &b_batch};
    state->batch = plan_broadcast(*out, batches, 2);
  }
  if (out->rank + 2 > kMaxRank + (a.rank == 1) + (b.rank == 1))
    return context.fail(Status::kShapeMismatch, "the rank is too large");
  if (a.rank > 1) out->dims[out->rank++] = a.dims[a.rank - 2];
  if (b.rank > 1) out->dims[out->rank++] = state->n;
  return Status::kOk;
}

int64_t matmul_batch_count(const Broadcast& batch) {
  int64_t count = 1;
  for (int i = 0; i < batch.rank; ++i) count *= batch.dims[i];
  return count;
}

/// Offsets of the two operands' matrices for pair `index`.
void matmul_offsets(const MatMulState& state, int64_t index, int64_t* a, int64_t* b) {
  int64_t matrices_a = 0, matrices_b = 0;
  for (int d = state.batch.rank - 1; d >= 0; --d) {
    const int64_t i = index % state.batch.dims[d];
    index /= state.batch.dims[d];
    matrices_a += i * state.batch.strides[0][d];
    matrices_b += i * state.batch.strides[1][d];
  }
  *a = matrices_a * state.m * state.k;
  *b = matrices_b * state.k * state.n;
}

Status declare_matmul_work(Context& context, int64_t m, int64_t n, int64_t k, int64_t batches) {
  const uint64_t rows = saturating_mul(static_cast<uint64_t>(batches), static_cast<uint64_t>(m));
  const uint64_t macs = saturating_mul(saturating_mul(rows, static_cast<uint64_t>(n)), static_cast<uint64_t>(k > 0 ? k : 1));
  // Small matrices take a call each, and a line has a start.
  const uint64_t others = batches > 1 ? static_cast<uint64_t>(batches) - 1 : 0;
  const uint64_t calls = saturating_add(saturating_mul(64, others), saturating_mul(4, rows));
  context.macs = macs > calls ? macs : calls;
  return Status::kOk;
}

Status gemm_bias_strides(Context& context, GemmState* state) {
  const Tensor& bias = context.input(2);
  if (!bias.present()) return Status::kOk;
  PENLIGHT_TRY(check_same_dtype(context, 2, 0));
  const int rank = bias.shape.rank;
  const int64_t columns = rank > 0 ? bias.shape.dims[rank - 1] : 1, rows = rank > 1 ? bias.shape.dims[rank - 2] : 1;
  if (rank > 2 || (columns != 1 && columns != state->n) || (rows != 1 && rows != state->m))
    return context.fail(Status::kShapeMismatch, "c does not broadcast to (%lld, %lld)", static_cast<long long>(state->m),
                        static_cast<long long>(state->n));
  state->bias_column = columns == 1 ? 0 : 1;
  state->bias_row = rows == 1 ? 0 : columns;
  return Status::kOk;
}

}  // namespace

Status matmul_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kMatMulTypes));
  PENLIGHT_TRY(check_same_dtype(context, 1, 0));
  MatMulState& state = context.state_as<MatMulState>();
  state = MatMulState{};
  Shape out;
  PENLIGHT_TRY(matmul_shapes(context, &state, &out));
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  const int64_t batches = matmul_batch_count(state.batch);
  if (context.input(0).dtype == DType::kF32) {
    const int64_t threads = static_cast<int64_t>(context.threads());
    state.slices = batches >= threads ? static_cast<size_t>(threads > 0 ? threads : 1) : 1;
    int64_t floats;
    if (!product_scratch_floats(row_major_product(state.m, state.n, state.k), &state.slice_floats) ||
        !checked_mul(state.slice_floats, static_cast<int64_t>(state.slices), &floats) ||
        !add_scratch(context, floats, sizeof(float)))
      return scratch_too_large(context);
  }
  return declare_matmul_work(context, state.m, state.n, state.k, batches);
}

Status matmul_run(Context& context) {
  const MatMulState& state = context.state_as<MatMulState>();
  const Tensor &a = context.input(0), &b = context.input(1);
  Tensor& c = context.output(0);
  if (c.shape.count() == 0) return Status::kOk;
  const GemmState product = row_major_product(state.m, state.n, state.k);
  const int64_t batches = matmul_batch_count(state.batch), size = static_cast<int64_t>(dtype_size(a.dtype));
  const Parallel parallel = context_parallel(context);
  const Parallel inside = state.slices > 1 ? Parallel{} : parallel;
  parallel_for(state.slices > 1 ? parallel : Parallel{}, state.slices, [&](size_t slice) {
    for (int64_t i = static_cast<int64_t>(slice); i < batches; i += static_cast<int64_t>(state.slices)) {
      int64_t a_offset, b_offset;
      matmul_offsets(state, i, &a_offset, &b_offset);
      const char *left = a.as<char>() + a_offset * size, *right = b.as<char>() + b_offset * size;
      char* to = c.as<char>() + i * state.m * state.n * size;
      if (a.dtype == DType::kF32) {
        float* scratch = static_cast<float*>(context.scratch) + static_cast<int64_t>(slice) * state.slice_floats;
        Gemm gemm = gemm_of_state(product, reinterpret_cast<const float*>(left), reinterpret_cast<const float*>(right),
                                  reinterpret_cast<float*>(to));
        gemm.deterministic = context.deterministic;
        gemm_f32(gemm, scratch, inside);
        continue;
      }
      PlainMatMulTypes::call(a.dtype, [&](auto tag) {
        using T = typename decltype(tag)::Type;
        matmul_plain<T>(product, reinterpret_cast<const T*>(left), reinterpret_cast<const T*>(right), nullptr,
                        reinterpret_cast<T*>(to));
      });
    }
  });
  return Status::kOk;
}

Status gemm_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kMatMulTypes));
  PENLIGHT_TRY(check_same_dtype(context, 1, 0));
  PENLIGHT_TRY(check_rank(context, 0, 2, 2));
  PENLIGHT_TRY(check_rank(context, 1, 2, 2));
  GemmState& state = context.state_as<GemmState>();
  state = GemmState{};
  const int64_t *a = context.input(0).shape.dims, *b = context.input(1).shape.dims;
  const bool a_turned = context.attributes->integer("transA", 0) != 0, b_turned = context.attributes->integer("transB", 0) != 0;
  state.m = a_turned ? a[1] : a[0];
  state.k = a_turned ? a[0] : a[1];
  state.n = b_turned ? b[0] : b[1];
  const int64_t depth = b_turned ? b[1] : b[0];
  if (depth != state.k)
    return context.fail(Status::kShapeMismatch, "inner sizes differ: a has %lld, b has %lld", static_cast<long long>(state.k),
                        static_cast<long long>(depth));
  state.a_row = a_turned ? 1 : state.k;
  state.a_depth = a_turned ? state.m : 1;
  state.b_depth = b_turned ? 1 : state.n;
  state.b_column = b_turned ? state.k : 1;
  state.alpha = context.attributes->real("alpha", 1.0);
  state.beta = context.attributes->real("beta", 1.0);
  if ((state.alpha != 1.0 || state.beta != 1.0) && (dtype_bit(context.input(0).dtype) & kFloatTypes) == 0)
    return context.fail(Status::kUnsupportedOperator, "alpha and beta must be 1 for integers");
  PENLIGHT_TRY(gemm_bias_strides(context, &state));
  const int64_t out[] = {state.m, state.n};
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, make_shape(out, 2)));
  state.panels = context.attributes->integer("panels", 0) != 0;
  if (state.panels && context.input(0).dtype != DType::kF32)
    return context.fail(Status::kUnsupportedOperator, "only float32 weights lie in panels");
  int64_t floats = 0;
  if (context.input(0).dtype == DType::kF32 &&
      (!product_scratch_floats(state, &floats) || !add_scratch(context, floats, sizeof(float))))
    return scratch_too_large(context);
  return declare_matmul_work(context, state.m, state.n, state.k, 1);
}

/// With an activation, and, as input 3, something of the result's shape that is added before it.
Status fused_gemm_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  PENLIGHT_TRY(gemm_infer(context));
  GemmState& state = context.state_as<GemmState>();
  if (context.input(3).present()) {
    PENLIGHT_TRY(check_same_dtype(context, 3, 0));
    if (!same_shape(context.input(3).shape, context.output(0).shape))
      return context.fail(Status::kShapeMismatch, "what is added must have the shape of the result");
    if (state.alpha != 1.0) return context.fail(Status::kUnsupportedOperator, "alpha must be 1 where something is added");
  }
  return read_activation(context, &state.activation);
}

/// x (..., k) times a matrix (k, n), plus a row (n,), then an activation or plus what has the result's shape.
Status fused_matmul_infer(Context& context) {
  const Shape &x = context.input(0).shape, &weight = context.input(1).shape;
  PENLIGHT_TRY(check_dtype(context, 0, dtype_bit(DType::kF32)));
  PENLIGHT_TRY(check_same_dtype(context, 1, 0));
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  PENLIGHT_TRY(check_rank(context, 1, 2, 2));
  GemmState& state = context.state_as<GemmState>();
  state = row_major_product(1, weight.dims[1], weight.dims[0]);
  state.panels = context.attributes->integer("panels", 0) != 0;
  if (x.dims[x.rank - 1] != state.k)
    return context.fail(Status::kShapeMismatch, "inner sizes differ: a has %lld, b has %lld",
                        static_cast<long long>(x.dims[x.rank - 1]), static_cast<long long>(state.k));
  Shape out = x;
  out.dims[out.rank - 1] = state.n;
  for (int d = 0; d + 1 < out.rank; ++d) state.m *= out.dims[d];
  const Tensor &bias = context.input(2), &residual = context.input(3);
  if (bias.present()) PENLIGHT_TRY(check_same_dtype(context, 2, 0));
  if (residual.present()) PENLIGHT_TRY(check_same_dtype(context, 3, 0));
  if (bias.present() && (bias.shape.rank != 1 || bias.shape.dims[0] != state.n))
    return context.fail(Status::kShapeMismatch, "the bias must have %lld elements", static_cast<long long>(state.n));
  if (residual.present() && !same_shape(residual.shape, out))
    return context.fail(Status::kShapeMismatch, "what is added must have the shape of the result");
  PENLIGHT_TRY(set_output(context, 0, DType::kF32, out));
  int64_t floats = 0;
  if (!product_scratch_floats(state, &floats) || !add_scratch(context, floats, sizeof(float))) return scratch_too_large(context);
  PENLIGHT_TRY(read_activation(context, &state.activation));
  if (residual.present() && state.activation.function != Unary::kIdentity)
    return context.fail(Status::kUnsupportedOperator, "it has an activation or something to add, not both");
  return declare_matmul_work(context, state.m, state.n, state.k, 1);
}

Status fused_matmul_run(Context& context) {
  const GemmState& state = context.state_as<GemmState>();
  const Tensor &bias = context.input(2), &residual = context.input(3);
  float* c = context.output(0).as<float>();
  const int64_t count = context.output(0).shape.count();
  if (count == 0) return Status::kOk;
  Gemm gemm = gemm_of_state(state, context.input(0).as<float>(), context.input(1).as<float>(), c);
  gemm.bias = bias.present() ? bias.as<float>() : nullptr;
  gemm.bias_column = 1;
  gemm.activation = state.activation;
  gemm.accumulate = residual.present();
  if (residual.present()) memcpy(c, residual.data, static_cast<size_t>(count) * sizeof(float));  // the sums start from it
  run_product(context, state, gemm);
  return Status::kOk;
}

Status gemm_run(Context& context) {
  const GemmState& state = context.state_as<GemmState>();
  const Tensor &a = context.input(0), &b = context.input(1), &bias = context.input(2), &residual = context.input(3);
  Tensor& c = context.output(0);
  if (a.dtype != DType::kF32) {
    PlainMatMulTypes::call(a.dtype, [&](auto tag) {
      using T = typename decltype(tag)::Type;
      const T zero = T(0);
      matmul_plain<T>(state, a.as<T>(), b.as<T>(), bias.present() ? bias.as<T>() : &zero, c.as<T>());
      if constexpr (Element<T>::kIsFloat) {
        if (residual.present()) add_elements(residual.as<T>(), c.as<T>(), c.shape.count());
        activate_elements(state.activation, c.as<T>(), c.shape.count());
      }
    });
    return Status::kOk;
  }
  Gemm gemm = gemm_of_state(state, a.as<float>(), b.as<float>(), c.as<float>());
  gemm.bias = bias.present() ? bias.as<float>() : nullptr;
  gemm.bias_row = state.bias_row;
  gemm.bias_column = state.bias_column;
  gemm.alpha = static_cast<float>(state.alpha);
  gemm.beta = static_cast<float>(state.beta);
  gemm.activation = state.activation;
  gemm.accumulate = residual.present();
  if (residual.present() && c.shape.count() > 0)  // the sums start from it
    memcpy(c.data, residual.data, static_cast<size_t>(c.shape.count()) * sizeof(float));
  run_product(context, state, gemm);
  return Status::kOk;
}

}  // namespace penlight
