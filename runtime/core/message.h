// Messages for the caller: what, where, expected, came, remedy. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdarg.h>
#include <stddef.h>

#include "kernels/kernel.h"
#include "penlight.h"

namespace penlight {

/// Appends formatted text to a fixed buffer; what does not fit is cut, the result always ends with NUL. Of printf's formats it
/// knows %s, %d, %u, %x, %c, %g and %%, the lengths l, ll and z, and a precision (of %s; .0 of %d writes nothing for 0).
class MessageWriter {
 public:
  MessageWriter(char* out, size_t capacity) : out_(out), capacity_(capacity) { out_[0] = '\0'; }
#if PENLIGHT_MESSAGES
  void append(const char* format, ...) __attribute__((format(printf, 2, 3)));
#else
  template <typename... Arguments>
  void append(const char*, const Arguments&...) {}
#endif
  void append_list(const char* format, va_list arguments) __attribute__((format(printf, 2, 0)));
  /// "(2, 3)"
  void append_shape(const Shape& shape);
  bool full() const { return length_ + 1 >= capacity_; }

 private:
  void put(char c);
  void put_number(uint64_t number, unsigned base);
  void put_signed(int64_t number);
  void put_real(double x);

  char* out_;
  size_t capacity_;
  size_t length_ = 0;
};

/// Writes the message into `error` and returns `status`, which the C API (api.cpp) puts beside it. Control characters, which a
/// file's names may hold, become '?'.
#if PENLIGHT_MESSAGES
Status fail(penlight_error& error, Status status, const char* format, ...) __attribute__((format(printf, 3, 4)));
#else
template <typename... Arguments>
Status fail(penlight_error&, Status status, const char*, const Arguments&...) {
  return status;
}
#endif

/// Appends to the message.
void message_extend(penlight_error& error, const char* text);
/// Replaces control characters, so that names from a file cannot forge lines of a log.
void message_clean(char* text);

/// Entry i of texts that stand one behind the other, each with its NUL: a table of pointers would be larger than the texts.
const char* nth_text(const char* texts, size_t i);
/// "PENLIGHT_OK" and so on.
const char* status_name(unsigned status);

}  // namespace penlight
