// Gates of recurrent cells, one table of loops for each instruction set. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

namespace penlight {

/// One row of n hidden units. `gates` holds the sums of each gate side by side and gets the gates; `h` and `c` are the state,
/// before and then after the step. Gradients: `g_h` and `g_c` are of the state after the step, then before it, without what
/// goes through the recurrent weights; `g_y` is of the output.
struct RecurrentTable {
  void (*lstm)(float* gates, float* h, float* c, size_t n);
  void (*lstm_gradient)(const float* gates, const float* c, const float* c_before, const float* g_y, const float* g_h, float* g_c,
                        float* g_gates, size_t n);
  void (*gru)(float* gates, float* h, size_t n);  // r, z, n and the state's part of n
  void (*gru_gradient)(const float* gates, const float* h_before, const float* g_y, float* g_h, float* g_in, float* g_own,
                       size_t n);
  void (*rnn)(float* sums, bool is_relu, float* h, size_t n);
  void (*rnn_gradient)(const float* y, bool is_relu, const float* g_y, const float* g_h, float* g_sums, size_t n);
};

}  // namespace penlight
