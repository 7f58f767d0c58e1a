// Bare attention of one head of floats. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "vector_math.h"

namespace penlight {

/// Row r of q is at q + r * q_row, and so on. `mask_row` 0: one row of the mask serves all queries.
struct AttentionHead {
  int64_t queries = 0, keys = 0, size = 0, value_size = 0;
  const float *q = nullptr, *k = nullptr, *v = nullptr;
  int64_t q_row = 0, k_row = 0, v_row = 0;
  float* y = nullptr;
  int64_t y_row = 0;
  float scale = 1;
  bool causal = false;  // query i sees the keys up to i + past
  int64_t past = 0;
  const float* added = nullptr;          // to the scores; null: none
  const uint8_t* seen = nullptr;         // 0: masked; null: none
  int64_t mask_row = 0, mask_width = 0;  // keys beyond the width are masked
  bool deterministic = false;            // as GemmBlock has it
};

/// Floats of room that one head needs; false when the number does not fit.
bool attention_head_floats(int64_t keys, int64_t size, int64_t value_size, int64_t* floats);
/// y = softmax(q k' * scale + mask) v; a query that sees no key gives zeros.
void attention_head_f32(const AttentionHead& head, float* room);

}  // namespace penlight
