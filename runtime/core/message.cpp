// SPDX-License-Identifier: Apache-2.0
#include "message.h"

#include <stdint.h>
#include <string.h>

namespace penlight {
#if PENLIGHT_MESSAGES
namespace {

constexpr size_t kNoPrecision = SIZE_MAX;
constexpr int kSignificantDigits = 6;  // as %g has them

/// One conversion of a format: the precision and the length that stand before its letter.
struct Conversion {
  size_t precision = kNoPrecision;
  int longs = 0;  // of l, ll, and z, which counts as one
  char letter = '\0';
};

/// Reads what follows a '%'; returns the place after its letter.
const char* read_conversion(const char* format, Conversion* conversion) {
  if (*format == '.') {
    conversion->precision = 0;
    for (++format; *format >= '0' && *format <= '9'; ++format)
      conversion->precision = conversion->precision * 10 + static_cast<size_t>(*format - '0');
  }
  for (; *format == 'l' || *format == 'z'; ++format) conversion->longs += *format == 'z' && sizeof(size_t) > sizeof(long) ? 2 : 1;
  conversion->letter = *format;
  return *format == '\0' ? format : format + 1;
}

/// x times or divided by 10 until it lies in [1, 10); the exponent of ten that was taken out.
int normalize_decimal(double* x) {
  int exponent = 0;
  for (; *x >= 10; ++exponent) *x /= 10;
  for (; *x < 1; --exponent) *x *= 10;
  return exponent;
}

}  // namespace

void MessageWriter::put(char c) {
  if (full()) return;
  out_[length_++] = c;
  out_[length_] = '\0';
}

void MessageWriter::put_number(uint64_t number, unsigned base) {
  char digits[20];
  int count = 0;
  do {
    digits[count++] = "0123456789abcdef"[number % base];
    number /= base;
  } while (number != 0);
  while (count > 0) put(digits[--count]);
}

void MessageWriter::put_signed(int64_t number) {
  if (number < 0) put('-');
  put_number(number < 0 ? ~static_cast<uint64_t>(number) + 1 : static_cast<uint64_t>(number), 10);
}

void MessageWriter::put_real(double x) {
  if (x < 0) put('-');
  if (x < 0) x = -x;
  if (x != x || x > 1.7976931348623157e308) return append(x != x ? "nan" : "inf");
  if (!(x > 0)) return put('0');
  int exponent = normalize_decimal(&x);
  uint64_t digits = static_cast<uint64_t>(x * 100000 + 0.5);  // kSignificantDigits of them, or one more
  if (digits >= 1000000) {
    digits /= 10;
    ++exponent;
  }
  int count = kSignificantDigits;
  for (; digits % 10 == 0; digits /= 10) --count;
  const bool fixed = exponent >= -4 && exponent < kSignificantDigits;
  char text[kSignificantDigits];
  for (int i = count - 1; i >= 0; --i, digits /= 10) text[i] = static_cast<char>('0' + digits % 10);
  const int point = fixed ? exponent : 0;  // the place of the last digit before the point
  for (int i = point < 0 ? point : 0; i < count || i <= point; ++i) {
    if (i == point + 1) put('.');
    put(i >= 0 && i < count ? text[i] : '0');
  }
  if (!fixed)
    append(exponent < 0 ? "e-%s%d" : "e+%s%d", exponent > -10 && exponent < 10 ? "0" : "", exponent < 0 ? -exponent : exponent);
}

// Not vsnprintf: the small C libraries of microcontrollers do not know %lld, and the large ones would be half of an image.
void MessageWriter::append_list(const char* format, va_list arguments) {
  while (*format != '\0') {
    if (*format != '%') {
      put(*format++);
      continue;
    }
    Conversion conversion;
    format = read_conversion(format + 1, &conversion);
    switch (conversion.letter) {
      case 's': {
        const char* text = va_arg(arguments, const char*);
        if (text == nullptr) text = "(null)";
        for (size_t i = 0; i < conversion.precision && text[i] != '\0'; ++i) put(text[i]);
        break;
      }
      case 'd': {
        const int64_t number = conversion.longs > 1    ? va_arg(arguments, long long)
                               : conversion.longs == 1 ? va_arg(arguments, long)
                                                       : va_arg(arguments, int);
        if (number != 0 || conversion.precision != 0) put_signed(number);
        break;
      }
      case 'u':
      case 'x': {
        const uint64_t number = conversion.longs > 1    ? va_arg(arguments, unsigned long long)
                                : conversion.longs == 1 ? va_arg(arguments, unsigned long)
                                                        : va_arg(arguments, unsigned);
        put_number(number, conversion.letter == 'x' ? 16 : 10);
        break;
      }
      case 'g':
        put_real(va_arg(arguments, double));
        break;
      case 'c':
        put(static_cast<char>(va_arg(arguments, int)));
        break;
      default:
        put('%');
    }
  }
}

void MessageWriter::append(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  append_list(format, arguments);
  va_end(arguments);
}

void MessageWriter::append_shape(const Shape& shape) {
  append("(");
  for (int i = 0; i < shape.rank; ++i) append(i == 0 ? "%lld" : ", %lld", static_cast<long long>(shape.dims[i]));
  append(shape.rank == 1 ? ",)" : ")");
}

void message_clean(char* text) {
  for (; *text != '\0'; ++text) {
    const unsigned char c = static_cast<unsigned char>(*text);
    if (c < 0x20 || c == 0x7f) *text = '?';
  }
}

void message_extend(penlight_error& error, const char* text) {
  const size_t length = strlen(error.message);
  MessageWriter(error.message + length, sizeof(error.message) - length).append("%s", text);
}

Status fail(penlight_error& error, Status status, const char* format, ...) {
  MessageWriter writer(error.message, sizeof(error.message));
  va_list arguments;
  va_start(arguments, format);
  writer.append_list(format, arguments);
  va_end(arguments);
  message_clean(error.message);
  return status;
}
#else
void MessageWriter::append_shape(const Shape&) {}

void message_extend(penlight_error&, const char*) {}

void message_clean(char*) {}
#endif

const char* nth_text(const char* texts, size_t i) {
  for (; i > 0; --i) texts += strlen(texts) + 1;
  return texts;
}

const char* status_name(unsigned status) {
  if (status > static_cast<unsigned>(Status::kSelfTestFailed)) return "unknown status";
  return nth_text(
      "PENLIGHT_OK\0"
      "PENLIGHT_INVALID_ARGUMENT\0"
      "PENLIGHT_INVALID_FILE\0"
      "PENLIGHT_UNSUPPORTED_VERSION\0"
      "PENLIGHT_INVALID_PROGRAM\0"
      "PENLIGHT_UNSUPPORTED_OPERATOR\0"
      "PENLIGHT_SHAPE_MISMATCH\0"
      "PENLIGHT_OUT_OF_MEMORY\0"
      "PENLIGHT_BUDGET_EXCEEDED\0"
      "PENLIGHT_INVALID_VALUE\0"
      "PENLIGHT_CANCELLED\0"
      "PENLIGHT_SELF_TEST_FAILED",
      status);
}

}  // namespace penlight
