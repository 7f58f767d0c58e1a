// LpPool, GlobalLpPool, MaxUnpool and Col2Im: windows by their definition. SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "rare_elements.h"
#include "real_functions.h"
#include "shape_rules.h"
#include "window.h"

namespace penlight {

namespace {

struct LpPoolState {
  Window window;
  int64_t p = 2;
};

/// The window with three spatial dimensions; those that are missing have size 1.
Window three_dimensional(const Window& w) {
  Window all;
  all.rank = kWindowRank;
  for (int d = 0; d < w.rank; ++d) {
    const int to = kWindowRank - w.rank + d;
    all.kernel[to] = w.kernel[d];
    all.stride[to] = w.stride[d];
    all.dilation[to] = w.dilation[d];
    all.pad_begin[to] = w.pad_begin[d];
    all.pad_end[to] = w.pad_end[d];
    all.in[to] = w.in[d];
    all.out[to] = w.out[d];
  }
  return all;
}

double lp_term(double x, int64_t p) { return p == 1 ? fabs(x) : p == 2 ? x * x : real_pow(fabs(x), static_cast<double>(p)); }
/// A term in the count of a node's work; a power counts as in pow_infer.
uint64_t lp_term_macs(int64_t p) { return p <= 2 ? 1 : 16; }
double lp_root(double sum, int64_t p) { return p == 1 ? sum : p == 2 ? sqrt(sum) : real_pow(sum, 1.0 / static_cast<double>(p)); }

/// The plane starts at element `first` of x.
double lp_window(const Window& w, int64_t p, const RealElements& reals, const void* x, int64_t first, int64_t o) {
  int64_t begin[kWindowRank], end[kWindowRank], start[kWindowRank];
  for (int d = kWindowRank - 1; d >= 0; --d) {
    const int64_t own = o % w.out[d];
    o /= w.out[d];
    window_taps(w, d, own, &begin[d], &end[d]);
    start[d] = own * w.stride[d] - w.pad_begin[d];
  }
  double sum = 0;
  for (int64_t a = begin[0]; a < end[0]; ++a)
    for (int64_t b = begin[1]; b < end[1]; ++b)
      for (int64_t c = begin[2]; c < end[2]; ++c) {
        const int64_t row = (start[0] + a * w.dilation[0]) * w.in[1] + start[1] + b * w.dilation[1];
        sum += lp_term(reals.read(x, first + row * w.in[2] + start[2] + c * w.dilation[2]), p);
      }
  return sum;
}

Status read_lp(Context& context, int64_t* p) {
  *p = context.attributes->integer("p", 2);
  return *p >= 1 ? Status::kOk : context.fail(Status::kInvalidProgram, "p must be 1 or more");
}

/// Attributes of MaxUnpool: the window has the unpooled image as input.
Status unpooled_shape(Context& context, Shape* out) {
  const Shape& x = context.input(0).shape;
  Window w;
  PENLIGHT_TRY(read_window(context, x, nullptr, &w));
  *out = x;
  for (int d = 0; d < w.rank; ++d)
    out->dims[2 + d] = (x.dims[2 + d] - 1) * w.stride[d] - w.pad_begin[d] - w.pad_end[d] + w.kernel[d];
  for (int d = 0; d < out->rank; ++d)
    if (out->dims[d] < 0)
      return context.fail(Status::kShapeMismatch, "the output would have size %lld", static_cast<long long>(out->dims[d]));
  return Status::kOk;
}

struct UnpoolState {
  Shape inferred;  // what the indices count in
};

struct Col2ImState {
  int rank = 0;
  int64_t taps = 1, blocks = 1, size = 1;
  int64_t image[kMaxRank] = {}, kernel[kMaxRank] = {}, stride[kMaxRank] = {}, dilation[kMaxRank] = {}, pad[kMaxRank] = {};
  int64_t out[kMaxRank] = {};
};

Status read_col2im_list(Context& context, const char* name, int count, int64_t fallback, int64_t low, int64_t* values) {
  const int64_t n = context.attributes->integers(name, values, count);
  for (int i = 0; n < 0 && i < count; ++i) values[i] = fallback;
  if (n >= 0 && n != count) return context.fail(Status::kInvalidProgram, "%s must have %d entries", name, count);
  for (int i = 0; i < count; ++i)
    if (values[i] < low || values[i] > INT32_MAX) return context.fail(Status::kInvalidProgram, "%s is out of range", name);
  return Status::kOk;
}

/// Sizes of the image and of the blocks in it.
Status read_col2im(Context& context, Col2ImState* s) {
  int64_t pads[2 * kMaxRank];
  int kernel_rank = 0;
  PENLIGHT_TRY(read_known_integers(context, 1, "image_shape", s->image, kMaxRank - 2, &s->rank));
  PENLIGHT_TRY(read_known_integers(context, 2, "block_shape", s->kernel, kMaxRank - 2, &kernel_rank));
  if (kernel_rank != s->rank || s->rank < 1)
    return context.fail(Status::kShapeMismatch, "image_shape and block_shape must have the same number of entries");
  PENLIGHT_TRY(read_col2im_list(context, "strides", s->rank, 1, 1, s->stride));
  PENLIGHT_TRY(read_col2im_list(context, "dilations", s->rank, 1, 1, s->dilation));
  PENLIGHT_TRY(read_col2im_list(context, "pads", 2 * s->rank, 0, 0, pads));
  for (int d = 0; d < s->rank; ++d) {
    if (s->image[d] < 1 || s->image[d] > INT32_MAX || s->kernel[d] < 1 || s->kernel[d] > INT32_MAX)
      return context.fail(Status::kShapeMismatch, "image_shape or block_shape is out of range");
    s->pad[d] = pads[d];
    const int64_t room = s->image[d] + pads[d] + pads[s->rank + d] - (s->kernel[d] - 1) * s->dilation[d] - 1;
    if (room < 0) return context.fail(Status::kShapeMismatch, "a block does not fit into the image");
    s->out[d] = room / s->stride[d] + 1;
    if (!checked_mul(s->taps, s->kernel[d], &s->taps) || !checked_mul(s->blocks, s->out[d], &s->blocks) ||
        !checked_mul(s->size, s->image[d], &s->size))
      return context.fail(Status::kShapeMismatch, "the image is too large");
  }
  return Status::kOk;
}

/// Adds one plane of blocks into one plane of the image.
void col2im_plane(const Col2ImState& s, const RealElements& reals, DType dtype, const char* columns, char* image) {
  if (s.size > 0) memset(image, 0, static_cast<size_t>(s.size) * dtype_size(dtype));
  for (int64_t t = 0; t < s.taps; ++t)
    for (int64_t b = 0; b < s.blocks; ++b) {
      int64_t tap = t, block = b, at = 0, step = 1;
      bool inside = true;
      for (int d = s.rank - 1; d >= 0; --d) {
        const int64_t place = block % s.out[d] * s.stride[d] - s.pad[d] + tap % s.kernel[d] * s.dilation[d];
        inside = inside && place >= 0 && place < s.image[d];
        at += place * step;
        step *= s.image[d];
        tap /= s.kernel[d];
        block /= s.out[d];
      }
      if (!inside) continue;
      const double sum = reals.read(image, at) + reals.read(columns, t * s.blocks + b);
      reals.write(image, at, sum);  // a float's sum is rounded once: twice its digits and two more fit into a double
    }
}

}  // namespace

Status lp_pool_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  PENLIGHT_TRY(check_rank(context, 0, 3, kWindowRank + 2));
  LpPoolState& state = context.state_as<LpPoolState>();
  Window window;
  PENLIGHT_TRY(read_lp(context, &state.p));
  PENLIGHT_TRY(read_window(context, context.input(0).shape, nullptr, &window));
  PENLIGHT_TRY(window_outputs(context, &window, context.attributes->integer("ceil_mode", 0) != 0));
  const Shape& x = context.input(0).shape;
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, window_output_shape(window, x.dims[0], x.dims[1])));
  state.window = three_dimensional(window);
  context.macs = saturating_mul(static_cast<uint64_t>(context.output(0).shape.count()), 2 * lp_term_macs(state.p));
  for (int d = 0; d < window.rank; ++d) context.macs = saturating_mul(context.macs, static_cast<uint64_t>(window.kernel[d]));
  return Status::kOk;
}

Status lp_pool_run(Context& context) {
  const LpPoolState& s = context.state_as<LpPoolState>();
  const int64_t in = s.window.in[0] * s.window.in[1] * s.window.in[2], out = s.window.out[0] * s.window.out[1] * s.window.out[2];
  const int64_t count = context.output(0).shape.count();
  if (count == 0) return Status::kOk;
  const void* x = context.input(0).data;
  const RealElements reals = real_elements(context.input(0).dtype);
  parallel_ranges(context_parallel(context), static_cast<size_t>(count), 256, [&](size_t begin, size_t end) {
    for (int64_t i = static_cast<int64_t>(begin); i < static_cast<int64_t>(end); ++i)
      reals.write(context.output(0).data, i, lp_root(lp_window(s.window, s.p, reals, x, i / out * in, i % out), s.p));
  });
  return Status::kOk;
}

Status global_lp_pool_infer(Context& context) {
  int64_t p = 0;
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  PENLIGHT_TRY(check_rank(context, 0, 2, kMaxRank));
  PENLIGHT_TRY(read_lp(context, &p));
  Shape out = context.input(0).shape;
  for (int d = 2; d < out.rank; ++d) out.dims[d] = 1;
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  const Shape& x = context.input(0).shape;
  context.macs =
      saturating_mul(saturating_add(static_cast<uint64_t>(x.count()), static_cast<uint64_t>(out.count())), lp_term_macs(p));
  return Status::kOk;
}

Status global_lp_pool_run(Context& context) {
  const int64_t p = context.attributes->integer("p", 2), planes = context.output(0).shape.count();
  const int64_t size = planes == 0 ? 0 : context.input(0).shape.count() / planes;
  const RealElements reals = real_elements(context.input(0).dtype);
  for (int64_t i = 0; i < planes; ++i) {
    double sum = 0;
    for (int64_t k = 0; k < size; ++k) sum += lp_term(reals.read(context.input(0).data, i * size + k), p);
    reals.write(context.output(0).data, i, lp_root(sum, p));
  }
  return Status::kOk;
}

Status max_unpool_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  PENLIGHT_TRY(check_dtype(context, 1, dtype_bit(DType::kI64)));
  PENLIGHT_TRY(check_rank(context, 0, 3, kWindowRank + 2));
  if (!same_shape(context.input(0).shape, context.input(1).shape))
    return context.fail(Status::kShapeMismatch, "the indices must have the shape of x");
  UnpoolState& state = context.state_as<UnpoolState>();
  PENLIGHT_TRY(unpooled_shape(context, &state.inferred));
  Shape out = state.inferred;
  int64_t inferred = 0;
  if (!checked_count(out, &inferred)) return context.fail(Status::kShapeMismatch, "the output is too large");
  if (context.input(2).present()) {
    int64_t dims[kMaxRank];
    int count = 0;
    PENLIGHT_TRY(read_known_integers(context, 2, "output_shape", dims, kMaxRank, &count));
    for (int d = 0; d < out.rank && count == out.rank; ++d) {
      if (dims[d] < out.dims[d]) count = 0;
      out.dims[d] = dims[d];
    }
    if (count != out.rank) return context.fail(Status::kShapeMismatch, "output_shape does not hold what the attributes ask for");
  }
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  int64_t count = 0;
  const auto n = static_cast<uint64_t>(context.input(0).shape.count());  // each looks for its place
  context.macs = checked_count(out, &count) ? saturating_add(static_cast<uint64_t>(count), saturating_mul(n, 4)) : UINT64_MAX;
  return Status::kOk;
}

Status max_unpool_run(Context& context) {
  const Shape &inferred = context.state_as<UnpoolState>().inferred, &out = context.output(0).shape;
  const size_t size = dtype_size(context.input(0).dtype);
  const int64_t n = context.input(0).shape.count(), places = inferred.count();
  if (out.count() > 0) memset(context.output(0).data, 0, static_cast<size_t>(out.count()) * size);
  for (int64_t i = 0; i < n; ++i) {
    int64_t rest = context.input(1).as<int64_t>()[i], at = 0, step = 1;
    if (rest < 0 || rest >= places)
      return context.fail(Status::kInvalidValue, "index %lld is not in [0, %lld)", static_cast<long long>(rest),
                          static_cast<long long>(places));
    for (int d = out.rank - 1; d >= 0; --d) {
      at += rest % inferred.dims[d] * step;
      rest /= inferred.dims[d];
      step *= out.dims[d];
    }
    memcpy(context.output(0).as<char>() + static_cast<size_t>(at) * size,
           context.input(0).as<char>() + static_cast<size_t>(i) * size, size);
  }
  return Status::kOk;
}

Status col2im_infer(Context& context) {
  PENLIGHT_TRY(check_dtype(context, 0, kFloatTypes));
  PENLIGHT_TRY(check_rank(context, 0, 3, 3));
  Col2ImState& s = context.state_as<Col2ImState>();
  s = Col2ImState{};
  PENLIGHT_TRY(read_col2im(context, &s));
  const Shape& x = context.input(0).shape;
  if (x.dims[1] % s.taps != 0 || x.dims[2] != s.blocks)
    return context.fail(Status::kShapeMismatch, "the columns must have shape (N, C * %lld, %lld)", static_cast<long long>(s.taps),
                        static_cast<long long>(s.blocks));
  Shape out;
  out.rank = s.rank + 2;
  out.dims[0] = x.dims[0];
  out.dims[1] = x.dims[1] / s.taps;
  for (int d = 0; d < s.rank; ++d) out.dims[2 + d] = s.image[d];
  PENLIGHT_TRY(set_output(context, 0, context.input(0).dtype, out));
  // A place has one step for each dimension, and the image is cleared.
  context.macs = saturating_add(saturating_mul(static_cast<uint64_t>(x.count()), 1 + 2 * static_cast<uint64_t>(s.rank)),
                                static_cast<uint64_t>(out.count()));
  return Status::kOk;
}

Status col2im_run(Context& context) {
  const Col2ImState& s = context.state_as<Col2ImState>();
  const Shape& out = context.output(0).shape;
  const DType dtype = context.input(0).dtype;
  const RealElements reals = real_elements(dtype);
  const auto size = static_cast<int64_t>(dtype_size(dtype));
  parallel_for(context_parallel(context), static_cast<size_t>(out.dims[0] * out.dims[1]), [&](size_t plane) {
    const int64_t i = static_cast<int64_t>(plane);
    col2im_plane(s, reals, dtype, context.input(0).as<char>() + i * s.taps * s.blocks * size,
                 context.output(0).as<char>() + i * s.size * size);
  });
  return Status::kOk;
}

}  // namespace penlight
