// SPDX-License-Identifier: Apache-2.0
#include "message.h"

#include <stdio.h>

namespace penlight {

void MessageWriter::append_list(const char* format, va_list arguments) {
  if (full()) return;
  const int written = vsnprintf(out_ + length_, capacity_ - length_, format, arguments);
  if (written < 0) return;
  length_ += static_cast<size_t>(written);
  if (length_ >= capacity_) length_ = capacity_ - 1;
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

Status fail(penlight_error& error, Status status, const char* format, ...) {
  error.status = static_cast<penlight_status>(status);
  MessageWriter writer(error.message, sizeof(error.message));
  va_list arguments;
  va_start(arguments, format);
  writer.append_list(format, arguments);
  va_end(arguments);
  message_clean(error.message);
  return status;
}

const char* status_name(Status status) {
  switch (status) {
    case Status::kOk:
      return "PENLIGHT_OK";
    case Status::kInvalidArgument:
      return "PENLIGHT_INVALID_ARGUMENT";
    case Status::kInvalidFile:
      return "PENLIGHT_INVALID_FILE";
    case Status::kUnsupportedVersion:
      return "PENLIGHT_UNSUPPORTED_VERSION";
    case Status::kInvalidProgram:
      return "PENLIGHT_INVALID_PROGRAM";
    case Status::kUnsupportedOperator:
      return "PENLIGHT_UNSUPPORTED_OPERATOR";
    case Status::kShapeMismatch:
      return "PENLIGHT_SHAPE_MISMATCH";
    case Status::kOutOfMemory:
      return "PENLIGHT_OUT_OF_MEMORY";
    case Status::kBudgetExceeded:
      return "PENLIGHT_BUDGET_EXCEEDED";
    case Status::kInvalidValue:
      return "PENLIGHT_INVALID_VALUE";
    case Status::kCancelled:
      return "PENLIGHT_CANCELLED";
    case Status::kSelfTestFailed:
      return "PENLIGHT_SELF_TEST_FAILED";
  }
  return "unknown status";
}

}  // namespace penlight
