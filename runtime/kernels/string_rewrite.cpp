// Operators on the letters of strings: another case, and matching a pattern. SPDX-License-Identifier: Apache-2.0
#include "text.h"

namespace penlight {

namespace {

/// Code points first, first + step, ... (count of them) become themselves + delta.
struct CaseRange {
  int32_t first, count, step, delta;
};

constexpr int64_t kCaseColumns = 4;
constexpr uint32_t kLastCodePoint = 0x10FFFF;

int utf8_length(uint8_t lead) {
  return lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
}

/// Reads one code point and returns its bytes; 0 where the bytes are no UTF-8.
int utf8_read(const Text& text, int64_t at, uint32_t* code) {
  const uint8_t lead = text.data[at];
  const int length = utf8_length(lead);
  if (length == 0 || at + length > text.size) return 0;
  uint32_t value = length == 1 ? lead : lead & (0x7Fu >> length);
  for (int i = 1; i < length; ++i) {
    const uint8_t byte = text.data[at + i];
    if ((byte & 0xC0) != 0x80) return 0;
    value = value << 6 | (byte & 0x3Fu);
  }
  *code = value;
  return length;
}

/// Writes 1 to 4 bytes, returns how many.
int utf8_write(uint32_t code, uint8_t* to) {
  if (code < 0x80) {
    to[0] = static_cast<uint8_t>(code);
    return 1;
  }
  const int length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (int i = length - 1; i > 0; --i, code >>= 6) to[i] = static_cast<uint8_t>(0x80 | (code & 0x3F));
  to[0] = static_cast<uint8_t>((0xF00 >> length & 0xFF) | code);
  return length;
}

/// Ranges stand in ascending order of `first` and do not overlap.
uint32_t change_case(const CaseRange* ranges, int64_t count, uint32_t code) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (static_cast<uint32_t>(ranges[middle].first) <= code)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == 0) return code;
  const CaseRange& range = ranges[low - 1];
  const int64_t distance = int64_t{code} - range.first;
  if (range.step <= 0 || distance % range.step != 0 || distance / range.step >= range.count) return code;
  const int64_t changed = int64_t{code} + range.delta;
  return changed > 0 && changed <= int64_t{kLastCodePoint} ? static_cast<uint32_t>(changed) : code;
}

}  // namespace

/// Input 1: (R, 4) int32, see CaseRange. Two bytes may become three, so that the strings grow by half.
Status string_case_infer(Context& context) {
  PENLIGHT_TRY(check_texts(context, 0));
  PENLIGHT_TRY(check_dtype(context, 1, dtype_bit(DType::kI32)));
  PENLIGHT_TRY(check_rank(context, 1, 2, 2));
  if (context.input(1).shape.dims[1] != kCaseColumns) return context.fail(Status::kInvalidProgram, "the table has not 4 columns");
  Shape out = text_shape(context.input(0));
  int64_t width = text_width(context.input(0));
  if (!checked_add(width, width / 2, &width)) return context.fail(Status::kShapeMismatch, "the strings are too wide");
  uint64_t depth = 1;  // of the search for a character's range
  while (context.input(1).shape.dims[0] >> depth != 0) ++depth;
  context.macs = saturating_mul(text_work(context.input(0)), depth);
  PENLIGHT_TRY(append_dim(context, &out, width));
  return set_output(context, 0, DType::kU8, out);
}

Status string_case_run(Context& context) {
  const Tensor &x = context.input(0), &table = context.input(1);
  const int64_t count = text_shape(x).count(), width = text_width(context.output(0));
  const CaseRange* ranges = table.as<CaseRange>();
  for (int64_t i = 0; i < count; ++i) {
    uint8_t* to = context.output(0).as<uint8_t>() + i * width;
    const Text text = text_at(x, i);
    int64_t size = 0;
    for (int64_t at = 0; at < text.size;) {
      uint32_t code = 0;
      uint8_t bytes[4];
      const int length = utf8_read(text, at, &code);
      if (length == 0) return context.fail(Status::kInvalidValue, "string %lld is no UTF-8", static_cast<long long>(i));
      const int written = utf8_write(change_case(ranges, table.shape.dims[0], code), bytes);
      if (size + written > width) return context.fail(Status::kInvalidProgram, "the table makes strings longer than by half");
      memcpy(to + size, bytes, static_cast<size_t>(written));
      size += written;
      at += length;
    }
    if (width > size) memset(to + size, 0, static_cast<size_t>(width - size));
  }
  return Status::kOk;
}

/// Input 1: the transitions of an automaton on bytes, (states, classes) int32, state 0 first, -1 for no way on; input 2: (256)
/// uint8, the class of each byte; input 3: (states) bool, whether a string may end there.
Status string_match_infer(Context& context) {
  PENLIGHT_TRY(check_texts(context, 0));
  PENLIGHT_TRY(check_dtype(context, 1, dtype_bit(DType::kI32)));
  PENLIGHT_TRY(check_rank(context, 1, 2, 2));
  PENLIGHT_TRY(check_dtype(context, 2, dtype_bit(DType::kU8)));
  PENLIGHT_TRY(check_dtype(context, 3, dtype_bit(DType::kBool)));
  const Shape& table = context.input(1).shape;
  if (context.input(2).shape.count() != 256 || context.input(3).shape.count() != table.dims[0] || table.dims[0] < 1)
    return context.fail(Status::kInvalidProgram, "the automaton's tables have sizes that do not fit together");
  context.macs = text_work(context.input(0));
  return set_output(context, 0, DType::kBool, text_shape(context.input(0)));
}

Status string_match_run(Context& context) {
  const Tensor &x = context.input(0), &table = context.input(1);
  const int64_t states = table.shape.dims[0], classes = table.shape.dims[1], count = context.output(0).shape.count();
  const uint8_t *kinds = context.input(2).as<uint8_t>(), *ends = context.input(3).as<uint8_t>();
  for (int64_t i = 0; i < count; ++i) {
    const Text text = text_at(x, i);
    int64_t state = 0;
    for (int64_t at = 0; state >= 0 && at < text.size; ++at) {
      const int64_t kind = kinds[text.data[at]];
      if (kind >= classes)
        return context.fail(Status::kInvalidProgram, "class %lld of a byte is out of range", static_cast<long long>(kind));
      state = table.as<int32_t>()[state * classes + kind];
      if (state >= states)
        return context.fail(Status::kInvalidProgram, "state %lld is out of range", static_cast<long long>(state));
    }
    context.output(0).as<uint8_t>()[i] = state >= 0 && ends[state] != 0 ? 1 : 0;
  }
  return Status::kOk;
}

}  // namespace penlight
