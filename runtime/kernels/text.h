// Strings as the edge has them: rows of bytes in the last dimension, UTF-8, zeros behind the end. SPDX-License-Identifier:
// Apache-2.0
#pragma once

#include <string.h>

#include "shape_rules.h"

namespace penlight {

/// Not owned; without the zeros behind it.
struct Text {
  const uint8_t* data;
  int64_t size;
};

/// Bytes of the longest string that fits.
inline int64_t text_width(const Tensor& texts) { return texts.shape.dims[texts.shape.rank - 1]; }

/// String i of a tensor. What stands behind a zero is no part of it.
inline Text text_at(const Tensor& texts, int64_t i) {
  const int64_t width = text_width(texts);
  const uint8_t* data = texts.as<uint8_t>() + i * width;
  const void* end = width > 0 ? memchr(data, 0, static_cast<size_t>(width)) : nullptr;
  return {data, end == nullptr ? width : static_cast<const uint8_t*>(end) - data};
}

/// Negative, 0 or positive, by bytes: for UTF-8 the order of code points.
inline int compare_texts(const Text& a, const Text& b) {
  const int64_t size = a.size < b.size ? a.size : b.size;
  const int sign = size > 0 ? memcmp(a.data, b.data, static_cast<size_t>(size)) : 0;
  return sign != 0 ? sign : a.size < b.size ? -1 : a.size > b.size ? 1 : 0;
}

/// Writes a string of at most `width` bytes and the zeros behind it.
inline void write_text(uint8_t* to, int64_t width, const Text& text) {
  if (text.size > 0) memcpy(to, text.data, static_cast<size_t>(text.size));
  if (width > text.size) memset(to + text.size, 0, static_cast<size_t>(width - text.size));
}

/// The shape of a tensor of strings without their bytes.
inline Shape text_shape(const Tensor& texts) { return make_shape(texts.shape.dims, texts.shape.rank - 1); }

constexpr uint64_t kTextWork = 4;  // to find a string and its end, in bytes

/// What looking at all strings counts: one for each byte, and more for each string.
inline uint64_t text_work(const Tensor& texts) {
  return saturating_mul(static_cast<uint64_t>(text_shape(texts).count()), static_cast<uint64_t>(text_width(texts)) + kTextWork);
}

/// `shape` with one more dimension; refuses more than kMaxRank.
inline Status append_dim(Context& context, Shape* shape, int64_t dim) {
  if (shape->rank >= kMaxRank) return context.fail(Status::kShapeMismatch, "output 0 has more than %d dimensions", kMaxRank);
  shape->dims[shape->rank++] = dim;
  return Status::kOk;
}

/// Input i must be strings.
inline Status check_texts(Context& context, int i) {
  PENLIGHT_TRY(check_dtype(context, i, dtype_bit(DType::kU8)));
  return check_rank(context, i, 1, kMaxRank);
}

}  // namespace penlight
