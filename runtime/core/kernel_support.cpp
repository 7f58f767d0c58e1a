// The core's side of kernels/kernel.h. SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "core/session.h"

namespace penlight {
namespace {

FlatTable find_attribute(const void* source, const char* name) {
  const auto* from = static_cast<const AttributeSource*>(source);
  return penlight::find_attribute(*from->session, from->node, name);
}

bool attribute_is(FlatTable attribute, AttributeKind kind) {
  return attribute.present() && attribute.get(PenAttribute::kKind) == static_cast<uint8_t>(kind);
}

template <typename T>
int64_t copy_numbers(FlatVector<T> from, T* out, int64_t capacity) {
  const auto count = static_cast<int64_t>(from.count());
  for (int64_t i = 0; i < count && i < capacity; ++i) out[i] = from[static_cast<size_t>(i)];
  return count;
}

}  // namespace

FlatTable find_attribute(const penlight_session& session, size_t node, const char* name) {
  const FlatTables attributes = session.node(node).get(PenNode::kAttributes);
  for (size_t i = 0; i < attributes.count(); ++i) {
    if (strcmp(attributes[i].get(PenAttribute::kName), name) == 0) return attributes[i];
  }
  return FlatTable();
}

size_t dtype_size(DType dtype) {
  constexpr uint8_t kSizes[] = {0, 4, 2, 2, 8, 1, 1, 2, 2, 4, 4, 8, 8, 1};
  const auto index = static_cast<size_t>(dtype);
  return index < sizeof(kSizes) ? kSizes[index] : 0;
}

const char* dtype_name(DType dtype) {
  if (dtype > DType::kBool) return "unknown";
  return nth_text("none\0float32\0float16\0bfloat16\0float64\0int8\0uint8\0int16\0uint16\0int32\0uint32\0int64\0uint64\0bool",
                  static_cast<size_t>(dtype));
}

int64_t Attributes::integer(const char* name, int64_t fallback) const {
  const FlatTable attribute = find_attribute(node, name);
  return attribute_is(attribute, AttributeKind::kInteger) ? attribute.get(PenAttribute::kInteger) : fallback;
}

double Attributes::real(const char* name, double fallback) const {
  const FlatTable attribute = find_attribute(node, name);
  return attribute_is(attribute, AttributeKind::kReal) ? attribute.get(PenAttribute::kReal) : fallback;
}

const char* Attributes::text(const char* name) const {
  const FlatTable attribute = find_attribute(node, name);
  return attribute_is(attribute, AttributeKind::kText) ? attribute.get(PenAttribute::kText) : nullptr;
}

const char* Attributes::text_at(const char* name, size_t i) const {
  const FlatTable attribute = find_attribute(node, name);
  return attribute_is(attribute, AttributeKind::kTexts) ? attribute.get(PenAttribute::kTexts, i) : nullptr;
}

int64_t Attributes::integers(const char* name, int64_t* out, int64_t capacity) const {
  const FlatTable attribute = find_attribute(node, name);
  if (!attribute_is(attribute, AttributeKind::kIntegers)) return -1;
  return copy_numbers(attribute.get(PenAttribute::kIntegers), out, capacity);
}

int64_t Attributes::integer_at(const char* name, size_t i) const {
  const FlatTable attribute = find_attribute(node, name);
  return attribute_is(attribute, AttributeKind::kIntegers) ? attribute.get(PenAttribute::kIntegers)[i] : 0;
}

int64_t Attributes::reals(const char* name, double* out, int64_t capacity) const {
  const FlatTable attribute = find_attribute(node, name);
  if (!attribute_is(attribute, AttributeKind::kReals)) return -1;
  return copy_numbers(attribute.get(PenAttribute::kReals), out, capacity);
}

Tensor Attributes::tensor(const char* name) const {
  const FlatTable attribute = find_attribute(node, name);
  if (!attribute_is(attribute, AttributeKind::kTensor)) return Tensor();
  return static_cast<const AttributeSource*>(node)->session->values[attribute.get(PenAttribute::kTensor)].tensor;
}

const Tensor Context::kAbsent = {};

#if PENLIGHT_MESSAGES
Status Context::fail(Status status, const char* format, ...) {
  auto* session = static_cast<penlight_session*>(core);
  va_list arguments;
  va_start(arguments, format);
  MessageWriter(session->kernel_message, sizeof(session->kernel_message)).append_list(format, arguments);
  va_end(arguments);
  return status;
}
#endif

Status Context::spend(uint64_t work) {
  penlight_error error = {};
  const Status status = session_spend(*static_cast<penlight_session*>(core), work, error);
  return status == Status::kOk ? status : fail(status, "%s", error.message);
}

void Context::parallel(size_t count, void (*task)(void* argument, size_t index), void* argument) {
  const penlight_thread_pool& pool = static_cast<penlight_session*>(core)->threads;
  if (pool.run != nullptr && pool.threads > 1 && count > 1) return pool.run(pool.context, count, task, argument);
  for (size_t i = 0; i < count; ++i) task(argument, i);
}

size_t Context::threads() const {
  const penlight_thread_pool& pool = static_cast<const penlight_session*>(core)->threads;
  return pool.run != nullptr && pool.threads > 1 ? pool.threads : 1;
}

NodeCall::NodeCall(penlight_session& session, size_t node, bool outputs_known)
    : context(), source_{&session, static_cast<uint32_t>(node)} {
  session.kernel_message[0] = '\0';
  const NodeRecord& record = session.nodes[node];
  auto* operands = reinterpret_cast<Tensor*>(operands_);
  const Tensor nothing;
  for (size_t i = 0; i < size_t{record.input_count} + record.output_count; ++i) {
    const int32_t value = session.node_inputs(record)[i];
    const bool known = i < record.input_count ? value >= 0 : outputs_known;
    memcpy(static_cast<void*>(&operands[i]), known ? &session.values[static_cast<size_t>(value)].tensor : &nothing, sizeof(Tensor));
  }
  attributes_.node = &source_;
  context.attributes = &attributes_;
  context.input_count = record.input_count;
  context.output_count = record.output_count;
  context.inputs = operands;
  context.outputs = operands + record.input_count;
  context.version = record.version;
  context.deterministic = session.root->deterministic;
  context.wanted_outputs = record.wanted_outputs;
  context.core = &session;
}

Status node_failure(const penlight_session& session, size_t node, Status status, penlight_error& error) {
  const FlatTable table = session.node(node);
  const char* name = table.get(PenNode::kName);
  const char* source = *table.get(PenNode::kModulePath) != '\0' ? table.get(PenNode::kModulePath) : table.get(PenNode::kSource);
  const char* said = session.kernel_message[0] != '\0' ? session.kernel_message : status_name(static_cast<unsigned>(status));
  char place[96] = "";
  if (*source != '\0') MessageWriter(place, sizeof(place)).append(" from %s", source);
  return fail(error, status, "node %zu '%.60s' (%s)%s: %s", node, name, session.nodes[node].kernel->name, place, said);
}

}  // namespace penlight
