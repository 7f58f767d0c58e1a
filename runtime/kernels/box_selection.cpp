// NonMaxSuppression: boxes by falling score, without those that overlap one chosen before. SPDX-License-Identifier: Apache-2.0
#include "index_sort.h"
#include "shape_rules.h"

namespace penlight {

namespace {

struct BoxState {
  int64_t batches = 0, classes = 0, boxes = 0;
  bool by_center = false;
};

struct BoxEdges {
  float top, left, bottom, right;
  float area() const { return (bottom - top) * (right - left); }
};

BoxEdges box_edges(const float* box, bool by_center) {
  if (by_center) return {box[1] - box[3] / 2, box[0] - box[2] / 2, box[1] + box[3] / 2, box[0] + box[2] / 2};
  const bool flipped_y = box[0] > box[2], flipped_x = box[1] > box[3];
  return {box[flipped_y ? 2 : 0], box[flipped_x ? 3 : 1], box[flipped_y ? 0 : 2], box[flipped_x ? 1 : 3]};
}

bool boxes_overlap(const BoxEdges& a, const BoxEdges& b, float threshold) {
  const float top = a.top > b.top ? a.top : b.top, bottom = a.bottom < b.bottom ? a.bottom : b.bottom;
  const float left = a.left > b.left ? a.left : b.left, right = a.right < b.right ? a.right : b.right;
  if (!(bottom > top) || !(right > left) || !(a.area() > 0) || !(b.area() > 0)) return false;
  const float common = (bottom - top) * (right - left);
  return common / (a.area() + b.area() - common) > threshold;
}

/// A scalar input of one element, or the fallback when it is left out.
template <typename T>
Status box_number(Context& context, int i, T fallback, T* value) {
  *value = fallback;
  if (!context.input(i).present()) return Status::kOk;
  if (context.input(i).dtype != kDTypeOf<T> || context.input(i).shape.count() != 1)
    return context.fail(Status::kShapeMismatch, "input %d must be one number of type %s", i, dtype_name(kDTypeOf<T>));
  if (context.input(i).data != nullptr) *value = *context.input(i).as<T>();
  return Status::kOk;
}

struct BoxLimits {
  int64_t most = 0;
  float overlap = 0, score = 0;
};

/// Chooses among the boxes of one batch entry and class; returns their number, their indices stand first in `order`.
int64_t choose_boxes(const BoxState& s, const BoxLimits& limits, const float* boxes, const float* scores, bool any_score,
                     int64_t* order) {
  int64_t count = 0, chosen = 0;
  for (int64_t i = 0; i < s.boxes; ++i)
    if (any_score || scores[i] > limits.score) order[count++] = i;
  sort_indices(order, count, [&](int64_t a, int64_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  for (int64_t i = 0; i < count && chosen < limits.most; ++i) {
    const BoxEdges box = box_edges(boxes + order[i] * 4, s.by_center);
    bool overlaps = false;
    for (int64_t j = 0; j < chosen && !overlaps; ++j)
      overlaps = boxes_overlap(box, box_edges(boxes + order[j] * 4, s.by_center), limits.overlap);
    if (!overlaps) order[chosen++] = order[i];
  }
  return chosen;
}

}  // namespace

Status non_max_suppression_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, dtype_bit(DType::kF32)));
  PENLIGHT_TRY(check_dtype(context, 1, dtype_bit(DType::kF32)));
  PENLIGHT_TRY(check_rank(context, 0, 3, 3));
  PENLIGHT_TRY(check_rank(context, 1, 3, 3));
  const Shape &boxes = context.input(0).shape, &scores = context.input(1).shape;
  if (boxes.dims[2] != 4 || scores.dims[0] != boxes.dims[0] || scores.dims[2] != boxes.dims[1])
    return context.fail(Status::kShapeMismatch, "boxes must have shape (batch, n, 4), scores (batch, classes, n)");
  BoxState& s = context.state_as<BoxState>();
  s = BoxState{boxes.dims[0], scores.dims[1], boxes.dims[1], context.attributes->integer("center_point_box", 0) != 0};
  int64_t most = 0;
  float number = 0;
  PENLIGHT_TRY(box_number<int64_t>(context, 2, 0, &most));
  PENLIGHT_TRY(box_number<float>(context, 3, 0.0f, &number));
  PENLIGHT_TRY(box_number<float>(context, 4, 0.0f, &number));
  const bool known = !context.input(2).present() || context.input(2).data != nullptr;
  const int64_t per_class = !known || most > s.boxes ? s.boxes : most < 0 ? 0 : most;
  int64_t out[] = {0, 3};
  if (!checked_mul(s.batches, s.classes, &out[0]) || !checked_mul(out[0], per_class, &out[0]))
    return context.fail(Status::kShapeMismatch, "the output does not fit");
  context.sized_by_data = true;
  uint64_t depth = 1;  // of sorting
  while (s.boxes >> depth != 0) ++depth;
  context.macs = saturating_mul(static_cast<uint64_t>(scores.count()), static_cast<uint64_t>(per_class) + 4 * depth);
  context.macs = saturating_add(context.macs, saturating_mul(static_cast<uint64_t>(s.batches), static_cast<uint64_t>(s.classes)));
  if (!add_scratch(context, s.boxes, sizeof(int64_t))) return scratch_too_large(context);
  return set_output(context, 0, DType::kI64, make_shape(out, 2));
}

Status non_max_suppression_run(Context& context) {
  const BoxState& s = context.state_as<BoxState>();
  BoxLimits limits;
  PENLIGHT_TRY(box_number<int64_t>(context, 2, 0, &limits.most));
  PENLIGHT_TRY(box_number<float>(context, 3, 0.0f, &limits.overlap));
  PENLIGHT_TRY(box_number<float>(context, 4, 0.0f, &limits.score));
  int64_t* order = static_cast<int64_t*>(context.scratch);
  int64_t* to = context.output(0).as<int64_t>();
  int64_t total = 0;
  for (int64_t b = 0; b < s.batches; ++b) {
    for (int64_t c = 0; c < s.classes; ++c) {
      const float* scores = context.input(1).as<float>() + (b * s.classes + c) * s.boxes;
      const int64_t chosen =
          choose_boxes(s, limits, context.input(0).as<float>() + b * s.boxes * 4, scores, !context.input(4).present(), order);
      for (int64_t i = 0; i < chosen; ++i, ++total, to += 3) to[0] = b, to[1] = c, to[2] = order[i];
    }
  }
  context.output(0).shape.dims[0] = total;
  return Status::kOk;
}

}  // namespace penlight
