// The bare gradient of the two-dimensional convolution for its input. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "conv2d.h"

namespace penlight {

/// Floats of scratch on `threads` threads; false when the number does not fit.
bool conv2d_input_gradient_scratch_floats(const Conv2d& conv, size_t threads, int64_t* floats);

/// dx from dy and the weight; dx is overwritten. It is also the transposed convolution of dy; `bias` (channels,) may be null.
void conv2d_input_gradient_f32(const Conv2d& conv, const float* dy, const float* weight, const float* bias, float* dx,
                               float* scratch, const Parallel& parallel);

}  // namespace penlight
