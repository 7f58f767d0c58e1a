// Operators on strings: comparing, looking up, joining, splitting. SPDX-License-Identifier: Apache-2.0
#include "broadcast.h"
#include "text.h"

namespace penlight {

namespace {

/// Two tensors of strings whose shapes broadcast, at the common shape.
Status pair_infer(Context& context, Shape* out) {
  PENLIGHT_TRY(check_texts(context, 0));
  PENLIGHT_TRY(check_texts(context, 1));
  const Shape a = text_shape(context.input(0)), b = text_shape(context.input(1));
  PENLIGHT_TRY(broadcast_shapes(context, a, b, out));
  const Shape* operands[] = {&a, &b};
  context.state_as<Broadcast>() = plan_broadcast(*out, operands, 2);
  return Status::kOk;
}

uint64_t pair_cost(const Context& context, int64_t pairs) {
  const uint64_t bytes = static_cast<uint64_t>(text_width(context.input(0))) + static_cast<uint64_t>(text_width(context.input(1)));
  return saturating_mul(static_cast<uint64_t>(pairs), bytes + kTextWork);
}

/// Calls body(output number, string of x, string of y).
template <typename Body>
void for_pairs(Context& context, Body&& body) {
  const Broadcast& plan = context.state_as<Broadcast>();
  const int inner = plan.rank - 1;
  parallel_broadcast_rows(context_parallel(context), plan, [&](int64_t out, const int64_t* offsets) {
    for (int64_t i = 0; i < plan.dims[inner]; ++i)
      body(out + i, text_at(context.input(0), offsets[0] + i * plan.strides[0][inner]),
           text_at(context.input(1), offsets[1] + i * plan.strides[1][inner]));
  });
}

}  // namespace

Status string_equal_infer(Context& context) {
  Shape out;
  PENLIGHT_TRY(pair_infer(context, &out));
  PENLIGHT_TRY(set_output(context, 0, DType::kBool, out));
  int64_t pairs = 0;
  if (checked_count(out, &pairs)) context.macs = pair_cost(context, pairs);
  return Status::kOk;
}

Status string_equal_run(Context& context) {
  uint8_t* z = context.output(0).as<uint8_t>();
  for_pairs(context, [&](int64_t i, const Text& a, const Text& b) {
    z[i] = a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, static_cast<size_t>(a.size)) == 0) ? 1 : 0;
  });
  return Status::kOk;
}

Status string_concat_infer(Context& context) {
  Shape out;
  PENLIGHT_TRY(pair_infer(context, &out));
  int64_t width = 0, pairs = 0;
  if (!checked_add(text_width(context.input(0)), text_width(context.input(1)), &width))
    return context.fail(Status::kShapeMismatch, "the joined strings are too wide");
  if (checked_count(out, &pairs)) context.macs = pair_cost(context, pairs);
  PENLIGHT_TRY(append_dim(context, &out, width));
  return set_output(context, 0, DType::kU8, out);
}

Status string_concat_run(Context& context) {
  const int64_t width = text_width(context.output(0));
  for_pairs(context, [&](int64_t i, const Text& a, const Text& b) {
    uint8_t* to = context.output(0).as<uint8_t>() + i * width;
    write_text(to, width, a);
    write_text(to + a.size, width - a.size, b);
  });
  return Status::kOk;
}

/// Input 1: (K, width) strings in ascending order. The result is the place of the equal one, -1 when there is none.
Status string_index_infer(Context& context) {
  PENLIGHT_TRY(check_texts(context, 0));
  PENLIGHT_TRY(check_texts(context, 1));
  PENLIGHT_TRY(check_rank(context, 1, 2, 2));
  const Shape out = text_shape(context.input(0));
  PENLIGHT_TRY(set_output(context, 0, DType::kI64, out));
  int64_t count = 0;
  uint64_t steps = 1;
  while (context.input(1).shape.dims[0] >> steps != 0) ++steps;
  if (checked_count(out, &count)) context.macs = saturating_mul(pair_cost(context, count), steps);
  return Status::kOk;
}

Status string_index_run(Context& context) {
  const Tensor &x = context.input(0), &keys = context.input(1);
  int64_t* places = context.output(0).as<int64_t>();
  const int64_t count = context.output(0).shape.count();
  for (int64_t i = 0; i < count; ++i) {
    const Text text = text_at(x, i);
    int64_t low = 0, high = keys.shape.dims[0];
    places[i] = -1;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      const int sign = compare_texts(text, text_at(keys, middle));
      if (sign == 0) {
        places[i] = middle;
        break;
      }
      if (sign < 0)
        high = middle;
      else
        low = middle + 1;
    }
  }
  return Status::kOk;
}

namespace {

struct SplitState {
  int64_t most = 0;  // splits of one string at most
  int64_t pieces = 0;
};

bool is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/// What separates: a text, or runs of white space when it is empty.
struct Separator {
  const uint8_t* data = nullptr;
  int64_t size = 0;
  int64_t most = 0;
};

Separator split_separator(const Context& context, int64_t most) {
  const char* delimiter = context.attributes->text("delimiter");
  Separator separator;
  separator.most = most;
  separator.data = reinterpret_cast<const uint8_t*>(delimiter);
  separator.size = delimiter == nullptr ? 0 : static_cast<int64_t>(strlen(delimiter));
  return separator;
}

/// As str.split() of Python: white space at both ends gives no pieces. The last piece runs to the end of the text; there, as
/// onnxruntime does and Python does not, white space at the end is dropped.
template <typename Body>
int64_t split_at_spaces(const Text& text, int64_t most, Body&& body) {
  int64_t at = 0, pieces = 0;
  while (true) {
    while (at < text.size && is_space(text.data[at])) ++at;
    if (at == text.size) return pieces;
    const int64_t begin = at;
    if (pieces == most) {
      int64_t end = text.size;
      while (is_space(text.data[end - 1])) --end;
      body(pieces, Text{text.data + begin, end - begin});
      return pieces + 1;
    }
    while (at < text.size && !is_space(text.data[at])) ++at;
    body(pieces++, Text{text.data + begin, at - begin});
  }
}

/// Calls body(number, piece) and returns how many pieces there are; none of an empty text, as in onnxruntime.
template <typename Body>
int64_t split_text(const Text& text, const Separator& separator, Body&& body) {
  if (separator.size == 0) return split_at_spaces(text, separator.most, body);
  int64_t begin = 0, pieces = 0;
  if (text.size == 0) return 0;
  for (int64_t at = 0; pieces < separator.most && at + separator.size <= text.size;) {
    if (memcmp(text.data + at, separator.data, static_cast<size_t>(separator.size)) != 0) {
      ++at;
      continue;
    }
    body(pieces++, Text{text.data + begin, at - begin});
    begin = at += separator.size;
  }
  body(pieces, Text{text.data + begin, text.size - begin});
  return pieces + 1;
}

}  // namespace

/// Outputs: the pieces (..., most pieces of any string, width), and how many each string has.
Status string_split_infer(Context& context) {
  PENLIGHT_TRY(check_texts(context, 0));
  const int64_t width = text_width(context.input(0));
  const int64_t given = context.attributes->integer("maxsplit", INT64_MAX);
  const Separator separator = split_separator(context, 0);
  SplitState& s = context.state_as<SplitState>();
  // Python, and with it the reference, takes a negative limit for none.
  s.most = given < 0 ? INT64_MAX : given;
  s.pieces = separator.size > 0 ? width / separator.size + 1 : width / 2 + width % 2;
  if (s.most < s.pieces) s.pieces = s.most + 1;
  Shape out = text_shape(context.input(0));
  if (context.output_wanted(1)) PENLIGHT_TRY(set_output(context, 1, DType::kI64, out));
  context.sized_by_data = true;
  PENLIGHT_TRY(append_dim(context, &out, s.pieces));
  PENLIGHT_TRY(append_dim(context, &out, width));
  PENLIGHT_TRY(set_output(context, 0, DType::kU8, out));
  // At each place the separator may be compared to its end.
  context.macs = saturating_mul(2 + static_cast<uint64_t>(separator.size) / 8, text_work(context.input(0)));
  return Status::kOk;
}

Status string_split_run(Context& context) {
  const Tensor& x = context.input(0);
  const Separator separator = split_separator(context, context.state_as<SplitState>().most);
  const int64_t count = text_shape(x).count(), width = text_width(x);
  int64_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t pieces = split_text(text_at(x, i), separator, [](int64_t, const Text&) {});
    if (pieces > largest) largest = pieces;
    if (context.output_wanted(1)) context.output(1).as<int64_t>()[i] = pieces;
  }
  Tensor& y = context.output(0);
  y.shape.dims[y.shape.rank - 2] = largest;
  uint8_t* to = y.as<uint8_t>();
  const int64_t row = largest * width;
  if (count * row > 0) memset(to, 0, static_cast<size_t>(count * row));
  for (int64_t i = 0; i < count; ++i, to += row)
    split_text(text_at(x, i), separator, [&](int64_t n, const Text& piece) { write_text(to + n * width, width, piece); });
  return Status::kOk;
}

}  // namespace penlight
