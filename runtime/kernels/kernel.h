// What a kernel is: a shape rule and a run function, called by the core with views of tensors. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

/// 0: errors have a status and no words, which saves a third of the core on a small device.
#if !defined(PENLIGHT_MESSAGES)
#define PENLIGHT_MESSAGES 1
#endif

namespace penlight {

constexpr int kMaxRank = 8;
constexpr int kMaxOperands = 64;  // inputs or outputs of one node

enum class DType : uint8_t {
  kNone = 0,
  kF32 = 1,
  kF16 = 2,
  kBF16 = 3,
  kF64 = 4,
  kI8 = 5,
  kU8 = 6,
  kI16 = 7,
  kU16 = 8,
  kI32 = 9,
  kU32 = 10,
  kI64 = 11,
  kU64 = 12,
  kBool = 13
};

size_t dtype_size(DType dtype);       // bytes of one element, 0 for kNone
const char* dtype_name(DType dtype);  // "float32" and so on, for messages

/// False when the result does not fit; `*result` is then meaningless.
inline bool checked_mul(int64_t a, int64_t b, int64_t* result) { return !__builtin_mul_overflow(a, b, result); }
inline bool checked_add(int64_t a, int64_t b, int64_t* result) { return !__builtin_add_overflow(a, b, result); }
/// For `macs`: stays at the largest number instead of wrapping.
inline uint64_t saturating_mul(uint64_t a, uint64_t b) {
  uint64_t result = 0;
  return __builtin_mul_overflow(a, b, &result) ? UINT64_MAX : result;
}
inline uint64_t saturating_add(uint64_t a, uint64_t b) {
  uint64_t result = 0;
  return __builtin_add_overflow(a, b, &result) ? UINT64_MAX : result;
}

enum class Status : uint8_t {  // the numbers of penlight_status
  kOk = 0,
  kInvalidArgument = 1,
  kInvalidFile = 2,
  kUnsupportedVersion = 3,
  kInvalidProgram = 4,
  kUnsupportedOperator = 5,
  kShapeMismatch = 6,
  kOutOfMemory = 7,
  kBudgetExceeded = 8,
  kInvalidValue = 9,
  kCancelled = 10,
  kSelfTestFailed = 11
};

struct Shape {
  int rank = 0;
  int64_t dims[kMaxRank] = {};

  /// Product of the sizes. The core guarantees, before a kernel sees the shape, that sizes are >= 0 and that the product times 8
  /// fits into int64_t and size_t even when zeros are left out (so products of some of the sizes never overflow either).
  int64_t count() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
};

/// A dense row-major tensor. `data` is null while shapes are inferred, unless the value is known by then
/// (a constant, or computed from shapes alone).
struct Tensor {
  DType dtype = DType::kNone;
  Shape shape;
  void* data = nullptr;

  bool present() const { return dtype != DType::kNone; }  // false: an optional operand that was left out
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

/// A node's attributes, read from the file with bounds checked. Absent or of another kind: the fallback.
/// Implemented by the core (no virtual functions: they would need the C++ runtime library).
class Attributes {
 public:
  int64_t integer(const char* name, int64_t fallback) const;
  double real(const char* name, double fallback) const;
  /// Null when absent; NUL-terminated, lives as long as the program.
  const char* text(const char* name) const;
  /// Entry i of a list of texts; null when the list is absent or shorter.
  const char* text_at(const char* name, size_t i) const;
  /// Number of entries, copied into `out` as far as `capacity` reaches; -1 when absent.
  int64_t integers(const char* name, int64_t* out, int64_t capacity) const;
  /// Entry i of a list of integers; 0 when the list is absent or shorter.
  int64_t integer_at(const char* name, size_t i) const;
  int64_t reals(const char* name, double* out, int64_t capacity) const;
  /// A constant; not present() when the attribute is absent.
  Tensor tensor(const char* name) const;

  const void* node = nullptr;  // the core's
};

class Context;

/// A subgraph that a node's attribute names. Its last inputs are values of the graph around it; the core fills them in.
class NodeBody {
 public:
  bool present() const { return session_ != nullptr; }
  int input_count() const;  // without the captured ones
  int output_count() const;
  /// Runs it once; `inputs` are input_count() tensors. Budget and cancellation are looked at in here.
  Status run(Context& context, const Tensor* inputs) const;
  /// After a run; valid until the next one.
  Tensor output(int i) const;
  /// What the file declares of an output: unknown sizes are 0, an unknown dtype is kNone.
  Tensor declared_output(int i) const;

 private:
  friend class Context;
  void* session_ = nullptr;  // the core's
};

/// Everything a kernel gets. The same object serves `infer` and `run`; its functions are implemented by the core.
class Context {
 public:
  int input_count = 0;  // including absent optional ones
  int output_count = 0;
  const Tensor* inputs = nullptr;
  Tensor* outputs = nullptr;
  const Attributes* attributes = nullptr;
  int version = 0;             // the operator's since_version in the file
  bool deterministic = false;  // the session's option: products must round as on every other machine; all else always does

  // `infer` fills these: dtype and shape of every output, and
  size_t scratch_bytes = 0;     // memory that `run` needs beside its outputs, 64-byte aligned
  uint64_t macs = 0;            // at most so many multiply-accumulates, or what takes as long; for data movement the elements moved
  bool shapes_suffice = false;  // `run` reads no input's data (Shape, Size), so that the core may run it while preparing
  bool needs_values = false;    // `infer` fails, but only since an input's data is not known yet: the core asks again while running
  bool sized_by_data = false;   // the outputs' shapes are upper bounds, and `run` writes the real ones, which are not larger
  bool shaped_by_run = false;   // `infer` cannot describe the outputs; `run` makes them with resize_output

  void* scratch = nullptr;  // `run` only

  // Constants in another order, made once while a session is prepared: `infer` asks where the inputs that it reads are constants
  // and gives the size and a function that fills such memory from `inputs`; `run` gets it.
  uint64_t constant_inputs = 0;  // bit i: input i is a constant that may be packed
  size_t packed_bytes = 0;
  void (*pack)(Context& context, void* packed) = nullptr;
  const void* packed = nullptr;  // `run` only

  const Tensor& input(int i) const { return i < input_count ? inputs[i] : kAbsent; }
  Tensor& output(int i) { return outputs[i]; }
  /// False for an optional output that the file leaves out. `infer` may then leave its dtype at kNone (and `run` must not write
  /// it), or describe it as usual (and `run` writes it into memory that the core throws away).
  bool output_wanted(int i) const { return i < output_count && ((wanted_outputs >> i) & 1) != 0; }

  /// What `run` starts from: written by `infer`, kept by the core between the two. POD only; big enough for strides and padding.
  template <typename T>
  T& state_as() {
    static_assert(sizeof(T) <= kStateBytes && alignof(T) <= 16, "state is too large");
    if (state_bytes < sizeof(T)) state_bytes = sizeof(T);
    return *reinterpret_cast<T*>(state);
  }

  /// Sets the message that the caller sees (printf style) and returns `status`, so that a kernel can write
  /// `return context.fail(Status::kInvalidValue, "index %lld is out of range", ...)`. The core adds operator and node.
#if PENLIGHT_MESSAGES
  Status fail(Status status, const char* format, ...) __attribute__((format(printf, 3, 4)));
#else
  template <typename... Arguments>
  Status fail(Status status, const char*, const Arguments&...) {
    return status;
  }
#endif
  /// The body of an attribute; not present() when there is none.
  NodeBody body(const char* attribute) const;
  /// Gives output i this dtype and shape, with the bytes that it had so far as its first. Only where `shaped_by_run` is set.
  Status resize_output(int i, DType dtype, const Shape& shape);
  /// Counts work that only values tell, beside `macs`; kBudgetExceeded when it is more than the session may do. Only `run`.
  Status spend(uint64_t work);
  /// Calls task(argument, i) for i in [0, count), on several threads when the session has them.
  void parallel(size_t count, void (*task)(void* argument, size_t index), void* argument);
  size_t threads() const;

  // The rest is the core's.
  static constexpr size_t kStateBytes = 512;
  void* core = nullptr;
  uint64_t wanted_outputs = 0;
  size_t state_bytes = 0;  // what state_as asked for
  alignas(16) unsigned char state[kStateBytes] = {};

 private:
  static const Tensor kAbsent;
};

/// One line of kernels.inc. `infer` checks dtypes, attributes and shapes of one node and sets what Context says; `run` may trust
/// that, and checks only values (indices, divisors). Neither allocates. Data pointers are aligned to the element size, no more.
/// `run` is also called while shapes are prepared, on nodes whose inputs are all known then and whose outputs are small.
struct Kernel {
  const char* domain;  // "" is ai.onnx
  const char* name;
  int min_version;  // inclusive range of since_version
  int max_version;
  int min_inputs, max_inputs;  // max -1: kMaxOperands
  int min_outputs, max_outputs;
  Status (*infer)(Context& context);
  Status (*run)(Context& context);
};

/// The kernels of this build: every line of kernels.inc, or those that a single-file build kept.
extern const Kernel kKernels[];
extern const size_t kKernelCount;

}  // namespace penlight
