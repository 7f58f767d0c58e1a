// What attention and its gradient share: where rows lie, and what a query sees. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tiles.cuh"

constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.69314718055994531f;
constexpr int kBlockRows = 16 * kTileWarps;  // rows of a block: 16 to a warp

// Which keys a query sees, and what is added to its scores; everything in units of log 2.
template <typename Half>
struct Mask {
  const Half* added;             // null, or added to the scores
  const unsigned char* allowed;  // null, or 0 where a query does not see a key
  int64 row, column;
  int queries, keys;
  int is_causal;

  // Whether a tile has a pair that `score` changes in another way than by the scale.
  __device__ bool concerns(int first_query, int first_key, int last_key) const {
    return added || allowed || last_key >= keys || (is_causal && last_key > first_query);
  }

  __device__ float score(float scaled, int query, int key) const {
    if (key >= keys || query >= queries || (is_causal && key > query)) return -infinity();
    if (allowed && !allowed[query * row + key * column]) return -infinity();
    return added ? scaled + to_float(added[query * row + key * column]) * kLog2E : scaled;
  }
};

// log(sum(exp)) of a row as what is taken from scores in units of log 2; a row that sees nothing gives probabilities of 0.
__device__ inline float subtrahend(float log_sum) { return log_sum == -infinity() ? infinity() : log_sum * kLog2E; }
