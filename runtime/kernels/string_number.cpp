// Cast between strings and numbers. SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>

#include "text.h"

namespace penlight {

namespace {

constexpr int64_t kNumberWidth = 24;     // bytes of the longest number that is written
constexpr int64_t kLongestNumber = 127;  // characters of one that is read

Status no_number(Context& context, int64_t i) {
  return context.fail(Status::kInvalidValue, "string %lld is no number, or too long for one", static_cast<long long>(i));
}

bool is_blank(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/// Copies a string with a zero behind it; false when it is too long or blank.
bool number_text(const Text& text, char* copy) {
  if (text.size > kLongestNumber) return false;
  int64_t end = text.size;
  while (end > 0 && is_blank(static_cast<char>(text.data[end - 1]))) --end;
  if (end > 0) memcpy(copy, text.data, static_cast<size_t>(end));
  copy[end] = '\0';
  return end > 0;
}

bool read_real(const char* text, double* value) {
  char* end = nullptr;
  *value = strtod(text, &end);
  return *end == '\0';
}

/// "12" exactly; "1.5e3" by way of a double, truncated.
bool read_integer(const char* text, int64_t* value) {
  const char* at = text;
  while (is_blank(*at)) ++at;
  const bool negative = *at == '-';
  if (*at == '-' || *at == '+') ++at;
  int64_t whole = 0;
  bool exact = *at != '\0';
  for (; exact && *at != '\0'; ++at)
    exact =
        *at >= '0' && *at <= '9' && checked_mul(whole, 10, &whole) && checked_add(whole, negative ? '0' - *at : *at - '0', &whole);
  *value = whole;
  if (exact) return true;
  double real = 0.0;
  if (!read_real(text, &real) || !(real > -9.2e18 && real < 9.2e18)) return false;
  *value = static_cast<int64_t>(real);
  return true;
}

Status to_number_infer(Context& context, DType dtype) {
  PENLIGHT_TRY(check_texts(context, 0));
  context.macs = saturating_mul(2, text_work(context.input(0)));
  return set_output(context, 0, dtype, text_shape(context.input(0)));
}

template <typename T>
Status to_number_run(Context& context, bool (*read)(const char* text, T* value)) {
  const int64_t count = context.output(0).shape.count();
  for (int64_t i = 0; i < count; ++i) {
    char copy[kLongestNumber + 1];
    if (!number_text(text_at(context.input(0), i), copy) || !read(copy, context.output(0).as<T>() + i))
      return no_number(context, i);
  }
  return Status::kOk;
}

/// As onnxruntime: eight digits for every floating-point type. A process whose locale has a decimal comma gets a point as well.
int write_real(char* to, double value) {
  if (value != value) return snprintf(to, kNumberWidth, "NaN");
  if (value - value != 0.0) return snprintf(to, kNumberWidth, value < 0 ? "-INF" : "INF");
  const int size = snprintf(to, kNumberWidth, "%.8g", value);
  for (int i = 0; i < size; ++i)
    if (to[i] == ',') to[i] = '.';
  return size;
}

int write_number(const Tensor& x, int64_t i, char* to) {
  if (x.dtype == DType::kF32) return write_real(to, static_cast<double>(x.as<float>()[i]));
  if (x.dtype == DType::kF64) return write_real(to, x.as<double>()[i]);
  if (x.dtype == DType::kU64) return snprintf(to, kNumberWidth, "%llu", static_cast<unsigned long long>(x.as<uint64_t>()[i]));
  return snprintf(to, kNumberWidth, "%lld", static_cast<long long>(x.as<int64_t>()[i]));
}

}  // namespace

Status string_to_real_infer(Context& context) { return to_number_infer(context, DType::kF64); }
Status string_to_real_run(Context& context) { return to_number_run<double>(context, read_real); }
Status string_to_integer_infer(Context& context) { return to_number_infer(context, DType::kI64); }
Status string_to_integer_run(Context& context) { return to_number_run<int64_t>(context, read_integer); }

Status number_to_string_infer(Context& context) {
  PENLIGHT_TRY(
      check_dtype(context, 0, dtype_bit(DType::kF32) | dtype_bit(DType::kF64) | dtype_bit(DType::kI64) | dtype_bit(DType::kU64)));
  Shape out = context.input(0).shape;
  context.macs = saturating_mul(static_cast<uint64_t>(out.count()), static_cast<uint64_t>(kNumberWidth));
  PENLIGHT_TRY(append_dim(context, &out, kNumberWidth));
  return set_output(context, 0, DType::kU8, out);
}

Status number_to_string_run(Context& context) {
  const Tensor& x = context.input(0);
  const int64_t count = x.shape.count();
  for (int64_t i = 0; i < count; ++i) {
    char digits[kNumberWidth + 1];
    const int size = write_number(x, i, digits);
    write_text(context.output(0).as<uint8_t>() + i * kNumberWidth, kNumberWidth, {reinterpret_cast<uint8_t*>(digits), size});
  }
  return Status::kOk;
}

}  // namespace penlight
