// Resize by the nearest element, or linearly or cubically along each dimension. SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "index.h"
#include "resize_taps.h"

namespace penlight {

namespace {

Status resize_choice(Context& context, const char* attribute, const char* const* names, int count, int* choice) {
  const char* text = context.attributes->text(attribute);
  if (text == nullptr) return Status::kOk;
  for (int i = 0; i < count; ++i) {
    if (strcmp(text, names[i]) != 0) continue;
    *choice = i;
    return Status::kOk;
  }
  return context.fail(Status::kUnsupportedOperator, "%s '%s' is not supported", attribute, text);
}

Status read_resize_attributes(Context& context, ResizeState* state) {
  const char* const modes[] = {"nearest", "linear", "cubic"};
  const char* const coordinates[] = {"half_pixel", "pytorch_half_pixel",   "align_corners",
                                     "asymmetric", "half_pixel_symmetric", "tf_crop_and_resize"};
  const char* const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
  int mode = 0, coordinate = 0, rounding = 0;
  PENLIGHT_TRY(resize_choice(context, "mode", modes, 3, &mode));
  PENLIGHT_TRY(resize_choice(context, "coordinate_transformation_mode", coordinates, 6, &coordinate));
  PENLIGHT_TRY(resize_choice(context, "nearest_mode", roundings, 4, &rounding));
  state->mode = static_cast<ResizeMode>(mode);
  state->coordinates = static_cast<ResizeCoordinates>(coordinate);
  state->rounding = static_cast<ResizeRounding>(rounding);
  state->antialias = context.attributes->integer("antialias", 0) != 0;
  state->exclude_outside = context.attributes->integer("exclude_outside", 0) != 0;
  state->cubic = context.attributes->real("cubic_coeff_a", -0.75);
  state->extrapolation = context.attributes->real("extrapolation_value", 0.0);
  return Status::kOk;
}

Status read_resize_scales(Context& context, int count, const int64_t* axes, const Shape& x, ResizeState* state, Shape* out) {
  const Tensor& scales = context.input(2);
  if (scales.dtype != DType::kF32 || scales.shape.count() != count)
    return context.fail(Status::kUnsupportedOperator, "scales must be %d float32 values", count);
  if (scales.data == nullptr && count > 0) return wait_for_values(context, 2);
  for (int i = 0; i < count; ++i) {
    const float scale = scales.as<float>()[i];
    const double size = floor(static_cast<double>(x.dims[axes[i]]) * static_cast<double>(scale));
    if (!(scale > 0.0f) || !(size < 4.0e18)) return context.fail(Status::kShapeMismatch, "scale %d is not usable", i);
    out->dims[axes[i]] = static_cast<int64_t>(size);
    state->scales[axes[i]] = static_cast<double>(scale);
  }
  return Status::kOk;
}

/// keep_aspect_ratio_policy: one scale for all named dimensions, the smallest or the largest that the sizes ask for.
Status read_resize_sizes(Context& context, int count, const int64_t* axes, const Shape& x, ResizeState* state, Shape* out) {
  int64_t sizes[kMaxRank];
  int given = 0, policy = 0;
  const char* const policies[] = {"stretch", "not_larger", "not_smaller"};
  PENLIGHT_TRY(read_known_integers(context, 3, "sizes", sizes, kMaxRank, &given));
  PENLIGHT_TRY(resize_choice(context, "keep_aspect_ratio_policy", policies, 3, &policy));
  if (given != count) return context.fail(Status::kShapeMismatch, "sizes has %d entries, expected %d", given, count);
  double common = 0.0;
  for (int i = 0; i < count; ++i) {
    if (sizes[i] < 0 || x.dims[axes[i]] == 0) return context.fail(Status::kShapeMismatch, "size %d is not usable", i);
    const double scale = static_cast<double>(sizes[i]) / static_cast<double>(x.dims[axes[i]]);
    const bool replaces = policy == 1 ? scale < common : scale > common;
    common = i == 0 || replaces ? scale : common;
    state->scales[axes[i]] = scale;
    out->dims[axes[i]] = sizes[i];
  }
  for (int i = 0; policy != 0 && i < count; ++i) {
    state->scales[axes[i]] = common;
    const double size = floor(static_cast<double>(x.dims[axes[i]]) * common + 0.5);
    if (!(size < 9.2e18)) return context.fail(Status::kShapeMismatch, "size %d is not usable", i);
    out->dims[axes[i]] = static_cast<int64_t>(size);
  }
  return Status::kOk;
}

Status check_resize_region(Context& context, const ResizeState& state) {
  if (state.coordinates != ResizeCoordinates::kCropAndResize) return Status::kOk;
  PENLIGHT_TRY(check_dtype(context, 1, dtype_bit(DType::kF32) | dtype_bit(DType::kF64) | dtype_bit(DType::kF16)));
  if (context.input(1).shape.count() == 2 * state.roi_count) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "roi must have %d numbers", 2 * state.roi_count);
}

double resize_region(const Tensor& roi, int i) {
  if (roi.dtype == DType::kF64) return roi.as<double>()[i];
  return static_cast<double>(roi.dtype == DType::kF32 ? roi.as<float>()[i] : static_cast<float>(roi.as<Half>()[i]));
}

/// The weighted sum over the taps of dimensions d and later, `offset` counting the elements before.
template <typename T>
double resize_value(const ResizeState& s, const Shape& x, const ResizeTap* const* taps, const T* data, int d, int64_t offset) {
  if (d == x.rank) return static_cast<double>(static_cast<typename Element<T>::Compute>(data[offset]));
  double sum = 0;
  for (int64_t i = 0; i < s.taps[d]; ++i) {
    const ResizeTap& tap = taps[d][i];
    if (tap.weight != 0.0) sum += tap.weight * resize_value(s, x, taps, data, d + 1, offset * x.dims[d] + tap.index);
  }
  return sum;
}

/// Calls body(output position, taps per dimension, whether the region covers it) for outputs [begin, end).
template <typename Body>
void resize_each(const ResizeState& s, const Shape& y, const ResizeTap* table, size_t begin, size_t end, Body&& body) {
  for (int64_t o = static_cast<int64_t>(begin); o < static_cast<int64_t>(end); ++o) {
    const ResizeTap* taps[kMaxRank];
    bool inside = true;
    int64_t rest = o;
    for (int d = y.rank - 1; d >= 0; --d) {
      taps[d] = table + s.table[d] + rest % y.dims[d] * s.taps[d];
      inside = inside && taps[d]->index >= 0;
      rest /= y.dims[d];
    }
    body(o, taps, inside);
  }
}

/// The taps of every output position along every dimension.
void fill_resize_table(Context& context, const ResizeState& s, ResizeTap* table) {
  const Shape &x = context.input(0).shape, &y = context.output(0).shape;
  const bool crops = s.coordinates == ResizeCoordinates::kCropAndResize;
  for (int d = 0; d < x.rank; ++d) {
    ResizeLine line = {x.dims[d], y.dims[d], s.scales[d], 0.0, 1.0};
    if (crops && s.roi_place[d] >= 0) {
      line.begin = resize_region(context.input(1), s.roi_place[d]);
      line.end = resize_region(context.input(1), s.roi_count + s.roi_place[d]);
    }
    for (int64_t o = 0; o < y.dims[d]; ++o) resize_taps(s, line, o, s.taps[d], table + s.table[d] + o * s.taps[d]);
  }
}

}  // namespace

Status resize_infer(Context& context) {
  ResizeState& state = context.state_as<ResizeState>();
  state = ResizeState{};
  PENLIGHT_TRY(read_resize_attributes(context, &state));
  const bool nearest = state.mode == ResizeMode::kNearest;
  const bool copies = nearest && state.coordinates != ResizeCoordinates::kCropAndResize;
  PENLIGHT_TRY(check_dtype(context, 0, copies ? kAllTypes : kFloatTypes));
  const Shape& x = context.input(0).shape;
  int64_t axes[kMaxRank];
  const int64_t named = context.attributes->integers("axes", axes, kMaxRank);
  const int count = named < 0 || named > kMaxRank ? x.rank : static_cast<int>(named);
  uint32_t mask = 0;
  if (named >= 0) PENLIGHT_TRY(axes_to_mask(context, axes, count, x.rank, &mask));
  Shape out = x;
  for (int i = 0; i < x.rank; ++i) {
    state.scales[i] = 1.0;
    state.roi_place[i] = -1;
  }
  state.roi_count = count;
  for (int i = 0; i < count; ++i) {
    axes[i] = named < 0 ? i : axes[i] < 0 ? axes[i] + x.rank : axes[i];
    state.roi_place[axes[i]] = i;
  }
  PENLIGHT_TRY(check_resize_region(context, state));
  const bool by_sizes = context.input(3).present() && context.input(3).shape.count() > 0;
  PENLIGHT_TRY(by_sizes ? read_resize_sizes(context, count, axes, x, &state, &out)
                        : read_resize_scales(context, count, axes, x, &state, &out));
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  if (x.count() == 0 && out.count() > 0) return context.fail(Status::kShapeMismatch, "the input is empty");
  int64_t entries = 0;
  uint64_t taps = 1;
  for (int i = 0; i < x.rank; ++i) {
    int64_t own = 0;
    state.table[i] = entries;
    state.taps[i] = resize_tap_count(state, {x.dims[i], out.dims[i], state.scales[i], 0.0, 1.0});
    taps = saturating_mul(taps, static_cast<uint64_t>(state.taps[i]));
    if (state.taps[i] == 0 || !checked_mul(out.dims[i], state.taps[i], &own) || !checked_add(entries, own, &entries))
      return scratch_too_large(context);
  }
  // A tap has one step for each dimension.
  context.macs = saturating_add(
      saturating_mul(static_cast<uint64_t>(out.count()), saturating_mul(taps, static_cast<uint64_t>(x.rank) / 2 + 1)),
      saturating_mul(4, static_cast<uint64_t>(out.count() == 0 ? 0 : entries)));
  return add_scratch(context, entries, sizeof(ResizeTap)) ? Status::kOk : scratch_too_large(context);
}

Status resize_run(Context& context) {
  const ResizeState& s = context.state_as<ResizeState>();
  const Tensor& x = context.input(0);
  Tensor& y = context.output(0);
  if (y.shape.count() == 0) return Status::kOk;
  ResizeTap* table = static_cast<ResizeTap*>(context.scratch);
  fill_resize_table(context, s, table);
  const bool copies = s.mode == ResizeMode::kNearest && s.coordinates != ResizeCoordinates::kCropAndResize;
  const size_t size = dtype_size(x.dtype);
  parallel_ranges(context_parallel(context), static_cast<size_t>(y.shape.count()), 4096, [&](size_t begin, size_t end) {
    if (copies) {
      resize_each(s, y.shape, table, begin, end, [&](int64_t o, const ResizeTap* const* taps, bool) {
        int64_t at = 0;
        for (int d = 0; d < x.shape.rank; ++d) at = at * x.shape.dims[d] + taps[d]->index;
        copy_element(x.as<char>() + static_cast<size_t>(at) * size, y.as<char>() + static_cast<size_t>(o) * size, size);
      });
      return;
    }
    FloatTypes::call(x.dtype, [&](auto tag) {
      using T = typename decltype(tag)::Type;
      resize_each(s, y.shape, table, begin, end, [&](int64_t o, const ResizeTap* const* taps, bool inside) {
        const double value = inside ? resize_value(s, x.shape, taps, x.as<T>(), 0, int64_t{0}) : s.extrapolation;
        y.as<T>()[o] = T(static_cast<typename Element<T>::Compute>(value));
      });
    });
  });
  return Status::kOk;
}

}  // namespace penlight
