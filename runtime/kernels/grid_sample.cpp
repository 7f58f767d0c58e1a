// GridSample: values of an image at given places, nearest, linear or cubic. SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "rare_elements.h"
#include "shape_rules.h"

namespace penlight {

namespace {

enum class GridMode : int { kLinear, kNearest, kCubic };
enum class GridPadding : int { kZeros, kBorder, kReflection };

constexpr int kGridRank = 3;  // spatial dimensions
constexpr int kGridTaps = 4;
constexpr uint32_t kGridTypes = dtype_bit(DType::kF32) | dtype_bit(DType::kF64) | dtype_bit(DType::kF16);

struct GridState {
  GridMode mode = GridMode::kLinear;
  GridPadding padding = GridPadding::kZeros;
  bool align_corners = false;
  int rank = 0;
  int64_t batch = 0, channels = 0, places = 0;
  int64_t in[kGridRank] = {};
};

/// The elements around a place along one dimension; index -1: zero.
struct GridTaps {
  int count = 1;
  int64_t index[kGridTaps] = {};
  double weight[kGridTaps] = {};
};

Status read_grid_attributes(Context& context, GridState* s) {
  const char *mode = context.attributes->text("mode"), *padding = context.attributes->text("padding_mode");
  const char* const modes[] = {"linear", "nearest", "cubic", "bilinear", "bicubic"};
  constexpr GridMode kModes[] = {GridMode::kLinear, GridMode::kNearest, GridMode::kCubic, GridMode::kLinear, GridMode::kCubic};
  const char* const paddings[] = {"zeros", "border", "reflection"};
  bool known = mode == nullptr, padding_known = padding == nullptr;
  for (int i = 0; i < 5 && !known; ++i) {
    known = strcmp(mode, modes[i]) == 0;
    if (known) s->mode = kModes[i];
  }
  for (int i = 0; i < 3 && !padding_known; ++i) {
    padding_known = strcmp(padding, paddings[i]) == 0;
    if (padding_known) s->padding = static_cast<GridPadding>(i);
  }
  if (!known || !padding_known) return context.fail(Status::kInvalidProgram, "mode or padding_mode is not known");
  s->align_corners = context.attributes->integer("align_corners", 0) != 0;
  return Status::kOk;
}

/// Folds x back at the borders until it lies between them.
double grid_reflect(double x, double low, double high) {
  const double range = high - low;
  if (!(range > 0.0)) return low;
  const double folded = fmod(fabs(x - low), 2.0 * range);
  return low + (folded <= range ? folded : 2.0 * range - folded);
}

double grid_limit(double x, double low, double high) { return x > low ? (x < high ? x : high) : low; }

/// From [-1, 1] to the places of elements, then into the image as the padding says.
double grid_place(const GridState& s, double normalized, int64_t size) {
  const double n = static_cast<double>(size), low = s.align_corners ? 0.0 : -0.5, high = s.align_corners ? n - 1.0 : n - 0.5;
  double x = s.align_corners ? (normalized + 1.0) / 2.0 * (n - 1.0) : ((normalized + 1.0) * n - 1.0) / 2.0;
  if (s.mode == GridMode::kNearest) x = rint(x);
  if (x >= low && x <= high) return x;
  if (s.padding == GridPadding::kBorder) return grid_limit(x, 0.0, n - 1.0);
  if (s.padding == GridPadding::kReflection) return grid_reflect(x, low, high);
  return x;
}

/// The element at a whole position, -1 for the zeros around the image.
int64_t grid_index(const GridState& s, double at, int64_t size) {
  const double n = static_cast<double>(size);
  if (!(at >= 0.0 && at <= n - 1.0)) {
    if (s.padding == GridPadding::kZeros) return -1;
    if (s.padding == GridPadding::kReflection)
      at = s.align_corners ? grid_reflect(at, 0.0, n - 1.0) : grid_reflect(at, -0.5, n - 0.5);
  }
  return static_cast<int64_t>(grid_limit(at, 0.0, n - 1.0));
}

void grid_weights(const GridState& s, double fraction, double* weights) {
  const double a = -0.75, t = fraction, u = 1.0 - fraction;
  if (s.mode == GridMode::kLinear) {
    weights[0] = u;
    weights[1] = t;
    return;
  }
  weights[0] = ((a * (t + 1.0) - 5.0 * a) * (t + 1.0) + 8.0 * a) * (t + 1.0) - 4.0 * a;
  weights[1] = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
  weights[2] = ((a + 2.0) * u - (a + 3.0)) * u * u + 1.0;
  weights[3] = ((a * (u + 1.0) - 5.0 * a) * (u + 1.0) + 8.0 * a) * (u + 1.0) - 4.0 * a;
}

GridTaps grid_taps(const GridState& s, double normalized, int64_t size) {
  GridTaps taps;
  const double x = grid_place(s, normalized, size);
  if (s.mode == GridMode::kNearest) {
    taps.index[0] = grid_index(s, x, size);
    taps.weight[0] = 1.0;
    return taps;
  }
  const double first = floor(x) - (s.mode == GridMode::kCubic ? 1.0 : 0.0);
  taps.count = s.mode == GridMode::kCubic ? 4 : 2;
  for (int i = 0; i < taps.count; ++i) taps.index[i] = grid_index(s, first + static_cast<double>(i), size);
  grid_weights(s, x - floor(x), taps.weight);
  return taps;
}

/// The weighted sum over the taps of dimension D and those after it. D is a constant so that the compiler sees where it ends.
template <int D, typename Read>
double grid_value(const GridState& s, const GridTaps* taps, const Read& image, int64_t offset) {
  if constexpr (D < kGridRank) {
    if (D < s.rank) {
      double sum = 0;
      for (int i = 0; i < taps[D].count; ++i)
        if (taps[D].index[i] >= 0)
          sum += taps[D].weight[i] * grid_value<D + 1>(s, taps, image, offset * s.in[D] + taps[D].index[i]);
      return sum;
    }
  }
  return image(offset);
}

/// The output of one channel at one place; the image starts at element `first`.
double grid_sample_value(const GridState& s, const GridTaps* taps, const Tensor& x, const RealElements& reals, int64_t first) {
  if (x.dtype == DType::kF32) {
    const float* image = x.as<float>() + first;
    return grid_value<0>(
        s, taps, [image](int64_t i) { return static_cast<double>(image[i]); }, int64_t{0});
  }
  return grid_value<0>(
      s, taps, [&](int64_t i) { return reals.read(x.data, first + i); }, int64_t{0});
}

}  // namespace

Status grid_sample_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kGridTypes));
  PENLIGHT_TRY(check_dtype(context, 1, kGridTypes));
  PENLIGHT_TRY(check_rank(context, 0, 3, kGridRank + 2));
  const Shape &x = context.input(0).shape, &grid = context.input(1).shape;
  GridState& s = context.state_as<GridState>();
  s = GridState{};
  PENLIGHT_TRY(read_grid_attributes(context, &s));
  s.rank = x.rank - 2;
  if (grid.rank != x.rank || grid.dims[0] != x.dims[0] || grid.dims[x.rank - 1] != s.rank)
    return context.fail(Status::kShapeMismatch, "the grid must have shape (%lld, ..., %d)", static_cast<long long>(x.dims[0]),
                        s.rank);
  s.batch = x.dims[0];
  s.channels = x.dims[1];
  s.places = dims_product(grid, 1, s.rank + 1);
  Shape out = x;
  for (int d = 0; d < s.rank; ++d) {
    s.in[d] = x.dims[2 + d];
    out.dims[2 + d] = grid.dims[1 + d];
  }
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  int64_t count = 0;
  if (!checked_count(out, &count) || (x.count() == 0 && count > 0))
    return context.fail(Status::kShapeMismatch, "the input is empty");
  context.macs = saturating_mul(static_cast<uint64_t>(count), uint64_t{2} << (s.mode == GridMode::kCubic ? 2 * s.rank : s.rank));
  return Status::kOk;
}

Status grid_sample_run(Context& context) {
  const GridState& s = context.state_as<GridState>();
  const Tensor &x = context.input(0), &grid = context.input(1), &y = context.output(0);
  const RealElements reals = real_elements(x.dtype), places = real_elements(grid.dtype);
  if (y.shape.count() == 0) return Status::kOk;
  int64_t size = 1;
  for (int d = 0; d < s.rank; ++d) size *= s.in[d];
  parallel_ranges(context_parallel(context), static_cast<size_t>(s.batch * s.places), 256, [&](size_t begin, size_t end) {
    for (int64_t p = static_cast<int64_t>(begin); p < static_cast<int64_t>(end); ++p) {
      GridTaps taps[kGridRank];
      for (int d = 0; d < s.rank; ++d) taps[d] = grid_taps(s, places.read(grid.data, p * s.rank + s.rank - 1 - d), s.in[d]);
      for (int64_t c = 0; c < s.channels; ++c) {
        const int64_t plane = p / s.places * s.channels + c;
        reals.write(y.data, plane * s.places + p % s.places, grid_sample_value(s, taps, x, reals, plane * size));
      }
    }
  });
  return Status::kOk;
}

}  // namespace penlight
