// Convolutions of 3 x 3 taps by Winograd's minimal filtering, with weights that were transformed before. SPDX-License-Identifier:
// Apache-2.0
#pragma once

#include "conv2d.h"

namespace penlight {

/// Outputs per side of a tile (Lavin and Gray 2015, arXiv 1509.09308): 4 takes 2.25 products for an output where the direct
/// convolution takes 9, 2 takes 4. 0: it does not pay, or the convolution is of another kind. Results differ from those of the
/// direct convolution by a few units in the sixth digit of the largest value, so that deterministic sessions do without it.
int64_t winograd_tile(const Conv2d& conv);

/// Floats of the transformed weights, (tile + 2)^2 matrices in panels of 16 filters; false when the number does not fit.
bool winograd_weight_floats(const Conv2d& conv, int64_t tile, int64_t* floats);
void winograd_pack(const Conv2d& conv, int64_t tile, const float* weight, float* packed);

bool winograd_scratch_floats(const Conv2d& conv, int64_t tile, size_t threads, int64_t* floats);
/// As conv2d_f32; `packed` is what winograd_pack made.
void winograd_f32(const Conv2d& conv, int64_t tile, const float* x, const float* packed, const float* bias, float* y,
                  float* scratch, const Parallel& parallel);

/// A tile of one block of channels or filters, lanes side by side.
struct WinogradTile {
  const float* image;  // the patch's first place, or the sums
  int64_t row;         // floats between rows of the image
  float* to;           // of the first of the (tile + 2)^2 matrices, or 16 floats for each filter
  int64_t step;        // floats between the matrices
  const float* bias;   // of the filters, `lanes` of them
  float low, high;
};

struct WinogradTable {
  int64_t lanes;
  void (*input[2])(const WinogradTile& t);   // tiles of 2 and of 4
  void (*output[2])(const WinogradTile& t);  // outputs of a filter: rows of `tile`, 16 floats for each filter
};

constexpr int64_t kWinogradOutputs = 16;  // floats of one filter's outputs; tiles of 2 use 4 of them

}  // namespace penlight
