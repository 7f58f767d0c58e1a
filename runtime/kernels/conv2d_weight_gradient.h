// The bare gradient of the two-dimensional convolution for its weight. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "conv2d.h"

namespace penlight {

/// Floats of scratch on `threads` threads; false when the number does not fit.
bool conv2d_weight_gradient_scratch_floats(const Conv2d& conv, size_t threads, int64_t* floats);

/// dweight from x and dy, summed over the batch in its order; dweight is overwritten.
void conv2d_weight_gradient_f32(const Conv2d& conv, const float* x, const float* dy, float* dweight, float* scratch,
                                const Parallel& parallel);

}  // namespace penlight
