// Bare recurrent layers of floats with the usual gate functions. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "parallel.h"
#include "vector_math.h"

namespace penlight {

enum class Recurrence : int { kRnn, kGru, kLstm };

/// A recurrent layer whose gates are Sigmoid and Tanh, without clipping and peepholes, and whose sequences are all as long as
/// `steps`. Operands lie as the ONNX operators have them.
struct RecurrentLayer {
  Recurrence kind = Recurrence::kLstm;
  int64_t steps = 0, batch = 0, features = 0, hidden = 0, directions = 1;
  bool reverse = false;      // the only direction runs backwards; the second of two always does
  bool batch_first = false;  // x: (batch, steps, features) instead of (steps, batch, features), and so on
  bool linear_before_reset = false;
  bool deterministic = false;  // as GemmBlock has it
  bool is_packed = false;      // `panels` is there when it runs, and w and r are not read
  const float* panels = nullptr;
  const float *x = nullptr, *w = nullptr, *r = nullptr, *bias = nullptr, *first_h = nullptr, *first_c = nullptr;
  float *y = nullptr, *last_h = nullptr, *last_c = nullptr;  // each may be null
};

/// Floats of what recurrent_pack writes: the weights of all directions as the steps read them. False when the number does not fit.
bool recurrent_panel_floats(const RecurrentLayer& layer, int64_t* floats);
void recurrent_pack(const RecurrentLayer& layer, float* panels);

/// Floats of scratch; false when the number does not fit. Only sizes and is_packed are looked at.
bool recurrent_scratch_floats(const RecurrentLayer& layer, int64_t* floats);
void recurrent_f32(const RecurrentLayer& layer, float* scratch, const Parallel& parallel);

}  // namespace penlight
