// Attention of one head of floats, on blocks of queries. SPDX-License-Identifier: Apache-2.0
#include "attention_head.h"

#include "gemm.h"
#include "isa.h"
#include "kernel.h"
#include "normalize.h"

namespace penlight {

namespace {

constexpr int64_t kHeadQueries = 24;  // of a block, a multiple of every tile's rows
constexpr int64_t kHeadFew = 2;       // queries that are computed one by one

int64_t head_panels(int64_t columns) { return (columns + kPanel - 1) / kPanel * kPanel; }

/// c (rows, columns) = scale * a times panels of `depth` rows.
void head_product(const AttentionHead& head, const float* a, int64_t a_row, const float* panels, int64_t panel_depth, int64_t rows,
                  int64_t depth, int64_t columns, float scale, float* c, int64_t c_row) {
  GemmBlock block;
  block.rows = rows;
  block.columns = columns;
  block.depth = depth;
  block.a = a;
  block.a_row = a_row;
  block.b = panels;
  block.b_panel = panel_depth * kPanel;
  block.c = c;
  block.c_row = c_row;
  block.alpha = scale;
  block.deterministic = head.deterministic;
  gemm_block(block);
}

/// How many keys from the first on query `i` may see.
int64_t head_reach(const AttentionHead& head, int64_t i) {
  const bool masked = head.added != nullptr || head.seen != nullptr;
  const int64_t width = masked && head.mask_width < head.keys ? head.mask_width : head.keys;
  return head.causal && i + head.past + 1 < width ? i + head.past + 1 : width;
}

/// Applies the mask to a row of scores and turns it into probabilities.
void head_row(const AttentionHead& head, int64_t i, int64_t reach, float* row) {
  const float masked = -__builtin_inff();
  if (head.added != nullptr) {
    const float* added = head.added + i * head.mask_row;
    for (int64_t j = 0; j < reach; ++j) row[j] += added[j];
  } else if (head.seen != nullptr) {
    const uint8_t* seen = head.seen + i * head.mask_row;
    for (int64_t j = 0; j < reach; ++j) row[j] = seen[j] != 0 ? row[j] : masked;
  }
  bool any = false;
  for (int64_t j = 0; j < reach && !any; ++j) any = !(row[j] == masked);
  if (any && !head.deterministic && !PENLIGHT_SMALL)
    softmax_row_near_f32(row, row, reach);
  else if (any)
    softmax_rows_f32(row, row, 1, reach, false, Parallel{});
  else
    for (int64_t j = 0; j < reach; ++j) row[j] = 0.0f;
  for (int64_t j = reach; j < head.keys; ++j) row[j] = 0.0f;
}

/// Query `i` alone, as in decoding with a cache: bringing keys and values together would take longer than the products.
void head_alone(const AttentionHead& head, int64_t i, float* row) {
  const int64_t reach = head_reach(head, i);
  const float* q = head.q + i * head.q_row;
  for (int64_t j = 0; j < reach; ++j) row[j] = head.scale * dot_f32(q, head.k + j * head.k_row, head.size);
  head_row(head, i, reach, row);
  float* y = head.y + i * head.y_row;
  for (int64_t d = 0; d < head.value_size; ++d) y[d] = 0.0f;
  for (int64_t j = 0; j < reach; ++j) {
    const float weight = row[j], *v = head.v + j * head.v_row;
    for (int64_t d = 0; d < head.value_size; ++d) y[d] += weight * v[d];
  }
}

}  // namespace

bool attention_head_floats(int64_t keys, int64_t size, int64_t value_size, int64_t* floats) {
  int64_t padded_keys, padded_values, k, v, scores;
  return checked_add(keys, kPanel, &padded_keys) && checked_add(value_size, kPanel, &padded_values) &&
         checked_mul(padded_keys, size, &k) && checked_mul(padded_values, keys, &v) && checked_mul(keys, kHeadQueries, &scores) &&
         checked_add(k, v, floats) && checked_add(*floats, scores, floats);
}

void attention_head_f32(const AttentionHead& head, float* room) {
  if (head.queries <= kHeadFew) {
    for (int64_t i = 0; i < head.queries; ++i) head_alone(head, i, room);
    return;
  }
  float *keys = room, *values = keys + head_panels(head.keys) * head.size;
  float* scores = values + head_panels(head.value_size) * head.keys;
  gemm_pack(head.k, 1, head.k_row, head.size, 0, head.keys, keys);
  gemm_pack(head.v, head.v_row, 1, head.keys, 0, head.value_size, values);
  for (int64_t i = 0; i < head.queries; i += kHeadQueries) {
    const int64_t rows = head.queries - i < kHeadQueries ? head.queries - i : kHeadQueries;
    const int64_t reach = head_reach(head, i + rows - 1);
    head_product(head, head.q + i * head.q_row, head.q_row, keys, head.size, rows, head.size, reach, head.scale, scores, head.keys);
    for (int64_t r = 0; r < rows; ++r) head_row(head, i + r, head_reach(head, i + r), scores + r * head.keys);
    head_product(head, scores, head.keys, values, head.keys, rows, reach, head.value_size, 1.0f, head.y + i * head.y_row,
                 head.y_row);
  }
}

}  // namespace penlight
