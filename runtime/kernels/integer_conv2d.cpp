// Convolutions of 8-bit images: as products of matrices, or row by row where each filter sees one channel.
// SPDX-License-Identifier: Apache-2.0
#include "integer_conv2d.h"

#include "integer_depthwise.h"

namespace penlight {

namespace {

struct ImageAxis {
  int64_t in = 1, kernel = 1, stride = 1, dilation = 1, pad = 0, out = 1;
};

ImageAxis image_axis(const Window& w, int d) {
  if (d < 0) return ImageAxis{};
  return {w.in[d], w.kernel[d], w.stride[d], w.dilation[d], w.pad_begin[d], w.out[d]};
}

ImageAxis axis_y(const IntegerConv2d& conv) { return image_axis(conv.window, conv.window.rank - 2); }
ImageAxis axis_x(const IntegerConv2d& conv) { return image_axis(conv.window, conv.window.rank - 1); }

/// Outputs [begin, end) of those whose input position o * stride + shift lies in [0, in).
void valid_outputs(const ImageAxis& axis, int64_t shift, int64_t* begin, int64_t* end) {
  *begin = shift >= 0 ? 0 : (-shift + axis.stride - 1) / axis.stride;
  *end = shift >= axis.in ? 0 : (axis.in - shift + axis.stride - 1) / axis.stride;
  if (*end > axis.out) *end = axis.out;
  if (*begin > *end) *begin = *end;
}

/// One group of an image, read as the right side of a product: a line for each (channel, tap), a column for each output.
struct ImageColumns {
  ImageAxis y, x;
  const uint8_t* image;
  uint8_t zero;
};

typedef uint8_t ImageBytes __attribute__((vector_size(16)));

template <typename Part>
inline void copy_part(const uint8_t* from, uint8_t* to) {
  Part part;
  __builtin_memcpy(&part, from, sizeof part);
  __builtin_memcpy(to, &part, sizeof part);
}

/// The first and the last bytes in two parts, which may overlap.
template <typename Part>
inline void copy_ends(const uint8_t* from, int64_t count, uint8_t* to) {
  const auto last = count - static_cast<int64_t>(sizeof(Part));
  copy_part<Part>(from, to);
  copy_part<Part>(from + last, to + last);
}

/// Rows of images are short: without a call.
inline void copy_bytes(const uint8_t* from, int64_t count, uint8_t* to) {
  if (count > 64) {
    __builtin_memcpy(to, from, static_cast<size_t>(count));
  } else if (count >= 16) {
    copy_ends<ImageBytes>(from, count, to);
    if (count > 32) copy_ends<ImageBytes>(from + 16, count - 32, to + 16);
  } else if (count >= 8) {
    copy_ends<uint64_t>(from, count, to);
  } else if (count >= 4) {
    copy_ends<uint32_t>(from, count, to);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
  }
}

inline void fill_bytes(uint8_t* to, uint8_t byte, int64_t count) {
  if (count == 1)
    *to = byte;
  else if (count > 1)
    __builtin_memset(to, byte, static_cast<size_t>(count));
}

/// Every second byte, 16 at once as long as the row has them; returns the first output that is left.
int64_t copy_even(const ImageColumns& from, const uint8_t* image, int64_t shift, int64_t o, int64_t last, uint8_t* to) {
  if (from.x.stride != 2) return o;
  for (; o + 16 <= last && 2 * o + shift + 32 <= from.x.in; o += 16) {
    ImageBytes low, high;
    __builtin_memcpy(&low, image + (2 * o + shift), sizeof low);
    __builtin_memcpy(&high, image + (2 * o + shift + 16), sizeof high);
#if defined(__clang__)
    const ImageBytes even = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
#else
    const ImageBytes even = __builtin_shuffle(low, high, ImageBytes{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30});
#endif
    __builtin_memcpy(to + o, &even, sizeof even);
  }
  return o;
}

/// Outputs [first, last) of a row read the image, at o * stride + shift; the others read padding.
struct RowTap {
  int64_t shift, first, last;
};

/// The bytes that outputs [begin, end) of one output row read; `image` null: a row of padding.
void copy_row(const ImageColumns& from, const uint8_t* image, const RowTap& tap, int64_t begin, int64_t end, uint8_t* to) {
  if (image == nullptr) return fill_bytes(to, from.zero, end - begin);
  const int64_t first = tap.first < begin ? begin : tap.first > end ? end : tap.first;
  const int64_t last = tap.last > end ? end : tap.last < first ? first : tap.last;
  fill_bytes(to, from.zero, first - begin);
  if (from.x.stride == 1)
    copy_bytes(image + (first + tap.shift), last - first, to + (first - begin));
  else
    for (int64_t o = copy_even(from, image, tap.shift, first, last, to - begin); o < last; ++o)
      to[o - begin] = image[o * from.x.stride + tap.shift];
  fill_bytes(to + (last - begin), from.zero, end - last);
}

const uint8_t* image_columns(const void* source, int64_t line, int64_t first, int64_t count, uint8_t* buffer) {
  const auto& from = *static_cast<const ImageColumns*>(source);
  const int64_t taps = from.y.kernel * from.x.kernel, channel = line / taps, tap = line % taps;
  const int64_t shift_y = tap / from.x.kernel * from.y.dilation - from.y.pad;
  RowTap row_tap = {tap % from.x.kernel * from.x.dilation - from.x.pad, 0, 0};
  valid_outputs(from.x, row_tap.shift, &row_tap.first, &row_tap.last);
  const uint8_t* image = from.image + channel * from.y.in * from.x.in;
  int64_t y = first / from.x.out * from.y.stride + shift_y, begin = first % from.x.out;
  for (int64_t done = 0; done < count; y += from.y.stride, begin = 0) {
    const int64_t rest = count - done, end = rest < from.x.out - begin ? begin + rest : from.x.out;
    const bool inside = y >= 0 && y < from.y.in;
    copy_row(from, inside ? image + y * from.x.in : nullptr, row_tap, begin, end, buffer + done);
    done += end - begin;
  }
  return buffer;
}

const uint8_t* plain_columns(const void* source, int64_t line, int64_t first, int64_t, uint8_t*) {
  const auto& from = *static_cast<const ImageColumns*>(source);
  return from.image + line * from.y.in * from.x.in + first;
}

bool is_plain(const ImageAxis& axis) { return axis.kernel == 1 && axis.stride == 1 && axis.pad == 0 && axis.out == axis.in; }

struct GroupTarget {
  const IntegerConv2d* conv;
  int64_t plane;
};

void finish_group(const void* target, int64_t row, int64_t first, int64_t count, int32_t* sums) {
  const auto& to = *static_cast<const GroupTarget*>(target);
  to.conv->finish(to.conv->target, to.plane + row, first, count, sums);
}

void multiply_groups(const IntegerConv2d& conv, void* scratch, const Parallel& parallel) {
  const int64_t group_channels = conv.channels / conv.groups, group_filters = conv.filters / conv.groups;
  ImageColumns from = {axis_y(conv), axis_x(conv), nullptr, 0};
  from.zero = static_cast<uint8_t>(byte_zero(conv.x, 0).point ^ byte_zero(conv.x, 0).flip);
  GroupTarget target = {&conv, 0};
  IntegerGemm gemm;
  gemm.m = group_filters;
  gemm.n = from.y.out * from.x.out;
  gemm.k = group_channels * from.y.kernel * from.x.kernel;
  gemm.b = conv.x;
  gemm.right = is_plain(from.y) && is_plain(from.x) ? plain_columns : image_columns;
  gemm.source = &from;
  gemm.finish = finish_group;
  gemm.target = &target;
  for (int64_t i = 0; i < conv.batch * conv.groups; ++i) {
    const int64_t first = i % conv.groups * group_filters;
    from.image = static_cast<const uint8_t*>(conv.x.data) + i * group_channels * from.y.in * from.x.in;
    gemm.a = conv.w;
    gemm.a.data = static_cast<const uint8_t*>(conv.w.data) + first * gemm.k;
    if (conv.w.zero != nullptr) gemm.a.zero = static_cast<const uint8_t*>(conv.w.zero) + first * conv.w.zero_step;
    target.plane = i / conv.groups * conv.filters + first;
    integer_gemm(gemm, scratch, parallel);
  }
}

/// A filter over one channel works on bands of output rows. The padded image rows of a band lie one after the other in bytes, and
/// beside each the row that the next kernel row meets: pairs. Two kernel rows are one row of taps over pairs.
struct IntegerDepthwisePlan {
  ImageAxis y, x;
  int64_t row_pairs = 0, taps = 0;   // of kernel rows, of such pairs
  int64_t pitch = 0;                 // of a padded image row
  int64_t rows = 0, image_rows = 0;  // of a whole band: of the output and of the image
  int64_t sums = 0;                  // of a band, before columns and rows between the outputs are dropped
  int64_t tap_bytes = 0, image_bytes = 0, pair_bytes = 0, slot_bytes = 0;
};

constexpr int64_t kDepthwiseSlack = 64;       // whole vectors are read and written at the end of a band
constexpr int64_t kDepthwisePairs = 1 << 12;  // of a band: they stay in the first cache

bool depthwise_plan(const IntegerConv2d& conv, IntegerDepthwisePlan* p) {
  p->y = axis_y(conv);
  p->x = axis_x(conv);
  p->row_pairs = (p->y.kernel + 1) / 2;
  int64_t reach_x, reach_y, numbers;
  if (__builtin_mul_overflow(p->x.kernel - 1, p->x.dilation, &reach_x) ||
      __builtin_mul_overflow(p->x.out - 1, p->x.stride, &numbers) || __builtin_add_overflow(reach_x + 1, numbers, &reach_x) ||
      __builtin_mul_overflow(p->y.kernel, p->y.dilation, &reach_y) || __builtin_mul_overflow(p->row_pairs, p->x.kernel, &p->taps) ||
      p->x.in > INT32_MAX || reach_x > INT32_MAX || reach_y > INT32_MAX || p->taps > INT32_MAX)
    return false;
  p->pitch = reach_x > p->x.pad + p->x.in ? reach_x : p->x.pad + p->x.in;
  const int64_t fitting = (kDepthwisePairs / p->pitch - reach_y) / p->y.stride;
  p->rows = fitting < 1 ? 1 : fitting < p->y.out ? fitting : p->y.out;
  p->image_rows = (p->rows - 1) * p->y.stride + reach_y;
  if (__builtin_mul_overflow(p->image_rows + 1, p->pitch, &numbers) || numbers > INT64_MAX / 64) return false;
  p->sums = (p->rows - 1) * p->pitch + p->pitch;
  p->tap_bytes = (p->taps * static_cast<int64_t>(sizeof(ByteTap)) + 63) / 64 * 64;
  p->image_bytes = (numbers + kDepthwiseSlack + 63) / 64 * 64;
  p->pair_bytes = (numbers + kDepthwiseSlack) * 4;
  p->slot_bytes = (p->tap_bytes + p->image_bytes + p->pair_bytes + (p->sums + kDepthwiseSlack) * 4 + 63) / 64 * 64;
  return true;
}

class DepthwiseFilter {
 public:
  DepthwiseFilter(const IntegerConv2d& conv, const IntegerDepthwisePlan& plan, void* slot)
      : conv_(conv), p_(plan), table_(integer_gemm_table()), zero_(byte_zero(conv.x, 0)) {
    taps_ = static_cast<ByteTap*>(slot);
    image_ = static_cast<uint8_t*>(slot) + p_.tap_bytes;
    pairs_ = reinterpret_cast<int16_t*>(image_ + p_.image_bytes);
    sums_ = reinterpret_cast<int32_t*>(pairs_ + p_.pair_bytes / 2);
    __builtin_memset(image_, zero_.point ^ zero_.flip, static_cast<size_t>(p_.image_bytes));
  }

  void run(int64_t plane) const {
    const int64_t filter = plane % conv_.filters, channel = filter / (conv_.filters / conv_.groups);
    const int64_t size = p_.y.in * p_.x.in;
    const uint8_t* image = static_cast<const uint8_t*>(conv_.x.data) + (plane / conv_.filters * conv_.channels + channel) * size;
    read_taps(filter);
    for (int64_t o = 0; o < p_.y.out; o += p_.rows) {
      const int64_t rows = p_.rows < p_.y.out - o ? p_.rows : p_.y.out - o;
      fill(image, o * p_.y.stride - p_.y.pad);
      multiply(rows);
      conv_.finish(conv_.target, plane, o * p_.x.out, rows * p_.x.out, sums_);
    }
  }

 private:
  void read_taps(int64_t filter) const {
    const int64_t kernel = p_.y.kernel * p_.x.kernel;
    const uint8_t* weight = static_cast<const uint8_t*>(conv_.w.data) + filter * kernel;
    const ByteZero zero = byte_zero(conv_.w, filter);
    ByteTap* tap = taps_;
    for (int64_t pair = 0; pair < p_.row_pairs; ++pair)
      for (int64_t column = 0; column < p_.x.kernel; ++column, ++tap) {
        const int64_t at = 2 * pair * p_.x.kernel + column;
        int16_t weights[2] = {};
        weights[0] = static_cast<int16_t>((weight[at] ^ zero.flip) - zero.point);
        if (2 * pair + 1 < p_.y.kernel) weights[1] = static_cast<int16_t>((weight[at + p_.x.kernel] ^ zero.flip) - zero.point);
        tap->pairs = pairs_ + (2 * pair * p_.y.dilation * p_.pitch + column * p_.x.dilation) * 2;
        __builtin_memcpy(&tap->weight, weights, sizeof weights);
      }
  }

  /// The band whose first image row is `top`.
  void fill(const uint8_t* image, int64_t top) const {
    for (int64_t i = 0; i < p_.image_rows; ++i) {
      const int64_t y = top + i;
      uint8_t* to = image_ + i * p_.pitch + p_.x.pad;
      if (y >= 0 && y < p_.y.in)
        copy_bytes(image + y * p_.x.in, p_.x.in, to);
      else
        __builtin_memset(to, zero_.point ^ zero_.flip, static_cast<size_t>(p_.x.in));
    }
    const int64_t reach = p_.y.kernel > 1 ? p_.y.dilation * p_.pitch : 0, count = p_.image_rows * p_.pitch;
    table_.interleave(image_, image_ + reach, count - reach, zero_, pairs_, 2 * kIntegerPanel);
    if (reach > 0)
      table_.interleave(image_ + count - reach, nullptr, reach, zero_, pairs_ + 2 * (count - reach), 2 * kIntegerPanel);
  }

  /// The sums of a band's outputs, one after the other.
  void multiply(int64_t rows) const {
    const int64_t width = (p_.x.out - 1) * p_.x.stride + 1;  // with a step of 1
    if (p_.y.stride == 1) table_.taps(taps_, p_.taps, (rows - 1) * p_.pitch + width, 0, sums_);
    for (int64_t row = 0; row < rows; ++row) {
      int32_t* to = sums_ + row * p_.x.out;
      const int32_t* from = sums_ + row * p_.pitch;
      if (p_.y.stride > 1) table_.taps(taps_, p_.taps, width, row * p_.y.stride * p_.pitch, sums_ + row * p_.pitch);
      if (p_.x.stride == 1)
        move_sums(from, p_.x.out, to);
      else
        for (int64_t i = 0; i < p_.x.out; ++i) to[i] = from[i * p_.x.stride];
    }
  }

  /// To a place before, which may overlap.
  static void move_sums(const int32_t* from, int64_t count, int32_t* to) {
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
      int32_t some[4];
      __builtin_memcpy(some, from + i, sizeof some);
      __builtin_memcpy(to + i, some, sizeof some);
    }
    for (; i < count; ++i) to[i] = from[i];
  }

  const IntegerConv2d& conv_;
  const IntegerDepthwisePlan& p_;
  const IntegerGemmTable& table_;
  ByteZero zero_;
  ByteTap* taps_;
  uint8_t* image_;
  int16_t* pairs_;
  int32_t* sums_;
};

bool is_depthwise(const IntegerConv2d& conv) { return conv.groups == conv.channels && conv.channels > 1; }

}  // namespace

bool integer_conv2d_scratch_bytes(const IntegerConv2d& conv, size_t threads, int64_t* bytes) {
  const ImageAxis y = axis_y(conv), x = axis_x(conv);
  if (is_depthwise(conv) && integer_depthwise_takes(conv)) return integer_depthwise_scratch_bytes(conv, threads, bytes);
  if (is_depthwise(conv)) {
    IntegerDepthwisePlan plan;
    return depthwise_plan(conv, &plan) && !__builtin_mul_overflow(plan.slot_bytes, static_cast<int64_t>(threads), bytes);
  }
  int64_t k, n;
  if (__builtin_mul_overflow(y.kernel, x.kernel, &k) || __builtin_mul_overflow(k, conv.channels / conv.groups, &k) ||
      __builtin_mul_overflow(y.out, x.out, &n))
    return false;
  return integer_gemm_scratch_bytes(conv.filters / conv.groups, n, k, threads, bytes);
}

void integer_conv2d(const IntegerConv2d& conv, void* scratch, const Parallel& parallel) {
  if (!is_depthwise(conv)) return multiply_groups(conv, scratch, parallel);
  if (integer_depthwise_takes(conv)) return integer_depthwise(conv, scratch, parallel);
  IntegerDepthwisePlan plan;
  if (!depthwise_plan(conv, &plan)) return;
  const auto planes = static_cast<size_t>(conv.batch * conv.filters);
  const size_t threads = parallel.threads;
  parallel_for(parallel, threads, [&](size_t slot) {
    const DepthwiseFilter filter(conv, plan, static_cast<unsigned char*>(scratch) + static_cast<int64_t>(slot) * plan.slot_bytes);
    for (size_t i = planes * slot / threads; i < planes * (slot + 1) / threads; ++i) filter.run(static_cast<int64_t>(i));
  });
}

}  // namespace penlight
