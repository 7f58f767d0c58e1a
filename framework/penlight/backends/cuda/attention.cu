// Attention without the matrix of probabilities: one pass over the keys with a running softmax (Dao 2023, FlashAttention-2).
// SPDX-License-Identifier: Apache-2.0
#include "attention.cuh"

constexpr int kKeys = 64;

// One block has 64 queries of one head (grid: query tiles, heads, batch), a warp 16 of them; a thread has parts of the rows
// lane / 4 and lane / 4 + 8. While scores are computed the values are on their way, while values are summed the next keys.
template <typename Half, int kWidth>
__device__ void attend(const Half* q, const Half* k, const Half* v, Half* output, float* log_sums, Mask<Half> mask, Plane q_at,
                       Plane k_at, Plane v_at, Plane output_at, int width, float scale) {
  alignas(16) __shared__ Half memory[(kBlockRows + 2 * kKeys) * kWidth];
  Tile<Half, kWidth> queries{memory}, keys{memory + kBlockRows * kWidth}, values{memory + (kBlockRows + kKeys) * kWidth};
  int first_query = blockIdx.x * kBlockRows, own_row = threadIdx.x / kWarp * 16, lane = threadIdx.x % kWarp;
  int end = mask.is_causal && first_query + kBlockRows < mask.keys ? first_query + kBlockRows : mask.keys;

  queries.template load<kBlockRows>(q, q_at.row, first_query, mask.queries, width);
  keys.template load<kKeys>(k, k_at.row, 0, mask.keys, width);
  cp_async_commit();
  float sums[kWidth / 8][4] = {}, maximum[2] = {-infinity(), -infinity()}, total[2] = {};
  for (int first_key = 0; first_key < end; first_key += kKeys) {
    cp_async_wait<0>();
    __syncthreads();  // the keys are there, and nobody reads the values any more
    values.template load<kKeys>(v, v_at.row, first_key, mask.keys, width);
    cp_async_commit();
    float scores[kKeys / 8][4] = {};
    multiply_transposed<Half, kWidth, kKeys>(scores, queries, own_row, keys);

    int query = first_query + own_row + lane / 4, key = first_key + lane % 4 * 2;
    bool is_masked = mask.concerns(first_query, first_key, first_key + kKeys - 1);
    float larger[2] = {maximum[0], maximum[1]};
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float scaled = scores[n][i] * scale;
        scores[n][i] = is_masked ? mask.score(scaled, query + i / 2 * 8, key + n * 8 + i % 2) : scaled;
        larger[i / 2] = fmaxf(larger[i / 2], scores[n][i]);
      }
    }
    float base[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      larger[r] = fmaxf(larger[r], __shfl_xor_sync(kAllLanes, larger[r], 1));
      larger[r] = fmaxf(larger[r], __shfl_xor_sync(kAllLanes, larger[r], 2));
      base[r] = larger[r] == -infinity() ? 0.0f : larger[r];  // nothing seen so far: exp2(-inf - 0) is 0, not NaN
      float shrink = exp2f(maximum[r] - base[r]);
      maximum[r] = larger[r];
      total[r] *= shrink;
#pragma unroll
      for (int n = 0; n < kWidth / 8; ++n) {
        sums[n][2 * r] *= shrink;
        sums[n][2 * r + 1] *= shrink;
      }
    }
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[n][i] = exp2f(scores[n][i] - base[i / 2]);
        total[i / 2] += scores[n][i];
      }
    }
    cp_async_wait<0>();
    __syncthreads();  // the values are there, and nobody reads the keys any more
    if (first_key + kKeys < end) keys.template load<kKeys>(k, k_at.row, first_key + kKeys, mask.keys, width);
    cp_async_commit();
    multiply_results<Half, kWidth, kKeys>(sums, scores, values);
  }

#pragma unroll
  for (int r = 0; r < 2; ++r) {
    total[r] += __shfl_xor_sync(kAllLanes, total[r], 1);
    total[r] += __shfl_xor_sync(kAllLanes, total[r], 2);
    int row = first_query + own_row + lane / 4 + 8 * r;
    if (row >= mask.queries) continue;
    float share = total[r] == 0.0f ? 0.0f : 1.0f / total[r];
    if (lane % 4 == 0) log_sums[row] = total[r] == 0.0f ? -infinity() : maximum[r] * kLn2 + logf(total[r]);
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
      int column = n * 8 + lane % 4 * 2;
      if (column < width)
        *reinterpret_cast<unsigned*>(output + row * output_at.row + column) =
            pack<Half>(sums[n][2 * r] * share, sums[n][2 * r + 1] * share);
    }
  }
}

// q (batch, heads, queries, width), k and v (batch, heads / group, keys, width), output as q, log_sums (batch, heads, queries);
// `mask` or `allowed` broadcast by strides of 0. Rows start at multiples of 16 bytes, kWidth is `width` rounded up.
template <typename Half, int kWidth>  // 32, 64, 96, 128
__global__ void __launch_bounds__(kTileThreads)
    attention_forward(const Half* q, const Half* k, const Half* v, const Half* mask, const unsigned char* allowed, Half* output,
                      float* log_sums, int64 q_batch, int64 q_head, int64 q_row, int64 k_batch, int64 k_head, int64 k_row,
                      int64 v_batch, int64 v_head, int64 v_row, int64 output_batch, int64 output_head, int64 output_row,
                      int64 mask_batch, int64 mask_head, int64 mask_row, int64 mask_column, int queries, int keys, int width,
                      int group, int is_causal, float scale) {
  Plane q_at{q_batch, q_head, q_row}, k_at{k_batch, k_head, k_row}, v_at{v_batch, v_head, v_row};
  Plane output_at{output_batch, output_head, output_row};
  int64 b = blockIdx.z, h = blockIdx.y, seen = b * mask_batch + h * mask_head;
  Mask<Half> view{
      mask ? mask + seen : nullptr, allowed ? allowed + seen : nullptr, mask_row, mask_column, queries, keys, is_causal};
  attend<Half, kWidth>(q + q_at.start(b, h), k + k_at.start(b, h / group), v + v_at.start(b, h / group),
                       output + output_at.start(b, h), log_sums + (b * gridDim.y + h) * queries, view, q_at, k_at, v_at, output_at,
                       width, scale * kLog2E);
}
