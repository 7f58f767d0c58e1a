// DeformConv: a convolution of images whose taps stand where a second input moves them. SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "shape_rules.h"
#include "window.h"

namespace penlight {

namespace {

using DeformTypes = TypeList<float, double, Half>;

struct DeformState {
  Window window;
  int64_t batch = 0, channels = 0, outputs = 0, groups = 1, offset_groups = 1;
  int64_t taps = 0, places = 0;
  int64_t column = 0;  // taps of all channels: what one place of the output reads
  int64_t parts = 1;   // columns in scratch memory, each for rows of its own
};

/// Between four pixels; those outside are zero.
template <typename T>
float deform_sample(const T* image, int64_t height, int64_t width, double y, double x) {
  if (!(y > -1.0) || !(x > -1.0) || !(y < static_cast<double>(height)) || !(x < static_cast<double>(width))) return 0.0f;
  const double top = floor(y), left = floor(x);
  const auto row = static_cast<int64_t>(top), column = static_cast<int64_t>(left);
  const double down = y - top, right = x - left;
  const auto pixel = [&](int64_t r, int64_t c) {
    const bool inside = r >= 0 && r < height && c >= 0 && c < width;
    return inside ? static_cast<double>(static_cast<typename Element<T>::Compute>(image[r * width + c])) : 0.0;
  };
  const double upper = (1.0 - right) * pixel(row, column) + right * pixel(row, column + 1);
  const double lower = (1.0 - right) * pixel(row + 1, column) + right * pixel(row + 1, column + 1);
  return static_cast<float>((1.0 - down) * upper + down * lower);
}

/// Fills `column` (channels x taps) for one place of the output.
template <typename T>
void deform_gather(Context& context, const DeformState& s, int64_t n, int64_t place, float* column) {
  using C = typename Element<T>::Compute;
  const Window& w = s.window;
  const int64_t share = s.channels / s.offset_groups, pixels = w.in[0] * w.in[1];
  for (int64_t g = 0; g < s.offset_groups; ++g) {
    const T* offsets = context.input(2).as<T>() + ((n * s.offset_groups + g) * s.taps * 2) * s.places + place;
    const T* mask =
        context.input(4).present() ? context.input(4).as<T>() + (n * s.offset_groups + g) * s.taps * s.places + place : nullptr;
    for (int64_t k = 0; k < s.taps; ++k) {
      const int64_t row = place / w.out[1] * w.stride[0] - w.pad_begin[0] + k / w.kernel[1] * w.dilation[0];
      const int64_t left = place % w.out[1] * w.stride[1] - w.pad_begin[1] + k % w.kernel[1] * w.dilation[1];
      const double y = static_cast<double>(row) + static_cast<double>(static_cast<C>(offsets[2 * k * s.places]));
      const double x = static_cast<double>(left) + static_cast<double>(static_cast<C>(offsets[(2 * k + 1) * s.places]));
      const float factor = mask == nullptr ? 1.0f : static_cast<float>(static_cast<C>(mask[k * s.places]));
      for (int64_t c = g * share; c < (g + 1) * share; ++c) {
        const T* image = context.input(0).as<T>() + (n * s.channels + c) * pixels;
        column[c * s.taps + k] = factor * deform_sample(image, w.in[0], w.in[1], y, x);
      }
    }
  }
}

template <typename T>
void deform_place(Context& context, const DeformState& s, int64_t n, int64_t place, const float* column) {
  using C = typename Element<T>::Compute;
  const int64_t length = s.column / s.groups, share = s.outputs / s.groups;
  for (int64_t o = 0; o < s.outputs; ++o) {
    const T* weights = context.input(1).as<T>() + o * length;
    const float* values = column + o / share * length;
    C sum = context.input(3).present() ? static_cast<C>(context.input(3).as<T>()[o]) : C(0);
    for (int64_t i = 0; i < length; ++i) sum += static_cast<C>(weights[i]) * static_cast<C>(values[i]);
    context.output(0).as<T>()[(n * s.outputs + o) * s.places + place] = T(sum);
  }
}

Status deform_operand(Context& context, int i, const int64_t* dims, int rank) {
  if (!context.input(i).present()) return Status::kOk;
  PENLIGHT_TRY(check_same_dtype(context, i, 0));
  if (same_shape(context.input(i).shape, make_shape(dims, rank))) return Status::kOk;
  return context.fail(Status::kShapeMismatch, "input %d does not fit the image, the weights and the groups", i);
}

Status deform_groups(Context& context, DeformState* s) {
  s->groups = context.attributes->integer("group", 1);
  s->offset_groups = context.attributes->integer("offset_group", 1);
  const int64_t inputs = context.input(1).shape.dims[1];
  int64_t channels = 0;
  const bool possible = s->groups >= 1 && s->offset_groups >= 1 && s->offset_groups <= INT32_MAX;
  if (!possible || s->channels % s->offset_groups != 0 || s->outputs % s->groups != 0 ||
      !checked_mul(inputs, s->groups, &channels) || channels != s->channels) {
    return context.fail(Status::kShapeMismatch, "channels, group and offset_group do not fit each other");
  }
  return Status::kOk;
}

}  // namespace

Status deform_conv_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, DeformTypes::kBits));
  PENLIGHT_TRY(check_same_dtype(context, 1, 0));
  PENLIGHT_TRY(check_rank(context, 0, 4, 4));
  PENLIGHT_TRY(check_rank(context, 1, 4, 4));
  const Shape &x = context.input(0).shape, &weights = context.input(1).shape;
  DeformState& s = context.state_as<DeformState>();
  s = DeformState{};
  s.batch = x.dims[0];
  s.channels = x.dims[1];
  s.outputs = weights.dims[0];
  PENLIGHT_TRY(deform_groups(context, &s));
  PENLIGHT_TRY(read_window(context, x, weights.dims + 2, &s.window));
  PENLIGHT_TRY(window_outputs(context, &s.window, false));
  s.taps = weights.dims[2] * weights.dims[3];
  int64_t moved[] = {s.batch, 0, s.window.out[0], s.window.out[1]};
  if (!checked_mul(s.window.out[0], s.window.out[1], &s.places) || !checked_mul(s.channels, s.taps, &s.column) ||
      !checked_mul(2 * s.offset_groups, s.taps, &moved[1]))
    return context.fail(Status::kShapeMismatch, "the weights do not fit");
  PENLIGHT_TRY(deform_operand(context, 2, moved, 4));
  PENLIGHT_TRY(deform_operand(context, 3, &s.outputs, 1));
  moved[1] /= 2;
  PENLIGHT_TRY(deform_operand(context, 4, moved, 4));
  s.parts = static_cast<int64_t>(context.threads());
  for (int64_t i = 0; i < s.parts; ++i)
    if (!add_scratch(context, s.column, sizeof(float))) return scratch_too_large(context);
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, window_output_shape(s.window, s.batch, s.outputs)));
  // Every place gathers its column, four pixels an element, and every output multiplies it.
  const auto columns =
      saturating_mul(4, saturating_add(static_cast<uint64_t>(s.column),
                                       saturating_mul(static_cast<uint64_t>(s.offset_groups), static_cast<uint64_t>(s.taps))));
  const auto work = saturating_mul(static_cast<uint64_t>(s.outputs), static_cast<uint64_t>(s.column) + 1);
  context.macs = saturating_mul(saturating_mul(static_cast<uint64_t>(s.batch), static_cast<uint64_t>(s.places)),
                                saturating_add(columns, work));
  return Status::kOk;
}

Status deform_conv_run(Context& context) {
  const DeformState& s = context.state_as<DeformState>();
  const int64_t total = s.batch * s.places, share = (total + s.parts - 1) / s.parts;
  const auto slot = (static_cast<size_t>(s.column) * sizeof(float) + 63) / 64 * 64;
  parallel_for(context_parallel(context), static_cast<size_t>(s.parts), [&](size_t part) {
    float* column = reinterpret_cast<float*>(static_cast<char*>(context.scratch) + part * slot);
    const int64_t begin = static_cast<int64_t>(part) * share;
    for (int64_t i = begin; i < begin + share && i < total; ++i) {
      DeformTypes::call(context.input(0).dtype, [&](auto tag) {
        using T = typename decltype(tag)::Type;
        deform_gather<T>(context, s, i / s.places, i % s.places, column);
        deform_place<T>(context, s, i / s.places, i % s.places, column);
      });
    }
  });
  return Status::kOk;
}

}  // namespace penlight
