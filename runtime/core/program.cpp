// SPDX-License-Identifier: Apache-2.0
#include "program.h"

#include <string.h>

namespace penlight {
namespace {

bool kernel_serves(const Kernel& kernel, const char* domain, const char* name, uint32_t version) {
  return version >= static_cast<uint32_t>(kernel.min_version) && version <= static_cast<uint32_t>(kernel.max_version) &&
         strcmp(kernel.name, name) == 0 && strcmp(kernel.domain, domain) == 0;
}

const Kernel* find_kernel(FlatTable operator_table) {
  const char* domain = operator_table.get(PenOperator::kDomain);
  const char* name = operator_table.get(PenOperator::kName);
  const uint32_t version = operator_table.get(PenOperator::kVersion);
  for (size_t i = 0; i < kKernelCount; ++i) {
    if (kernel_serves(kKernels[i], domain, name, version)) return &kKernels[i];
  }
  return nullptr;
}

/// All missing operators in one message: whoever fixes an export wants to see the whole work.
Status refuse_operators(const penlight_program& program, size_t missing, penlight_error& error) {
  MessageWriter writer(error.message, sizeof(error.message) - 40);
  writer.append("no kernel in this runtime for %zu operator%s: ", missing, missing == 1 ? "" : "s");
  const FlatTables operators = program.root.get(PenProgram::kOperators);
  size_t listed = 0;
  for (size_t i = 0; i < operators.count() && !writer.full(); ++i) {
    if (program.kernels[i] != nullptr) continue;
    const char* domain = operators[i].get(PenOperator::kDomain);
    writer.append("%s%s%s%s version %u", listed == 0 ? "" : ", ", domain, *domain == '\0' ? "" : ".",
                  operators[i].get(PenOperator::kName), operators[i].get(PenOperator::kVersion));
    ++listed;
  }
  if (listed < missing || writer.full()) strcat(error.message, ", and more; penlight inspect lists them");
  message_clean(error.message);
  return Status::kUnsupportedOperator;
}

Status resolve_operators(penlight_program& program, penlight_error& error) {
  const FlatTables operators = program.root.get(PenProgram::kOperators);
  if (!program.kernels.reset(program.memory, operators.count())) return program.memory.failure(error, "operator table");
  size_t missing = 0;
  for (size_t i = 0; i < operators.count(); ++i) {
    program.kernels[i] = find_kernel(operators[i]);
    if (program.kernels[i] == nullptr) ++missing;
  }
  return missing == 0 ? Status::kOk : refuse_operators(program, missing, error);
}

}  // namespace

Status load_program(penlight_program& program, const void* data, size_t size, bool check_segments, penlight_error& error) {
  size_t root = 0;
  Status status = read_header(program, data, size, &root, error);
  if (status == Status::kOk) status = verify_structure(program.metadata, root, error);
  if (status != Status::kOk) return status;
  program.root = FlatTable(program.metadata.data + root);
  status = verify_segments(program, check_segments, error);
  if (status == Status::kOk) status = resolve_operators(program, error);
  if (status == Status::kOk) status = verify_program(program, error);
  if (status == Status::kOk) status = verify_samples(program, error);
  return status;
}

}  // namespace penlight
