// Reads at places that an index tensor names: Gather, GatherElements, GatherND. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "index.h"

namespace penlight {

namespace {

/// Gather as (outer, axis, inner): for each outer and index, a row of `inner`.
struct GatherState {
  int axis = 0;
  int batch = 0, tuple = 0;  // of GatherND
};

Status gather_operands(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kAllTypes));
  return check_dtype(context, 1, kIndexTypes);
}

}  // namespace

Status gather_infer(Context& context) {
  PENLIGHT_TRY(gather_operands(context));
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  const Shape &x = context.input(0).shape, &indices = context.input(1).shape;
  int axis = 0;
  PENLIGHT_TRY(normalize_axis(context, context.attributes->integer("axis", 0), x.rank, &axis));
  if (x.rank - 1 + indices.rank > kMaxRank) return context.fail(Status::kShapeMismatch, "the output's rank is too large");
  Shape out;
  for (int i = 0; i < axis; ++i) out.dims[out.rank++] = x.dims[i];
  for (int i = 0; i < indices.rank; ++i) out.dims[out.rank++] = indices.dims[i];
  for (int i = axis + 1; i < x.rank; ++i) out.dims[out.rank++] = x.dims[i];
  context.state_as<GatherState>() = GatherState{axis, 0, 0};
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  context.macs = static_cast<uint64_t>(out.count());
  return Status::kOk;
}

Status gather_run(Context& context) {
  const Tensor &x = context.input(0), &indices = context.input(1);
  if (context.output(0).shape.count() == 0) return Status::kOk;
  const int axis = context.state_as<GatherState>().axis;
  const int64_t outer = dims_product(x.shape, 0, axis), size = x.shape.dims[axis], count = indices.shape.count();
  const size_t row = static_cast<size_t>(dims_product(x.shape, axis + 1, x.shape.rank)) * dtype_size(x.dtype);
  char* to = context.output(0).as<char>();
  for (int64_t k = 0; k < count; ++k) {
    int64_t place = 0;
    PENLIGHT_TRY(index_at(context, indices, k, size, &place));
    for (int64_t o = 0; o < outer; ++o)
      memcpy(to + static_cast<size_t>(o * count + k) * row, x.as<char>() + static_cast<size_t>(o * size + place) * row, row);
  }
  return Status::kOk;
}

Status gather_elements_infer(Context& context) {
  PENLIGHT_TRY(gather_operands(context));
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  const Shape &x = context.input(0).shape, &indices = context.input(1).shape;
  PENLIGHT_TRY(check_rank(context, 1, x.rank, x.rank));
  int axis = 0;
  PENLIGHT_TRY(normalize_axis(context, context.attributes->integer("axis", 0), x.rank, &axis));
  for (int d = 0; d < x.rank; ++d)
    if (d != axis && indices.dims[d] > x.dims[d])
      return context.fail(Status::kShapeMismatch, "the indices have size %lld along dimension %d, the data has %lld",
                          static_cast<long long>(indices.dims[d]), d, static_cast<long long>(x.dims[d]));
  context.state_as<GatherState>() = GatherState{axis, 0, 0};
  context.macs = saturating_mul(static_cast<uint64_t>(indices.count()), static_cast<uint64_t>(x.rank) / 2 + 1);  // its place
  return set_output(context, 0, context.input(0).dtype, indices);
}

Status gather_elements_run(Context& context) {
  const Tensor &x = context.input(0), &indices = context.input(1);
  const int64_t count = indices.shape.count();
  const size_t size = dtype_size(x.dtype);
  for (int64_t k = 0; k < count; ++k) {
    int64_t place = 0;
    PENLIGHT_TRY(element_place(context, x.shape, indices, context.state_as<GatherState>().axis, k, &place));
    copy_element(x.as<char>() + static_cast<size_t>(place) * size, context.output(0).as<char>() + static_cast<size_t>(k) * size,
                 size);
  }
  return Status::kOk;
}

Status gather_nd_infer(Context& context) {
  PENLIGHT_TRY(gather_operands(context));
  PENLIGHT_TRY(check_rank(context, 0, 1, kMaxRank));
  PENLIGHT_TRY(check_rank(context, 1, 1, kMaxRank));
  const Shape &x = context.input(0).shape, &indices = context.input(1).shape;
  const int64_t batch = context.attributes->integer("batch_dims", 0), tuple = indices.dims[indices.rank - 1];
  if (batch < 0 || batch >= indices.rank || batch >= x.rank || tuple < 1 || tuple > x.rank - batch)
    return context.fail(Status::kShapeMismatch, "batch_dims %lld and tuples of %lld do not fit rank %d",
                        static_cast<long long>(batch), static_cast<long long>(tuple), x.rank);
  for (int i = 0; i < batch; ++i)
    if (x.dims[i] != indices.dims[i]) return context.fail(Status::kShapeMismatch, "the batch dimensions %d differ", i);
  const int tail = static_cast<int>(batch + tuple);
  if (indices.rank - 1 + x.rank - tail > kMaxRank) return context.fail(Status::kShapeMismatch, "the output's rank is too large");
  Shape out;
  for (int i = 0; i + 1 < indices.rank; ++i) out.dims[out.rank++] = indices.dims[i];
  for (int i = tail; i < x.rank; ++i) out.dims[out.rank++] = x.dims[i];
  context.state_as<GatherState>() = GatherState{0, static_cast<int>(batch), static_cast<int>(tuple)};
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  context.macs = saturating_add(static_cast<uint64_t>(out.count()), static_cast<uint64_t>(indices.count()));
  return Status::kOk;
}

Status gather_nd_run(Context& context) {
  const Tensor &x = context.input(0), &indices = context.input(1);
  const GatherState& s = context.state_as<GatherState>();
  if (context.output(0).shape.count() == 0) return Status::kOk;
  const int tail = s.batch + s.tuple;
  const int64_t tuples = dims_product(indices.shape, 0, indices.shape.rank - 1);
  const int64_t batches = dims_product(x.shape, 0, s.batch), in_batch = tuples / batches;
  const int64_t batch_size = dims_product(x.shape, s.batch, x.shape.rank), row = dims_product(x.shape, tail, x.shape.rank);
  const size_t bytes = static_cast<size_t>(row) * dtype_size(x.dtype);
  for (int64_t k = 0; k < tuples; ++k) {
    int64_t place = 0;
    PENLIGHT_TRY(tuple_place(context, x.shape, s.batch, s.tuple, indices, k, &place));
    const char* from = x.as<char>() + static_cast<size_t>(k / in_batch * batch_size + place) * dtype_size(x.dtype);
    memcpy(context.output(0).as<char>() + static_cast<size_t>(k) * bytes, from, bytes);
  }
  return Status::kOk;
}

}  // namespace penlight
