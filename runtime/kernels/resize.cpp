// Resize by the nearest element or linearly along each dimension. SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "index.h"

namespace penlight {

namespace {

enum class ResizeMode : int { kNearest, kLinear };
enum class ResizeCoordinates : int { kHalfPixel, kPytorchHalfPixel, kAlignCorners, kAsymmetric, kHalfPixelSymmetric };
enum class ResizeRounding : int { kPreferFloor, kPreferCeil, kFloor, kCeil };

struct ResizeState {
  ResizeMode mode = ResizeMode::kNearest;
  ResizeCoordinates coordinates = ResizeCoordinates::kHalfPixel;
  ResizeRounding rounding = ResizeRounding::kPreferFloor;
  float scales[kMaxRank] = {};
  int64_t table[kMaxRank] = {};  // where a dimension's entries begin
};

/// Where an output position reads: one element, or two with weights 1 - weight and weight.
struct ResizeEntry {
  int64_t low, high;
  float weight;
};

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
  const char* const modes[] = {"nearest", "linear"};
  const char* const coordinates[] = {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"};
  const char* const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
  int mode = 0, coordinate = 0, rounding = 0;
  PENLIGHT_TRY(resize_choice(context, "mode", modes, 2, &mode));
  PENLIGHT_TRY(resize_choice(context, "coordinate_transformation_mode", coordinates, 5, &coordinate));
  PENLIGHT_TRY(resize_choice(context, "nearest_mode", roundings, 4, &rounding));
  state->mode = static_cast<ResizeMode>(mode);
  state->coordinates = static_cast<ResizeCoordinates>(coordinate);
  state->rounding = static_cast<ResizeRounding>(rounding);
  if (context.attributes->integer("antialias", 0) != 0 || context.attributes->integer("exclude_outside", 0) != 0)
    return context.fail(Status::kUnsupportedOperator, "antialias and exclude_outside are not supported");
  return Status::kOk;
}

Status read_resize_scales(Context& context, int count, const int64_t* axes, const Shape& x, ResizeState* state, Shape* out) {
  const Tensor& scales = context.input(2);
  if (scales.dtype != DType::kF32 || scales.shape.count() != count || scales.data == nullptr)
    return context.fail(Status::kUnsupportedOperator, "scales must be %d float32 values that are known before the run", count);
  for (int i = 0; i < count; ++i) {
    const float scale = scales.as<float>()[i];
    const double size = floor(static_cast<double>(x.dims[axes[i]]) * static_cast<double>(scale));
    if (!(scale > 0.0f) || !(size < 4.0e18)) return context.fail(Status::kShapeMismatch, "scale %d is not usable", i);
    out->dims[axes[i]] = static_cast<int64_t>(size);
    state->scales[axes[i]] = scale;
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
  float common = 0.0f;
  for (int i = 0; i < count; ++i) {
    if (sizes[i] < 0 || x.dims[axes[i]] == 0) return context.fail(Status::kShapeMismatch, "size %d is not usable", i);
    const float scale = static_cast<float>(sizes[i]) / static_cast<float>(x.dims[axes[i]]);
    const bool replaces = policy == 1 ? scale < common : scale > common;
    common = i == 0 || replaces ? scale : common;
    state->scales[axes[i]] = scale;
    out->dims[axes[i]] = sizes[i];
  }
  for (int i = 0; policy != 0 && i < count; ++i) {
    state->scales[axes[i]] = common;
    out->dims[axes[i]] = static_cast<int64_t>(floor(static_cast<double>(x.dims[axes[i]]) * static_cast<double>(common) + 0.5));
  }
  return Status::kOk;
}

double resize_position(const ResizeState& s, int64_t o, int64_t in, int64_t out, float scale) {
  const double x = static_cast<double>(o), factor = static_cast<double>(scale);
  switch (s.coordinates) {
    case ResizeCoordinates::kHalfPixel:
      break;
    case ResizeCoordinates::kPytorchHalfPixel:
      if (out == 1) return 0.0;
      break;
    case ResizeCoordinates::kAlignCorners:
      return out == 1 ? 0.0 : x * static_cast<double>(in - 1) / static_cast<double>(out - 1);
    case ResizeCoordinates::kAsymmetric:
      return x / factor;
    case ResizeCoordinates::kHalfPixelSymmetric: {
      const double adjustment = static_cast<double>(out) / (factor * static_cast<double>(in)),
                   centre = static_cast<double>(in) / 2.0;
      return centre * (1.0 - adjustment) + (x + 0.5) / factor - 0.5;
    }
  }
  return (x + 0.5) / factor - 0.5;
}

int64_t clamp_position(double position, int64_t in) {
  if (!(position > 0.0)) return 0;
  return position >= static_cast<double>(in - 1) ? in - 1 : static_cast<int64_t>(position);
}

double resize_round(ResizeRounding rounding, double x) {
  switch (rounding) {
    case ResizeRounding::kPreferFloor:
      return ceil(x - 0.5);
    case ResizeRounding::kPreferCeil:
      return floor(x + 0.5);
    case ResizeRounding::kFloor:
      return floor(x);
    case ResizeRounding::kCeil:
      return ceil(x);
  }
  return x;
}

ResizeEntry resize_entry(const ResizeState& s, int64_t o, int64_t in, int64_t out, float scale) {
  if (in == out && scale == 1.0f) return {o, o, 0.0f};
  const double position = resize_position(s, o, in, out, scale);
  if (s.mode == ResizeMode::kNearest) {
    const int64_t place = clamp_position(resize_round(s.rounding, position), in);
    return {place, place, 0.0f};
  }
  const double whole = floor(position);
  return {clamp_position(whole, in), clamp_position(whole + 1.0, in), static_cast<float>(position - whole)};
}

/// The linear combination of the corners around one output, over the dimensions before the last `depth` ones.
template <typename T>
double resize_value(const Shape& x, const ResizeEntry* const* entries, const T* data, int d, int64_t offset) {
  if (d == x.rank) return static_cast<double>(static_cast<typename Element<T>::Compute>(data[offset]));
  const ResizeEntry& e = *entries[d];
  const double low = resize_value(x, entries, data, d + 1, offset * x.dims[d] + e.low);
  if (e.weight == 0.0f) return low;
  const double high = resize_value(x, entries, data, d + 1, offset * x.dims[d] + e.high), w = static_cast<double>(e.weight);
  return low * (1.0 - w) + high * w;
}

/// Calls body(output position, entries per dimension) for outputs [begin, end).
template <typename Body>
void resize_each(const ResizeState& s, const Shape& y, const ResizeEntry* table, size_t begin, size_t end, Body&& body) {
  for (int64_t o = static_cast<int64_t>(begin); o < static_cast<int64_t>(end); ++o) {
    const ResizeEntry* entries[kMaxRank];
    int64_t rest = o;
    for (int d = y.rank - 1; d >= 0; --d) {
      entries[d] = table + s.table[d] + rest % y.dims[d];
      rest /= y.dims[d];
    }
    body(o, entries);
  }
}

}  // namespace

Status resize_infer(Context& context) {
  ResizeState& state = context.state_as<ResizeState>();
  state = ResizeState{};
  PENLIGHT_TRY(read_resize_attributes(context, &state));
  const bool nearest = state.mode == ResizeMode::kNearest;
  PENLIGHT_TRY(check_dtype(context, 0, nearest ? kAllTypes : kFloatTypes));
  const Shape& x = context.input(0).shape;
  int64_t axes[kMaxRank];
  const int64_t named = context.attributes->integers("axes", axes, kMaxRank);
  const int count = named < 0 || named > kMaxRank ? x.rank : static_cast<int>(named);
  uint32_t mask = 0;
  if (named >= 0) PENLIGHT_TRY(axes_to_mask(context, axes, count, x.rank, &mask));
  Shape out = x;
  for (int i = 0; i < x.rank; ++i) state.scales[i] = 1.0f;
  for (int i = 0; i < count; ++i) axes[i] = named < 0 ? i : axes[i] < 0 ? axes[i] + x.rank : axes[i];
  const bool by_sizes = context.input(3).present() && context.input(3).shape.count() > 0;
  PENLIGHT_TRY(by_sizes ? read_resize_sizes(context, count, axes, x, &state, &out)
                        : read_resize_scales(context, count, axes, x, &state, &out));
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  if (x.count() == 0 && out.count() > 0) return context.fail(Status::kShapeMismatch, "the input is empty");
  int64_t entries = 0;
  for (int i = 0; i < x.rank; ++i) {
    state.table[i] = entries;
    if (!checked_add(entries, out.dims[i], &entries)) return scratch_too_large(context);
  }
  context.macs = saturating_mul(static_cast<uint64_t>(out.count()), nearest ? 1 : 4);
  return add_scratch(context, entries, sizeof(ResizeEntry)) ? Status::kOk : scratch_too_large(context);
}

Status resize_run(Context& context) {
  const ResizeState& s = context.state_as<ResizeState>();
  const Tensor& x = context.input(0);
  Tensor& y = context.output(0);
  if (y.shape.count() == 0) return Status::kOk;
  ResizeEntry* table = static_cast<ResizeEntry*>(context.scratch);
  for (int d = 0; d < x.shape.rank; ++d)
    for (int64_t o = 0; o < y.shape.dims[d]; ++o)
      table[s.table[d] + o] = resize_entry(s, o, x.shape.dims[d], y.shape.dims[d], s.scales[d]);
  const size_t size = dtype_size(x.dtype);
  parallel_ranges(context_parallel(context), static_cast<size_t>(y.shape.count()), 4096, [&](size_t begin, size_t end) {
    if (s.mode == ResizeMode::kNearest) {
      resize_each(s, y.shape, table, begin, end, [&](int64_t o, const ResizeEntry* const* entries) {
        int64_t at = 0;
        for (int d = 0; d < x.shape.rank; ++d) at = at * x.shape.dims[d] + entries[d]->low;
        copy_element(x.as<char>() + static_cast<size_t>(at) * size, y.as<char>() + static_cast<size_t>(o) * size, size);
      });
      return;
    }
    with_numeric_type(x.dtype, [&](auto tag) {
      using T = typename decltype(tag)::Type;
      resize_each(s, y.shape, table, begin, end, [&](int64_t o, const ResizeEntry* const* entries) {
        y.as<T>()[o] = T(static_cast<typename Element<T>::Compute>(resize_value(x.shape, entries, x.as<T>(), 0, int64_t{0})));
      });
    });
  });
  return Status::kOk;
}

}  // namespace penlight
