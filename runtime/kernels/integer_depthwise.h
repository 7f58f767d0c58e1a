// Bare 3 x 3 convolutions of 8-bit images where each filter sees one channel. SPDX-License-Identifier: Apache-2.0
#pragma once

#include "integer_conv2d.h"

namespace penlight {

/// Whether these kernels take the convolution: 3 x 3, steps of 1 or 2, no dilation.
bool integer_depthwise_takes(const IntegerConv2d& conv);
bool integer_depthwise_scratch_bytes(const IntegerConv2d& conv, size_t threads, int64_t* bytes);
void integer_depthwise(const IntegerConv2d& conv, void* scratch, const Parallel& parallel);

}  // namespace penlight
