// The shape rule of operators on two broadcast tensors. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernel.h"

namespace penlight {

/// Inputs 0 and 1 have one dtype and broadcast; output 0 has dtype `out`. Leaves a Broadcast of two operands in the state.
Status broadcast_infer(Context& context, DType out);

}  // namespace penlight
