// Pad by a constant, the mirror image, the edge or the other side; negative pads crop. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "shape_rules.h"

namespace penlight {

namespace {

enum class PadMode : int { kConstant, kReflect, kEdge, kWrap };

struct PadState {
  PadMode mode = PadMode::kConstant;
  int64_t begin[kMaxRank] = {};
};

Status pad_mode(Context& context, PadMode* mode) {
  const char* text = context.attributes->text("mode");
  const char* names[] = {"constant", "reflect", "edge", "wrap"};
  *mode = PadMode::kConstant;
  if (text == nullptr) return Status::kOk;
  for (int i = 0; i < 4; ++i) {
    if (strcmp(text, names[i]) != 0) continue;
    *mode = static_cast<PadMode>(i);
    return Status::kOk;
  }
  return context.fail(Status::kUnsupportedOperator, "mode '%s' is not known", text);
}

/// Pads for all dimensions, from input 1 (for the axes of input 3 when given) or from the attribute.
Status read_pads(Context& context, int64_t* begin, int64_t* end) {
  const int rank = context.input(0).shape.rank;
  int64_t pads[2 * kMaxRank] = {}, axes[kMaxRank];
  int count = 0, named = rank;
  if (context.input(1).present()) {
    PENLIGHT_TRY(read_known_integers(context, 1, "pads", pads, 2 * kMaxRank, &count));
  } else {
    const int64_t n = context.attributes->integers("pads", pads, 2 * kMaxRank);
    count = n > 0 && n <= 2 * kMaxRank ? static_cast<int>(n) : 0;
  }
  for (int i = 0; i < rank; ++i) axes[i] = i;
  if (context.input(3).present()) PENLIGHT_TRY(read_known_integers(context, 3, "axes", axes, kMaxRank, &named));
  uint32_t mask = 0;
  PENLIGHT_TRY(axes_to_mask(context, axes, named, rank, &mask));
  if (count != 2 * named) return context.fail(Status::kShapeMismatch, "pads has %d entries, expected %d", count, 2 * named);
  for (int i = 0; i < rank; ++i) begin[i] = end[i] = 0;
  for (int i = 0; i < named; ++i) {
    int axis = 0;
    PENLIGHT_TRY(normalize_axis(context, axes[i], rank, &axis));
    begin[axis] = pads[i];
    end[axis] = pads[named + i];
  }
  return Status::kOk;
}

/// The input position for output position `i` (already less the padding before); -1 where the constant goes.
int64_t pad_source(PadMode mode, int64_t i, int64_t size) {
  if (i >= 0 && i < size) return i;
  switch (mode) {
    case PadMode::kConstant:
      return -1;
    case PadMode::kEdge:
      return i < 0 ? 0 : size - 1;
    case PadMode::kWrap:
      return (i % size + size) % size;
    case PadMode::kReflect:
      break;
  }
  if (size == 1) return 0;
  const int64_t period = 2 * (size - 1), p = (i % period + period) % period;
  return p < size ? p : period - p;
}

/// One output row: the source row's start or -1, then the last dimension.
template <typename T>
void pad_row(const PadState& s, const T* row, T fill, int64_t begin, int64_t size, T* y, int64_t n) {
  int64_t i = 0;
  for (; i < n && i < begin; ++i) {
    const int64_t source = row == nullptr ? -1 : pad_source(s.mode, i - begin, size);
    y[i] = source < 0 ? fill : row[source];
  }
  if (row != nullptr && i < n && i - begin < size) {
    const int64_t inside = (size + begin < n ? size + begin : n) - i;
    memcpy(y + i, row + (i - begin), static_cast<size_t>(inside) * sizeof(T));
    i += inside;
  }
  for (; i < n; ++i) {
    const int64_t source = row == nullptr ? -1 : pad_source(s.mode, i - begin, size);
    y[i] = source < 0 ? fill : row[source];
  }
}

/// Element offset of the input row for output row `row`, -1 when it lies in constant padding.
int64_t pad_source_row(const PadState& s, const Shape& x, const Shape& y, int64_t row) {
  int64_t offset = 0, stride = x.dims[x.rank - 1];
  for (int d = x.rank - 2; d >= 0; --d) {
    const int64_t source = pad_source(s.mode, row % y.dims[d] - s.begin[d], x.dims[d]);
    row /= y.dims[d];
    if (source < 0) return -1;
    offset += source * stride;
    stride *= x.dims[d];
  }
  return offset;
}

}  // namespace

Status pad_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  PadState& state = context.state_as<PadState>();
  state = PadState{};
  PENLIGHT_TRY(pad_mode(context, &state.mode));
  int64_t end[kMaxRank];
  PENLIGHT_TRY(read_pads(context, state.begin, end));
  if (context.input(2).present()) {
    PENLIGHT_TRY(check_same_dtype(context, 2, 0));
    if (context.input(2).shape.count() != 1) return context.fail(Status::kShapeMismatch, "constant_value must be a scalar");
  }
  Shape out = context.input(0).shape;
  for (int i = 0; i < out.rank; ++i) {
    const int64_t size = out.dims[i];
    if (!checked_add(size, state.begin[i], &out.dims[i]) || !checked_add(out.dims[i], end[i], &out.dims[i]) || out.dims[i] < 0)
      return context.fail(Status::kShapeMismatch, "padding by %lld and %lld does not fit dimension %d",
                          static_cast<long long>(state.begin[i]), static_cast<long long>(end[i]), i);
    if (state.mode != PadMode::kConstant && size == 0 && out.dims[i] > 0)
      return context.fail(Status::kShapeMismatch, "dimension %d is empty and cannot be mirrored", i);
  }
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  context.macs = static_cast<uint64_t>(out.count());
  return Status::kOk;
}

Status pad_run(Context& context) {
  const PadState& s = context.state_as<PadState>();
  const Tensor &x = context.input(0), &value = context.input(2);
  Tensor& y = context.output(0);
  if (y.shape.count() == 0) return Status::kOk;
  const int last = x.shape.rank - 1;
  const int64_t width = y.shape.dims[last], rows = y.shape.count() / width;
  with_element_size(dtype_size(x.dtype), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    T fill{};
    const double old_value = context.attributes->real("value", 0.0);
    if (value.present())
      memcpy(&fill, value.data, sizeof(T));
    else if (x.dtype == DType::kF32 && old_value != 0.0) {
      const float number = static_cast<float>(old_value);
      memcpy(&fill, &number, sizeof(T) < 4 ? sizeof(T) : 4);
    }
    parallel_ranges(context_parallel(context), static_cast<size_t>(rows), static_cast<size_t>(32768 / (width + 1) + 1),
                    [&](size_t begin, size_t end) {
                      for (int64_t r = static_cast<int64_t>(begin); r < static_cast<int64_t>(end); ++r) {
                        const int64_t offset = pad_source_row(s, x.shape, y.shape, r);
                        const bool copies = offset >= 0 && x.shape.dims[last] > 0;
                        pad_row<T>(s, copies ? x.as<T>() + offset : nullptr, fill, s.begin[last], x.shape.dims[last],
                                   y.as<T>() + r * width, width);
                      }
                    });
  });
  return Status::kOk;
}

}  // namespace penlight
