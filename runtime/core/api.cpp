// The C API of include/penlight.h: checks arguments, then calls the core. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "core/declared.h"
#include "core/kept.h"
#include "core/platform.h"
#include "core/self_test.h"
#include "core/session.h"

namespace penlight {
namespace {

/// The caller's error, or one that nobody reads; starts as "no error".
class ErrorOut {
 public:
  explicit ErrorOut(penlight_error* error) : error_(error != nullptr ? error : &unread_) {
    error_->status = PENLIGHT_OK;
    error_->message[0] = '\0';
  }
  penlight_error& operator*() { return *error_; }
  penlight_status result(Status status) {
    if (status == Status::kInvalidFile || status == Status::kInvalidProgram)
      message_extend(*error_, "; copy or export the file again");
    return error_->status = static_cast<penlight_status>(status);
  }
  penlight_status invalid(const char* what) { return result(fail(*error_, Status::kInvalidArgument, "%s", what)); }

 private:
  penlight_error unread_;
  penlight_error* error_;
};

/// Copies options of any age: fields that the caller's struct does not have yet stay zero.
bool read_options(const void* given, void* options, size_t size, size_t alignment) {
  memset(options, 0, size);
  if (given == nullptr) return true;
  size_t given_size = 0;  // the first field of all options
  memcpy(&given_size, given, sizeof(given_size));
  // A size between fields of an older header is a multiple of the alignment; any other would cut a pointer in two.
  if (given_size < sizeof(size_t) || given_size % alignment != 0) return false;
  memcpy(options, given, given_size < size ? given_size : size);
  return true;
}

template <typename Options>
bool read_options(const Options* given, Options* options) {
  return read_options(given, options, sizeof(Options), alignof(Options));
}

penlight_status describe_value(const penlight_program* program, size_t method, PenNumbers<uint32_t> side, size_t index,
                               penlight_tensor_info* info) {
  if (program == nullptr || info == nullptr || method >= penlight_program_method_count(program)) return PENLIGHT_INVALID_ARGUMENT;
  const FlatTable table = program->method(method);
  const FlatVector<uint32_t> operands = table.get(side);
  if (index + method_state_count(table) >= operands.count()) return PENLIGHT_INVALID_ARGUMENT;
  const FlatTable value = table.get(PenMethod::kValues, operands[index]);
  Shape shape;
  declared_shape(value, &shape);
  *info = penlight_tensor_info{};
  info->name = value.get(PenValue::kName);
  info->dtype = static_cast<penlight_dtype>(value.get(PenValue::kDtype));
  info->rank = static_cast<uint32_t>(shape.rank);
  memcpy(info->shape, shape.dims, sizeof(info->shape));
  for (int i = 0; i < shape.rank; ++i) {
    if (shape.dims[i] >= 0) continue;
    const int64_t symbol = declared_symbol(value.get(PenValue::kShape, static_cast<size_t>(i)));
    info->symbols[i] = symbol < 0 ? "" : program->symbol(static_cast<size_t>(symbol)).get(PenSymbol::kName);
  }
  return PENLIGHT_OK;
}

penlight_status describe_golden(const penlight_program* program, size_t golden, GoldenSide side, size_t index,
                                penlight_tensor* tensor) {
  if (program == nullptr || tensor == nullptr || golden >= penlight_program_golden_count(program)) return PENLIGHT_INVALID_ARGUMENT;
  const FlatTable table = program->golden(golden);
  const PenChildren field = side == GoldenSide::kInput ? PenGolden::kInputs : PenGolden::kOutputs;
  if (index >= table.get(field).count()) return PENLIGHT_INVALID_ARGUMENT;
  *tensor = golden_tensor(*program, golden, side, index);
  return PENLIGHT_OK;
}

size_t count_operands_of(const penlight_program* program, size_t method, PenNumbers<uint32_t> side) {
  if (method >= penlight_program_method_count(program)) return 0;
  const FlatTable table = program->method(method);
  return table.get(side).count() - method_state_count(table);
}

/// The number of an enum that comes from C, where it may be any; to load it as the enum would be undefined then.
template <typename Enum>
unsigned number_of(const Enum& given) {
  unsigned number = 0;
  memcpy(&number, &given, sizeof(given));  // little-endian, as files are
  return number;
}

FlatTables metadata_entries(const penlight_program* program) {
  return program == nullptr ? FlatTables() : program->root.get(PenProgram::kMetadata);
}

}  // namespace
}  // namespace penlight

uint32_t penlight_version(void) { return PENLIGHT_VERSION_MAJOR << 16 | PENLIGHT_VERSION_MINOR << 8 | PENLIGHT_VERSION_PATCH; }

const char* penlight_status_name(penlight_status status) { return penlight::status_name(penlight::number_of(status)); }

size_t penlight_dtype_size(penlight_dtype dtype) {
  const unsigned number = penlight::number_of(dtype);
  return number > penlight::kPenDTypeLargest ? 0 : penlight::dtype_size(static_cast<penlight::DType>(number));
}

size_t penlight_operator_count(void) { return penlight::kKernelCount; }

penlight_status penlight_operator_describe(size_t index, penlight_operator_info* info) {
  if (info == nullptr || index >= penlight::kKernelCount) return PENLIGHT_INVALID_ARGUMENT;
  const penlight::Kernel& kernel = penlight::kKernels[index];
  *info = {kernel.domain, kernel.name, static_cast<uint32_t>(kernel.min_version), static_cast<uint32_t>(kernel.max_version)};
  return PENLIGHT_OK;
}

penlight_status penlight_program_load(const void* data, size_t size_bytes, const penlight_program_options* options,
                                      penlight_program** program, penlight_error* error) {
  penlight::ErrorOut out(error);
  if (program == nullptr) return out.invalid("program_load: `program` is NULL; pass the address of a pointer");
  *program = nullptr;
  penlight_program_options given;
  if (!penlight::read_options(options, &given)) return out.invalid("program_load: options->struct_size is not sizeof *options");
  if (data == nullptr && size_bytes > 0) return out.invalid("program_load: `data` is NULL");
  if (reinterpret_cast<uintptr_t>(data) % 8 != 0) return out.invalid("program_load: `data` must be aligned to 8 bytes");
  penlight::Memory memory;
  memory.initialize(given.allocator, given.memory_budget_bytes, 0);
  void* place = memory.allocate(sizeof(penlight_program), alignof(penlight_program));
  if (place == nullptr) return out.result(memory.failure(*out, "program"));
  auto* loaded = new (penlight::InPlace{place}) penlight_program();
  loaded->memory = memory;
  loaded->mac_budget = given.mac_budget;
  const penlight::Status status = penlight::load_program(*loaded, data, size_bytes, given.check_segments != 0, *out);
  if (status == penlight::Status::kOk)
    *program = loaded;
  else
    penlight_program_free(loaded);
  return out.result(status);
}

void penlight_program_free(penlight_program* program) {
  if (program == nullptr) return;
  penlight::Memory memory = program->memory;
  program->~penlight_program();
  memory.release(program, sizeof(*program));
}

size_t penlight_program_method_count(const penlight_program* program) {
  return program == nullptr ? 0 : program->root.get(penlight::PenProgram::kMethods).count();
}

const char* penlight_program_method_name(const penlight_program* program, size_t method) {
  if (method >= penlight_program_method_count(program)) return nullptr;
  return program->method(method).get(penlight::PenMethod::kName);
}

size_t penlight_program_input_count(const penlight_program* program, size_t method) {
  return penlight::count_operands_of(program, method, penlight::PenMethod::kInputs);
}

size_t penlight_program_output_count(const penlight_program* program, size_t method) {
  return penlight::count_operands_of(program, method, penlight::PenMethod::kOutputs);
}

penlight_status penlight_program_input_info(const penlight_program* program, size_t method, size_t index,
                                            penlight_tensor_info* info) {
  return penlight::describe_value(program, method, penlight::PenMethod::kInputs, index, info);
}

penlight_status penlight_program_output_info(const penlight_program* program, size_t method, size_t index,
                                             penlight_tensor_info* info) {
  return penlight::describe_value(program, method, penlight::PenMethod::kOutputs, index, info);
}

const char* penlight_program_metadata(const penlight_program* program, const char* key) {
  const penlight::FlatTables entries = penlight::metadata_entries(program);
  for (size_t i = 0; key != nullptr && i < entries.count(); ++i) {
    if (strcmp(entries[i].get(penlight::PenKeyValue::kKey), key) == 0) return entries[i].get(penlight::PenKeyValue::kValue);
  }
  return nullptr;
}

size_t penlight_program_metadata_count(const penlight_program* program) { return penlight::metadata_entries(program).count(); }

penlight_status penlight_program_metadata_entry(const penlight_program* program, size_t index, const char** key,
                                                const char** value) {
  const penlight::FlatTables entries = penlight::metadata_entries(program);
  if (key == nullptr || value == nullptr || index >= entries.count()) return PENLIGHT_INVALID_ARGUMENT;
  *key = entries[index].get(penlight::PenKeyValue::kKey);
  *value = entries[index].get(penlight::PenKeyValue::kValue);
  return PENLIGHT_OK;
}

penlight_status penlight_program_self_test(const penlight_program* program, penlight_error* error) {
  penlight::ErrorOut out(error);
  if (program == nullptr) return out.invalid("program_self_test: `program` is NULL");
  return out.result(penlight::self_test(*program, *out));
}

size_t penlight_program_golden_count(const penlight_program* program) {
  return program == nullptr ? 0 : program->root.get(penlight::PenProgram::kGolden).count();
}

size_t penlight_program_golden_method(const penlight_program* program, size_t golden) {
  return golden < penlight_program_golden_count(program) ? program->golden(golden).get(penlight::PenGolden::kMethod) : 0;
}

penlight_status penlight_program_golden_input(const penlight_program* program, size_t golden, size_t index,
                                              penlight_tensor* tensor) {
  return penlight::describe_golden(program, golden, penlight::GoldenSide::kInput, index, tensor);
}

penlight_status penlight_program_golden_output(const penlight_program* program, size_t golden, size_t index,
                                               penlight_tensor* tensor) {
  return penlight::describe_golden(program, golden, penlight::GoldenSide::kOutput, index, tensor);
}

penlight_status penlight_session_create(const penlight_program* program, size_t method, const penlight_session_options* options,
                                        penlight_session** session, penlight_error* error) {
  penlight::ErrorOut out(error);
  if (session == nullptr) return out.invalid("session_create: `session` is NULL; pass the address of a pointer");
  *session = nullptr;
  if (method >= penlight_program_method_count(program)) return out.invalid("session_create: the program has no such method");
  penlight_session_options given;
  if (!penlight::read_options(options, &given)) return out.invalid("session_create: options->struct_size is not sizeof *options");
  penlight::Memory memory;
  memory.initialize(&program->memory.allocator(), program->memory.budget(), program->memory.used());
  penlight_session* opened = penlight::session_allocate(memory);
  if (opened == nullptr) return out.result(memory.failure(*out, "session"));
  opened->memory = memory;
  const penlight::Status status = penlight::session_open(*opened, *program, method, given, *out);
  if (status == penlight::Status::kOk)
    *session = opened;
  else
    penlight_session_free(opened);
  return out.result(status);
}

void penlight_session_free(penlight_session* session) {
  if (session == nullptr) return;
  penlight::session_close(*session);
  penlight::Memory memory = session->memory;
  memory.release(session, sizeof(*session));
}

penlight_status penlight_session_prepare(penlight_session* session, const penlight_tensor* inputs, size_t input_count,
                                         penlight_error* error) {
  penlight::ErrorOut out(error);
  if (session == nullptr || (inputs == nullptr && input_count > 0))
    return out.invalid("session_prepare: `session` or `inputs` is NULL");
  return out.result(penlight::session_prepare_kept(*session, inputs, input_count, *out));
}

penlight_status penlight_session_output(const penlight_session* session, size_t index, penlight_tensor* tensor) {
  if (session == nullptr || tensor == nullptr || !session->prepared || index >= session->visible_outputs)
    return PENLIGHT_INVALID_ARGUMENT;
  penlight::session_describe_output(*session, index, tensor);
  return PENLIGHT_OK;
}

penlight_status penlight_session_run(penlight_session* session, const penlight_tensor* inputs, size_t input_count,
                                     penlight_tensor* outputs, size_t output_count, penlight_error* error) {
  penlight::ErrorOut out(error);
  if (session == nullptr || (inputs == nullptr && input_count > 0))
    return out.invalid("session_run: `session` or `inputs` is NULL");
  return out.result(penlight::session_run_kept(*session, inputs, input_count, outputs, output_count, *out));
}

size_t penlight_session_state_count(const penlight_session* session) {
  return session == nullptr ? 0 : penlight::method_state_count(session->method);
}

penlight_status penlight_session_state(const penlight_session* session, size_t index, const char** name, penlight_tensor* tensor) {
  if (tensor == nullptr || index >= penlight_session_state_count(session)) return PENLIGHT_INVALID_ARGUMENT;
  const uint32_t state = session->method.get(penlight::PenMethod::kStates)[index];
  if (name != nullptr) *name = session->program->state(state).get(penlight::PenState::kName);
  *tensor = penlight::session_kept_tensor(*session, index);
  return PENLIGHT_OK;
}

void penlight_session_reset(penlight_session* session) {
  if (session != nullptr) penlight::session_reset_kept(*session);
}

uint64_t penlight_session_arena_bytes(const penlight_session* session) {
  return session != nullptr && session->prepared ? session->arena_bytes : 0;
}

uint64_t penlight_session_macs(const penlight_session* session) {
  if (session == nullptr || !session->prepared) return 0;
  return session->has_run ? session->spent : session->macs;
}

size_t penlight_session_node_count(const penlight_session* session) { return session == nullptr ? 0 : session->nodes.count(); }

penlight_status penlight_session_node_profile(const penlight_session* session, size_t node, penlight_node_profile* profile) {
  if (session == nullptr || profile == nullptr || node >= session->nodes.count()) return PENLIGHT_INVALID_ARGUMENT;
  const penlight::FlatTable table = session->node(node);
  const char* path = table.get(penlight::PenNode::kModulePath);
  const penlight::NodeRecord& record = session->nodes[node];
  *profile = {table.get(penlight::PenNode::kName), record.kernel->name,
              *path != '\0' ? path : table.get(penlight::PenNode::kSource), record.nanoseconds, record.macs};
  return PENLIGHT_OK;
}

size_t penlight_session_plan_count(const penlight_session* session) {
  return session == nullptr || !session->prepared ? 0 : session->value_count + session->nodes.count();
}

penlight_status penlight_session_plan_entry(const penlight_session* session, size_t index, penlight_plan_entry* entry) {
  if (entry == nullptr || index >= penlight_session_plan_count(session)) return PENLIGHT_INVALID_ARGUMENT;
  penlight::session_describe_plan(*session, index, entry);
  return PENLIGHT_OK;
}
