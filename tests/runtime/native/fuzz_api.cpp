// libFuzzer target: calls of the C API in any order, with wrong arguments among them, while the allocator fails now and then. The
// program comes from the bundle that PENLIGHT_FUZZ_BUNDLE names. SPDX-License-Identifier: Apache-2.0
#include "exercise.h"
#include "fuzz_bundle.h"
#include "fuzz_clock.h"

namespace {

constexpr size_t kSessions = 3;
constexpr size_t kMostBytes = 1u << 16;

struct FuzzMemory {
  size_t fail_in = 0;  // 0: never; else the number of calls until one fails
  long live = 0;
};

void* fuzz_allocate(void* context, size_t size, size_t alignment) {
  auto* memory = static_cast<FuzzMemory*>(context);
  if (memory->fail_in > 0 && --memory->fail_in == 0) return nullptr;
  void* result = nullptr;
  if (posix_memalign(&result, alignment < 16 ? 16 : alignment, size) != 0) return nullptr;
  ++memory->live;
  return result;
}

void fuzz_release(void* context, void* memory, size_t) {
  --static_cast<FuzzMemory*>(context)->live;
  free(memory);
}

/// A caller that does what the bytes say.
class FuzzCaller {
 public:
  FuzzCaller(FuzzBytes& bytes, FuzzMemory& memory, const penlight_program* program)
      : bytes_(bytes), memory_(memory), program_(program) {}

  ~FuzzCaller() {
    // Sessions that use another one's states go first.
    for (size_t i = kSessions; i-- > 0;) penlight_session_free(sessions_[i]);
  }

  void call() {
    penlight_session* session = sessions_[bytes_.below(kSessions)];
    penlight_error error;
    penlight_tensor tensor;
    penlight_plan_entry entry;
    penlight_node_profile profile;
    const size_t index = bytes_.below(24);
    switch (bytes_.below(14)) {
      case 0:
        return create(index);
      case 1:
        memory_.fail_in = bytes_.below(12);
        return;
      case 2:
        return run(session, false);
      case 3:
      case 4:
        return run(session, true);
      case 5:
        if (penlight_session_output(session, index, &tensor) == PENLIGHT_OK) touch(tensor, false);
        return;
      case 6:
        if (penlight_session_state(session, index, nullptr, &tensor) == PENLIGHT_OK) touch(tensor, true);
        return;
      case 7:
        return penlight_session_reset(session);
      case 8:
        penlight_session_plan_entry(session, index, &entry);
        penlight_session_plan_count(session);
        return;
      case 9:
        penlight_session_node_profile(session, index, &profile);
        return;
      case 10:
        penlight_program_self_test(program_, &error);
        return;
      case 11:
        describe(index);
        return;
      case 12:
        cancel_ = static_cast<int>(bytes_.below(2));
        return;
      default:
        penlight_session_macs(session);
        penlight_session_arena_bytes(session);
        penlight_session_node_count(session);
        penlight_session_state_count(session);
    }
  }

 private:
  void create(size_t index) {
    const size_t slot = index % kSessions;
    for (size_t i = slot; i < kSessions; ++i) {  // those behind may use its states
      penlight_session_free(sessions_[i]);
      sessions_[i] = nullptr;
    }
    penlight_session_options options = {};
    options.struct_size = bytes_.below(8) == 0 ? bytes_.below(sizeof(options) + 9) : sizeof(options);
    options.threads = bytes_.below(16) == 0 ? static_cast<uint32_t>(bytes_.number()) : 0;
    options.mac_budget = bytes_.below(4) == 0 ? bytes_.below(5000) : kExerciseMacs;
    options.cancel = &cancel_;
    options.profile = bytes_.byte() & 1u;
    if (slot > 0 && bytes_.below(2) == 0) options.states_of = sessions_[bytes_.below(slot)];
    if (options.threads > 4) options.threads = 1000000;  // refused
    penlight_error error;
    const penlight_status status = penlight_session_create(program_, bytes_.below(3), &options, &sessions_[slot], &error);
    PENLIGHT_CHECK((status == PENLIGHT_OK) == (sessions_[slot] != nullptr) && status == error.status);
  }

  /// Every input and output with memory of its own, of about the right size.
  void run(penlight_session* session, bool to_the_end) {
    penlight_tensor inputs[kExerciseOperands] = {};
    penlight_tensor outputs[kExerciseOperands] = {};
    const size_t right = penlight_program_input_count(program_, 0);
    const size_t count = bytes_.below(8) == 0        ? bytes_.below(kExerciseOperands)
                         : right < kExerciseOperands ? right
                                                     : kExerciseOperands;
    const int64_t size = static_cast<int64_t>(bytes_.below(6));
    for (size_t i = 0; i < count; ++i) input(i, size, &inputs[i]);
    penlight_error error;
    penlight_status status = PENLIGHT_OK;
    if (to_the_end && bytes_.below(2) == 0) {
      status = penlight_session_run(session, inputs, count, nullptr, 0, &error);
    } else {
      status = penlight_session_prepare(session, inputs, count, &error);
      const size_t results = penlight_program_output_count(program_, 0);
      for (size_t i = 0; to_the_end && status == PENLIGHT_OK && i < results && i < kExerciseOperands; ++i)
        output(session, i, &outputs[i]);
      if (to_the_end && status == PENLIGHT_OK) status = penlight_session_run(session, inputs, count, outputs, results, &error);
    }
    PENLIGHT_CHECK(status == error.status && (status == PENLIGHT_OK || error.message[0] != '\0'));
    for (size_t i = 0; i < kExerciseOperands; ++i) {
      free(inputs[i].data);
      free(outputs[i].data);
    }
  }

  void input(size_t index, int64_t size, penlight_tensor* tensor) {
    penlight_tensor_info info = {};
    penlight_program_input_info(program_, 0, index, &info);
    tensor->dtype = info.dtype;
    tensor->rank = bytes_.below(32) == 0 ? static_cast<uint32_t>(bytes_.below(11)) : info.rank;
    uint64_t total = penlight_dtype_size(info.dtype);
    for (uint32_t i = 0; i < info.rank; ++i) {
      tensor->shape[i] = info.shape[i] < 0 ? size : info.shape[i];
      if (__builtin_mul_overflow(total, static_cast<uint64_t>(tensor->shape[i]), &total)) total = 0;
    }
    memory_of(total, tensor);
  }

  void output(penlight_session* session, size_t index, penlight_tensor* tensor) {
    if (penlight_session_output(session, index, tensor) == PENLIGHT_OK) memory_of(tensor->size_bytes, tensor);
  }

  void memory_of(uint64_t total, penlight_tensor* tensor) {
    tensor->size_bytes = static_cast<size_t>(total > kMostBytes ? 0 : total);
    if (tensor->size_bytes > 0 && bytes_.below(32) == 0) --tensor->size_bytes;
    void* data = nullptr;
    PENLIGHT_CHECK(posix_memalign(&data, 16, tensor->size_bytes == 0 ? 1 : tensor->size_bytes) == 0);
    bytes_.fill(data, tensor->size_bytes);
    tensor->data = data;
  }

  void describe(size_t index) {
    penlight_tensor tensor;
    penlight_tensor_info info;
    penlight_program_output_info(program_, index % 3, index, &info);
    if (penlight_program_golden_input(program_, index % 3, index, &tensor) == PENLIGHT_OK) touch(tensor, false);
    if (penlight_program_golden_output(program_, index % 3, index, &tensor) == PENLIGHT_OK) touch(tensor, false);
    penlight_program_metadata(program_, "producer");
    penlight_program_method_name(program_, index);
  }

  static void touch(const penlight_tensor& tensor, bool write) {
    auto* data = static_cast<volatile unsigned char*>(tensor.data);
    for (size_t i = 0; data != nullptr && i < tensor.size_bytes; ++i) {
      const unsigned char value = data[i];
      if (write) data[i] = static_cast<unsigned char>(value + 1);
    }
  }

  FuzzBytes& bytes_;
  FuzzMemory& memory_;
  const penlight_program* program_;
  penlight_session* sessions_[kSessions] = {};
  volatile int cancel_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const FuzzClock clock;
  FuzzBytes bytes(data, size);
  size_t length = 0;
  const uint8_t* file = fuzz_bundle().choose(bytes, &length);
  void* copy = nullptr;
  PENLIGHT_CHECK(posix_memalign(&copy, 64, length) == 0);
  memcpy(copy, file, length);
  FuzzMemory memory;
  memory.fail_in = bytes.below(32) == 0 ? 1 + bytes.below(16) : 0;
  const penlight_allocator allocator = {fuzz_allocate, fuzz_release, &memory};
  penlight_program_options options = {};
  options.struct_size = sizeof(options);
  options.allocator = &allocator;
  options.memory_budget_bytes = kExerciseMemory;
  options.mac_budget = kExerciseMacs;
  penlight_program* program = nullptr;
  if (penlight_program_load(copy, length, &options, &program, nullptr) == PENLIGHT_OK) {
    FuzzCaller caller(bytes, memory, program);
    for (int calls = 0; calls < 64 && !bytes.empty(); ++calls) caller.call();
  }
  penlight_program_free(program);
  PENLIGHT_CHECK(memory.live == 0);
  free(copy);
  return 0;
}
