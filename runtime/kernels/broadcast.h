// Walks operands of broadcastable shapes row by row. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "shape_rules.h"

namespace penlight {

constexpr int kBroadcastOperands = 3;

/// The output's dimensions, merged where every operand runs on evenly, and each operand's stride in them (0: repeated).
struct Broadcast {
  int rank = 0;  // at least 1
  int operands = 0;
  int64_t dims[kMaxRank] = {};
  int64_t strides[kBroadcastOperands][kMaxRank] = {};
};

inline bool broadcast_merges(const Broadcast& plan, const int64_t* strides, int64_t dim) {
  if (plan.rank == 0) return false;
  for (int k = 0; k < plan.operands; ++k)
    if (plan.strides[k][plan.rank - 1] != strides[k] * dim) return false;
  return true;
}

/// Operands must broadcast to `out`.
inline Broadcast plan_broadcast(const Shape& out, const Shape* const* operands, int count) {
  Broadcast plan;
  plan.operands = count;
  int64_t steps[kBroadcastOperands][kMaxRank];
  for (int k = 0; k < count; ++k) row_major_strides(*operands[k], steps[k]);
  for (int i = 0; i < out.rank; ++i) {
    if (out.dims[i] == 1) continue;
    int64_t strides[kBroadcastOperands] = {};
    for (int k = 0; k < count; ++k) {
      const int own = operands[k]->rank - out.rank + i;
      if (own >= 0 && operands[k]->dims[own] != 1) strides[k] = steps[k][own];
    }
    const bool merges = broadcast_merges(plan, strides, out.dims[i]);
    if (!merges) plan.dims[plan.rank++] = 1;
    plan.dims[plan.rank - 1] *= out.dims[i];
    for (int k = 0; k < count; ++k) plan.strides[k][plan.rank - 1] = strides[k];
  }
  if (plan.rank == 0) plan.dims[plan.rank++] = 1;
  return plan;
}

/// What is called with the offsets of a row in the output and in each operand.
struct RowBody {
  void (*call)(void* body, int64_t at, const int64_t* offsets);
  void* body;
};

template <typename Body>
RowBody row_body(Body& body) {
  return {[](void* row, int64_t at, const int64_t* offsets) { (*static_cast<Body*>(row))(at, offsets); }, &body};
}

inline void walk_rows(const Broadcast& plan, size_t begin, size_t end, const RowBody& body) {
  if (begin >= end) return;  // a dimension may be 0
  const int outer = plan.rank - 1;
  int64_t index[kMaxRank] = {}, offsets[kBroadcastOperands] = {};
  size_t rest = begin;
  for (int d = outer - 1; d >= 0; --d) {
    const size_t dim = static_cast<size_t>(plan.dims[d]);
    index[d] = static_cast<int64_t>(rest % dim);
    rest /= dim;
    for (int k = 0; k < plan.operands; ++k) offsets[k] += index[d] * plan.strides[k][d];
  }
  for (size_t row = begin; row < end; ++row) {
    body.call(body.body, static_cast<int64_t>(row) * plan.dims[outer], offsets);
    for (int d = outer - 1; d >= 0; --d) {
      for (int k = 0; k < plan.operands; ++k) offsets[k] += plan.strides[k][d];
      if (++index[d] < plan.dims[d]) break;
      for (int k = 0; k < plan.operands; ++k) offsets[k] -= plan.dims[d] * plan.strides[k][d];
      index[d] = 0;
    }
  }
}

/// Calls body(output offset, operand offsets[]) for every row of the innermost dimension in rows [begin, end).
template <typename Body>
void broadcast_rows(const Broadcast& plan, size_t begin, size_t end, Body&& body) {
  walk_rows(plan, begin, end, row_body(body));
}

/// Number of rows; 0 when the output is empty.
inline size_t broadcast_row_count(const Broadcast& plan) {
  int64_t rows = 1;
  for (int i = 0; i + 1 < plan.rank; ++i) rows *= plan.dims[i];
  return plan.dims[plan.rank - 1] == 0 ? 0 : static_cast<size_t>(rows);
}

constexpr size_t kBroadcastGrain = 16384;  // elements per thread

inline void parallel_rows(const Parallel& parallel, const Broadcast& plan, const RowBody& body) {
  const size_t width = static_cast<size_t>(plan.dims[plan.rank - 1]);
  parallel_ranges(parallel, broadcast_row_count(plan), kBroadcastGrain / (width > 0 ? width : 1) + 1,
                  [&](size_t begin, size_t end) { walk_rows(plan, begin, end, body); });
}

/// As broadcast_rows over all rows, on the session's threads.
template <typename Body>
void parallel_broadcast_rows(const Parallel& parallel, const Broadcast& plan, Body&& body) {
  parallel_rows(parallel, plan, row_body(body));
}

}  // namespace penlight
