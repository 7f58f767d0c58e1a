// The gradient of attention, from log(sum(exp)) of each row. SPDX-License-Identifier: Apache-2.0
// Keys and values in one kernel, queries in another: every sum has one owner and one order, so the same bits come every time.
#include "attention.cuh"

// With P the probabilities, g the gradient of the result and d = sum(g * result) per row:
// grad_v = P^T g, grad_scores = P * (g v^T - d), grad_q = scale * grad_scores k, grad_k = scale * grad_scores^T q.

// A block keeps 64 rows of two matrices while kRows rows at a time of two others pass by; the next ones are on their way where
// 48 KB of shared memory hold them.
template <typename Half, int kWidth, int kRows>
struct Tiles {
  static constexpr int kStages = (kBlockRows + 2 * kRows) * kWidth <= 12288 ? 2 : 1;
  static constexpr int kElements = 2 * (kBlockRows + kStages * kRows) * kWidth;
  Half* memory;

  __device__ Tile<Half, kWidth> kept(int which) const { return {memory + which * kBlockRows * kWidth}; }
  __device__ Tile<Half, kWidth> passing(int step, int which) const {
    return {memory + (2 * kBlockRows + (2 * (step % kStages) + which) * kRows) * kWidth};
  }
};

// sum(grad * output) of each row, a warp to a row; (batch, heads, queries) in that order.
template <typename Half>
__global__ void attention_dots(const Half* grad, const Half* output, float* dots, int64 grad_batch, int64 grad_head, int64 grad_row,
                               int64 output_batch, int64 output_head, int64 output_row, int queries, int width) {
  Plane grad_at{grad_batch, grad_head, grad_row}, output_at{output_batch, output_head, output_row};
  int lane = threadIdx.x % kWarp, row = blockIdx.x * kTileWarps + threadIdx.x / kWarp;
  if (row >= queries) return;
  const Half* g = grad + grad_at.start(blockIdx.z, blockIdx.y) + row * grad_row;
  const Half* y = output + output_at.start(blockIdx.z, blockIdx.y) + row * output_row;
  float sum = 0.0f;
  for (int column = lane; column < width; column += kWarp) sum += to_float(g[column]) * to_float(y[column]);
  for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
  if (lane == 0) dots[(static_cast<int64>(blockIdx.z) * gridDim.y + blockIdx.y) * queries + row] = sum;
}

template <typename Half, int kWidth>
__device__ void store_rows(Half* matrix, int64 stride, int first, int rows, int width, const float (&sums)[kWidth / 8][4],
                           float factor) {
  int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    int row = first + lane / 4 + 8 * r;
    if (row >= rows) continue;
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
      int column = n * 8 + lane % 4 * 2;
      if (column < width)
        *reinterpret_cast<unsigned*>(matrix + row * stride + column) =
            pack<Half>(sums[n][2 * r] * factor, sums[n][2 * r + 1] * factor);
    }
  }
}

// Grid: tiles of 64 keys, heads of the keys, batch. All queries of the `group` heads that read these keys pass by. Scores are
// computed transposed, a warp's 16 keys against all queries of a tile, so that no sum crosses warps.
template <typename Half, int kWidth>  // 32, 64, 96, 128
__global__ void __launch_bounds__(kTileThreads, 2)
    attention_backward_keys(const Half* q, const Half* k, const Half* v, const Half* grad, const Half* mask,
                            const unsigned char* allowed, const float* log_sums, const float* dots, Half* grad_k, Half* grad_v,
                            int64 q_batch, int64 q_head, int64 q_row, int64 k_batch, int64 k_head, int64 k_row, int64 v_batch,
                            int64 v_head, int64 v_row, int64 grad_batch, int64 grad_head, int64 grad_row, int64 mask_batch,
                            int64 mask_head, int64 mask_row, int64 mask_column, int64 into_batch, int64 into_head, int64 into_row,
                            int queries, int keys, int width, int group, int is_causal, float scale) {
  constexpr int kRows = kWidth <= 64 ? 64 : kWidth <= 96 ? 32 : 16;
  using Memory = Tiles<Half, kWidth, kRows>;
  alignas(16) __shared__ Half memory[Memory::kElements];
  Memory tiles{memory};
  Plane q_at{q_batch, q_head, q_row}, k_at{k_batch, k_head, k_row}, v_at{v_batch, v_head, v_row};
  Plane grad_at{grad_batch, grad_head, grad_row}, into{into_batch, into_head, into_row};
  int64 b = blockIdx.z, key_head = blockIdx.y;
  int first_key = blockIdx.x * kBlockRows, own_row = threadIdx.x / kWarp * 16, lane = threadIdx.x % kWarp;
  int start = is_causal ? first_key / kRows : 0, count = (queries + kRows - 1) / kRows - start;
  int total = count > 0 ? count * group : 0;

  auto load = [&](int step) {
    int64 head = key_head * group + step / count;
    int first = (start + step % count) * kRows;
    tiles.passing(step, 0).template load<kRows>(q + q_at.start(b, head), q_row, first, queries, width);
    tiles.passing(step, 1).template load<kRows>(grad + grad_at.start(b, head), grad_row, first, queries, width);
  };
  tiles.kept(0).template load<kBlockRows>(k + k_at.start(b, key_head), k_row, first_key, keys, width);
  tiles.kept(1).template load<kBlockRows>(v + v_at.start(b, key_head), v_row, first_key, keys, width);
  if (Memory::kStages == 2 && total > 0) load(0);
  cp_async_commit();

  float sums_k[kWidth / 8][4] = {}, sums_v[kWidth / 8][4] = {};
  for (int step = 0; step < total; ++step) {
    if (Memory::kStages == 1)
      load(step);
    else if (step + 1 < total)
      load(step + 1);
    cp_async_commit();
    cp_async_wait<Memory::kStages - 1>();
    __syncthreads();
    Tile<Half, kWidth> q_tile = tiles.passing(step, 0), g_tile = tiles.passing(step, 1);
    int64 head = key_head * group + step / count, seen = b * mask_batch + head * mask_head;
    Mask<Half> view{
        mask ? mask + seen : nullptr, allowed ? allowed + seen : nullptr, mask_row, mask_column, queries, keys, is_causal};
    int first_query = (start + step % count) * kRows;
    int key = first_key + own_row + lane / 4, query = first_query + lane % 4 * 2;
    const float* log_sum = log_sums + (b * gridDim.y * group + head) * queries;
    const float* dot = dots + (b * gridDim.y * group + head) * queries;

    float weights[kRows / 8][4] = {}, slopes[kRows / 8][4] = {};
    multiply_transposed<Half, kWidth, kRows>(weights, tiles.kept(0), own_row, q_tile);
#pragma unroll
    for (int n = 0; n < kRows / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        int column = query + n * 8 + i % 2;
        float score = view.score(weights[n][i] * scale * kLog2E, column, key + i / 2 * 8);
        weights[n][i] = column < queries ? exp2f(score - subtrahend(log_sum[column])) : 0.0f;
      }
    }
    multiply_results<Half, kWidth, kRows>(sums_v, weights, g_tile);
    multiply_transposed<Half, kWidth, kRows>(slopes, tiles.kept(1), own_row, g_tile);
#pragma unroll
    for (int n = 0; n < kRows / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        int column = query + n * 8 + i % 2;
        slopes[n][i] = column < queries ? weights[n][i] * (slopes[n][i] - dot[column]) : 0.0f;
      }
    }
    multiply_results<Half, kWidth, kRows>(sums_k, slopes, q_tile);
    __syncthreads();  // the next load overwrites these tiles
  }
  store_rows<Half, kWidth>(grad_k + into.start(b, key_head), into_row, first_key + own_row, keys, width, sums_k, scale);
  store_rows<Half, kWidth>(grad_v + into.start(b, key_head), into_row, first_key + own_row, keys, width, sums_v, 1.0f);
}

// Grid: tiles of 64 queries, heads, batch; the keys that they see pass by.
template <typename Half, int kWidth>  // 32, 64, 96, 128
__global__ void __launch_bounds__(kTileThreads, 2)
    attention_backward_queries(const Half* q, const Half* k, const Half* v, const Half* grad, const Half* mask,
                               const unsigned char* allowed, const float* log_sums, const float* dots, Half* grad_q, int64 q_batch,
                               int64 q_head, int64 q_row, int64 k_batch, int64 k_head, int64 k_row, int64 v_batch, int64 v_head,
                               int64 v_row, int64 grad_batch, int64 grad_head, int64 grad_row, int64 mask_batch, int64 mask_head,
                               int64 mask_row, int64 mask_column, int64 into_batch, int64 into_head, int64 into_row, int queries,
                               int keys, int width, int group, int is_causal, float scale) {
  constexpr int kRows = kWidth <= 64 ? 64 : 32;
  using Memory = Tiles<Half, kWidth, kRows>;
  alignas(16) __shared__ Half memory[Memory::kElements];
  Memory tiles{memory};
  Plane q_at{q_batch, q_head, q_row}, k_at{k_batch, k_head, k_row}, v_at{v_batch, v_head, v_row};
  Plane grad_at{grad_batch, grad_head, grad_row}, into{into_batch, into_head, into_row};
  int64 b = blockIdx.z, head = blockIdx.y, seen = b * mask_batch + head * mask_head;
  Mask<Half> view{
      mask ? mask + seen : nullptr, allowed ? allowed + seen : nullptr, mask_row, mask_column, queries, keys, is_causal};
  int first_query = blockIdx.x * kBlockRows, own_row = threadIdx.x / kWarp * 16, lane = threadIdx.x % kWarp;
  int end = is_causal && first_query + kBlockRows < keys ? first_query + kBlockRows : keys;
  int total = (end + kRows - 1) / kRows;

  auto load = [&](int step) {
    int first = step * kRows;
    tiles.passing(step, 0).template load<kRows>(k + k_at.start(b, head / group), k_row, first, keys, width);
    tiles.passing(step, 1).template load<kRows>(v + v_at.start(b, head / group), v_row, first, keys, width);
  };
  tiles.kept(0).template load<kBlockRows>(q + q_at.start(b, head), q_row, first_query, queries, width);
  tiles.kept(1).template load<kBlockRows>(grad + grad_at.start(b, head), grad_row, first_query, queries, width);
  if (Memory::kStages == 2 && total > 0) load(0);
  cp_async_commit();

  int query = first_query + own_row + lane / 4;
  float subtracted[2], dot[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    int64 row = (b * gridDim.y + head) * queries + query + 8 * r;
    subtracted[r] = query + 8 * r < queries ? subtrahend(log_sums[row]) : infinity();
    dot[r] = query + 8 * r < queries ? dots[row] : 0.0f;
  }
  float sums[kWidth / 8][4] = {};
  for (int step = 0; step < total; ++step) {
    if (Memory::kStages == 1)
      load(step);
    else if (step + 1 < total)
      load(step + 1);
    cp_async_commit();
    cp_async_wait<Memory::kStages - 1>();
    __syncthreads();
    Tile<Half, kWidth> k_tile = tiles.passing(step, 0), v_tile = tiles.passing(step, 1);
    int key = step * kRows + lane % 4 * 2;
    float weights[kRows / 8][4] = {}, slopes[kRows / 8][4] = {};
    multiply_transposed<Half, kWidth, kRows>(weights, tiles.kept(0), own_row, k_tile);
    multiply_transposed<Half, kWidth, kRows>(slopes, tiles.kept(1), own_row, v_tile);
#pragma unroll
    for (int n = 0; n < kRows / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float score = view.score(weights[n][i] * scale * kLog2E, query + i / 2 * 8, key + n * 8 + i % 2);
        slopes[n][i] = exp2f(score - subtracted[i / 2]) * (slopes[n][i] - dot[i / 2]);
      }
    }
    multiply_results<Half, kWidth, kRows>(sums, slopes, k_tile);
    __syncthreads();  // the next load overwrites these tiles
  }
  store_rows<Half, kWidth>(grad_q + into.start(b, head), into_row, first_query + own_row, queries, width, sums, scale);
}
