// Penlight's C interface as C++17 classes that free what they hold. SPDX-License-Identifier: Apache-2.0
//
// Header-only, above penlight.h; link the same library.
// Works with and without exceptions: nothing throws. A call that can fail returns penlight_status, or an object that is false,
// and tells why through the `penlight_error*` that it takes, which may be null.
#ifndef PENLIGHT_HPP
#define PENLIGHT_HPP

#include <stddef.h>
#include <stdint.h>

#include <initializer_list>
#include <memory>

#include "penlight.h"

namespace penlight {

namespace detail {

struct FreeProgram {
  void operator()(penlight_program* program) const { penlight_program_free(program); }
};
struct FreeSession {
  void operator()(penlight_session* session) const { penlight_session_free(session); }
};

template <typename T>
constexpr penlight_dtype kDTypeOf = penlight_dtype{};
template <>
inline constexpr penlight_dtype kDTypeOf<float> = PENLIGHT_F32;
template <>
inline constexpr penlight_dtype kDTypeOf<double> = PENLIGHT_F64;
template <>
inline constexpr penlight_dtype kDTypeOf<int8_t> = PENLIGHT_I8;
template <>
inline constexpr penlight_dtype kDTypeOf<uint8_t> = PENLIGHT_U8;
template <>
inline constexpr penlight_dtype kDTypeOf<int16_t> = PENLIGHT_I16;
template <>
inline constexpr penlight_dtype kDTypeOf<uint16_t> = PENLIGHT_U16;
template <>
inline constexpr penlight_dtype kDTypeOf<int32_t> = PENLIGHT_I32;
template <>
inline constexpr penlight_dtype kDTypeOf<uint32_t> = PENLIGHT_U32;
template <>
inline constexpr penlight_dtype kDTypeOf<int64_t> = PENLIGHT_I64;
template <>
inline constexpr penlight_dtype kDTypeOf<uint64_t> = PENLIGHT_U64;
template <>
inline constexpr penlight_dtype kDTypeOf<bool> = PENLIGHT_BOOL;

}  // namespace detail

/// Number of elements of a tensor whose sizes are known.
inline size_t element_count(const penlight_tensor& tensor) {
  size_t count = 1;
  for (uint32_t i = 0; i < tensor.rank; ++i) count *= static_cast<size_t>(tensor.shape[i]);
  return count;
}

/// A dense row-major tensor in the caller's memory, for inputs and outputs. At most PENLIGHT_MAX_RANK sizes.
template <typename T>
penlight_tensor tensor(T* data, std::initializer_list<int64_t> shape) {
  static_assert(detail::kDTypeOf<T> != penlight_dtype{}, "no penlight_dtype has this element type");
  penlight_tensor result = {};
  result.data = data;
  result.dtype = detail::kDTypeOf<T>;
  for (int64_t size : shape)
    if (result.rank < PENLIGHT_MAX_RANK) result.shape[result.rank++] = size;
  result.size_bytes = element_count(result) * sizeof(T);
  return result;
}

/// The elements of a tensor; null when it has another type.
template <typename T>
T* elements(const penlight_tensor& tensor) {
  return tensor.dtype == detail::kDTypeOf<T> ? static_cast<T*>(tensor.data) : nullptr;
}

/// A session of one method: inputs in, outputs out, memory kept between. One thread at a time. Outlived by its program.
class Session {
 public:
  Session() = default;
  explicit Session(penlight_session* session) : session_(session) {}
  explicit operator bool() const { return session_ != nullptr; }
  penlight_session* get() const { return session_.get(); }

  /// Fixes the inputs' shapes and takes the memory; `run` does it by itself.
  penlight_status prepare(const penlight_tensor* inputs, size_t count, penlight_error* error = nullptr) {
    return penlight_session_prepare(get(), inputs, count, error);
  }
  penlight_status run(std::initializer_list<penlight_tensor> inputs, penlight_error* error = nullptr) {
    return run(inputs.begin(), inputs.size(), nullptr, 0, error);
  }
  /// Outputs may be null; else they are written in place.
  penlight_status run(const penlight_tensor* inputs, size_t input_count, penlight_tensor* outputs, size_t output_count,
                      penlight_error* error = nullptr) {
    return penlight_session_run(get(), inputs, input_count, outputs, output_count, error);
  }
  /// After a run; lies in the session's memory. Without data when there is no such output.
  penlight_tensor output(size_t index) const {
    penlight_tensor tensor = {};
    if (penlight_session_output(get(), index, &tensor) != PENLIGHT_OK) return penlight_tensor{};
    return tensor;
  }
  void reset() { penlight_session_reset(get()); }
  uint64_t arena_bytes() const { return penlight_session_arena_bytes(get()); }
  uint64_t macs() const { return penlight_session_macs(get()); }

 private:
  std::unique_ptr<penlight_session, detail::FreeSession> session_;
};

/// A loaded and verified file, whose bytes the caller keeps. May be shared between threads.
class Program {
 public:
  Program() = default;
  /// `data` must be aligned to 8 bytes, 64 is better. False after a failure.
  static Program load(const void* data, size_t size_bytes, penlight_error* error = nullptr,
                      const penlight_program_options* options = nullptr) {
    penlight_program* program = nullptr;
    penlight_program_load(data, size_bytes, options, &program, error);
    return Program(program);
  }
  explicit operator bool() const { return program_ != nullptr; }
  penlight_program* get() const { return program_.get(); }

  size_t method_count() const { return penlight_program_method_count(get()); }
  const char* method_name(size_t method) const { return penlight_program_method_name(get(), method); }
  size_t input_count(size_t method = 0) const { return penlight_program_input_count(get(), method); }
  size_t output_count(size_t method = 0) const { return penlight_program_output_count(get(), method); }
  /// Null when the file has no such key.
  const char* metadata(const char* key) const { return penlight_program_metadata(get(), key); }
  penlight_status self_test(penlight_error* error = nullptr) const { return penlight_program_self_test(get(), error); }
  /// False after a failure.
  Session session(size_t method = 0, penlight_error* error = nullptr, const penlight_session_options* options = nullptr) const {
    penlight_session* session = nullptr;
    penlight_session_create(get(), method, options, &session, error);
    return Session(session);
  }

 private:
  explicit Program(penlight_program* program) : program_(program) {}
  std::unique_ptr<penlight_program, detail::FreeProgram> program_;
};

}  // namespace penlight

#endif
