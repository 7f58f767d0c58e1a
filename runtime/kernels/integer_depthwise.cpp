// 3 x 3 convolutions of 8-bit images where each filter sees one channel. Image rows 2 i and 2 i + 1 are a row of pairs; two such
// rows give two output rows (step 1) or one (step 2). SPDX-License-Identifier: Apache-2.0
#include "integer_depthwise.h"

namespace penlight {

namespace {

constexpr int64_t kRowSlack = 32;              // whole vectors are read and written at the end of a row
constexpr int64_t kNarrowRow = kIntegerPanel;  // narrower images are copied, so that whole vectors can be read
constexpr int64_t kShortOutput = 32;           // shorter output rows are finished together
constexpr int64_t kBandPairs = 3 << 10;        // of a band: they stay in the first cache

/// Sizes of one plane and of the band of output rows that is worked on at once; `rows` counts rows of pairs that give output.
struct DepthwiseShape {
  int64_t height, width, out_h, out_w, step_y, step_x, top, left;
  int64_t pitch;        // of a row of pairs: of all columns, or of every second one
  int64_t rows;         // in a band
  int64_t image_bytes;  // 0: read in place
  int64_t row_pairs, band_pairs, sum_count;
  int64_t slot_bytes;
};

bool depthwise_shape(const IntegerConv2d& conv, DepthwiseShape* s) {
  const Window& w = conv.window;
  s->height = w.in[0];
  s->width = w.in[1];
  s->out_h = w.out[0];
  s->out_w = w.out[1];
  s->step_y = w.stride[0];
  s->step_x = w.stride[1];
  s->top = w.pad_begin[0];
  s->left = w.pad_begin[1];
  if (s->height > INT32_MAX || s->width > INT32_MAX || s->out_h > INT32_MAX || s->out_w > INT32_MAX) return false;
  const int64_t read = (s->out_w - 1) * s->step_x + 3, written = s->left + s->width;
  const int64_t whole = read > written ? read : written;
  s->pitch = s->step_x == 1 ? whole : (whole + 1) / 2;
  const int64_t all = s->step_y == 1 ? (s->out_h + 1) / 2 : s->out_h, fitting = kBandPairs / (s->step_x * s->pitch);
  s->rows = fitting < 1 ? 1 : fitting < all ? fitting : all;
  s->image_bytes = s->width < kNarrowRow ? (s->height * s->width + kNarrowRow + 63) / 64 * 64 : 0;
  s->row_pairs = 2 * s->pitch + kRowSlack;
  s->band_pairs = (s->rows + 1) * s->pitch + kRowSlack;
  s->sum_count = s->rows * s->pitch + kRowSlack;
  s->slot_bytes = (s->image_bytes + (s->row_pairs + s->step_x * s->band_pairs + 2 * s->sum_count) * 4 + 63) / 64 * 64;
  return true;
}

class DepthwisePlane {
 public:
  DepthwisePlane(const IntegerConv2d& conv, const DepthwiseShape& shape, void* slot)
      : conv_(conv), s_(shape), table_(integer_gemm_table()), zero_(byte_zero(conv.x, 0)) {
    image_ = static_cast<uint8_t*>(slot);
    row_ = reinterpret_cast<int32_t*>(image_ + s_.image_bytes);
    pairs_[0] = row_ + s_.row_pairs;
    pairs_[1] = pairs_[0] + s_.band_pairs;
    sums_[0] = pairs_[0] + s_.step_x * s_.band_pairs;
    sums_[1] = sums_[0] + s_.sum_count;
    __builtin_memset(slot, 0, static_cast<size_t>(s_.slot_bytes));  // what is beside the image stays 0
  }

  void run(int64_t plane) const {
    const int64_t filter = plane % conv_.filters, channel = filter / (conv_.filters / conv_.groups);
    const int64_t size = s_.height * s_.width;
    const uint8_t* image = static_cast<const uint8_t*>(conv_.x.data) + (plane / conv_.filters * conv_.channels + channel) * size;
    if (s_.image_bytes > 0) {
      __builtin_memcpy(image_, image, static_cast<size_t>(size));
      image = image_;
    }
    int32_t weights[12];
    read_weights(filter, weights);
    const int64_t each = s_.step_y == 1 ? 2 : 1;  // output rows of a row of pairs
    for (int64_t o = 0; o < s_.out_h; o += each * s_.rows) {
      const int64_t left = (s_.out_h - o + each - 1) / each, rows = s_.rows < left ? s_.rows : left;
      for (int64_t i = 0; i <= rows; ++i) fill(image, o * s_.step_y - s_.top + 2 * i, i);
      multiply(weights, (rows - 1) * s_.pitch + s_.out_w);
      const int64_t outputs = s_.out_h - o < each * rows ? s_.out_h - o : each * rows;
      if (s_.out_w < kShortOutput)
        finish_together(plane, o, outputs);
      else
        for (int64_t i = 0; i < outputs; ++i) conv_.finish(conv_.target, plane, (o + i) * s_.out_w, s_.out_w, sums_of(i));
    }
  }

 private:
  /// For the even output row pairs (w0, w1) and (w2, 0) of each column, for the odd one (0, w0) and (w1, w2).
  void read_weights(int64_t filter, int32_t* weights) const {
    const uint8_t* from = static_cast<const uint8_t*>(conv_.w.data) + filter * 9;
    const ByteZero zero = byte_zero(conv_.w, filter);
    for (int64_t column = 0; column < 3; ++column) {
      int32_t w[3];
      for (int64_t row = 0; row < 3; ++row) w[row] = (from[row * 3 + column] ^ zero.flip) - zero.point;
      weights[column] = pair_of(w[0], w[1]);
      weights[3 + column] = pair_of(w[2], 0);
      weights[6 + column] = pair_of(0, w[0]);
      weights[9 + column] = pair_of(w[1], w[2]);
    }
  }

  static int32_t pair_of(int32_t first, int32_t second) {
    const int16_t pair[2] = {static_cast<int16_t>(first), static_cast<int16_t>(second)};
    int32_t bits;
    __builtin_memcpy(&bits, pair, sizeof bits);
    return bits;
  }

  /// Row `at` of pairs, from image rows y and y + 1.
  void fill(const uint8_t* image, int64_t y, int64_t at) const {
    const uint8_t* a = y >= 0 && y < s_.height ? image + y * s_.width : nullptr;
    const uint8_t* b = y + 1 >= 0 && y + 1 < s_.height ? image + (y + 1) * s_.width : nullptr;
    int32_t* to = s_.step_x == 1 ? pairs_[0] + at * s_.pitch : row_;
    const int64_t count = s_.width < kNarrowRow ? kNarrowRow : s_.width;
    table_.interleave(a, b, count, zero_, reinterpret_cast<int16_t*>(to + s_.left), 2 * kIntegerPanel);
    for (int64_t i = s_.width; i < count; ++i) to[s_.left + i] = 0;  // beside the image again
    if (s_.step_x == 2) table_.split(row_, s_.pitch, pairs_[0] + at * s_.pitch, pairs_[1] + at * s_.pitch);
  }

  void multiply(const int32_t* weights, int64_t count) const {
    const int32_t* second = s_.step_x == 1 ? pairs_[0] + 1 : pairs_[1];
    const int32_t* third = s_.step_x == 1 ? pairs_[0] + 2 : pairs_[0] + 1;
    const int16_t* columns[] = {reinterpret_cast<const int16_t*>(pairs_[0]), reinterpret_cast<const int16_t*>(second),
                                reinterpret_cast<const int16_t*>(third)};
    table_.three(columns, 2 * s_.pitch, weights, count, sums_[0], s_.step_y == 1 ? sums_[1] : nullptr);
  }

  /// Of output row i of the band.
  int32_t* sums_of(int64_t i) const { return s_.step_y == 1 ? sums_[i % 2] + i / 2 * s_.pitch : sums_[0] + i * s_.pitch; }

  void finish_together(int64_t plane, int64_t first, int64_t rows) const {
    int32_t together[4 * kShortOutput];
    int64_t done = 0;
    for (int64_t i = 0; i < rows; ++i) {
      const int32_t* from = sums_of(i);
      for (int64_t x = 0; x < s_.out_w; ++x) together[done + x] = from[x];
      done += s_.out_w;
      if (done + s_.out_w <= 4 * kShortOutput && i + 1 < rows) continue;
      conv_.finish(conv_.target, plane, (first + i + 1) * s_.out_w - done, done, together);
      done = 0;
    }
  }

  const IntegerConv2d& conv_;
  const DepthwiseShape& s_;
  const IntegerGemmTable& table_;
  ByteZero zero_;
  uint8_t* image_;
  int32_t *row_, *pairs_[2], *sums_[2];
};

}  // namespace

bool integer_depthwise_takes(const IntegerConv2d& conv) {
  const Window& w = conv.window;
  return w.rank == 2 && w.kernel[0] == 3 && w.kernel[1] == 3 && w.dilation[0] == 1 && w.dilation[1] == 1 && w.stride[0] <= 2 &&
         w.stride[1] <= 2 && w.pad_begin[1] <= w.in[1];
}

bool integer_depthwise_scratch_bytes(const IntegerConv2d& conv, size_t threads, int64_t* bytes) {
  DepthwiseShape shape;
  return depthwise_shape(conv, &shape) && !__builtin_mul_overflow(shape.slot_bytes, static_cast<int64_t>(threads), bytes);
}

void integer_depthwise(const IntegerConv2d& conv, void* scratch, const Parallel& parallel) {
  DepthwiseShape shape;
  if (!depthwise_shape(conv, &shape)) return;
  const auto planes = static_cast<size_t>(conv.batch * conv.filters);
  const size_t threads = parallel.threads;
  parallel_for(parallel, threads, [&](size_t slot) {
    const DepthwisePlane worker(conv, shape, static_cast<unsigned char*>(scratch) + static_cast<int64_t>(slot) * shape.slot_bytes);
    for (size_t i = planes * slot / threads; i < planes * (slot + 1) / threads; ++i) worker.run(static_cast<int64_t>(i));
  });
}

}  // namespace penlight
