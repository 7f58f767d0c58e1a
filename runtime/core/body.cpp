// Bodies of nodes: each is a session of its own that runs inside of the one around it. SPDX-License-Identifier: Apache-2.0
#include "core/declared.h"
#include "core/session.h"

namespace penlight {
namespace {

penlight_session& as_session(void* session) { return *static_cast<penlight_session*>(session); }

Status open_body(penlight_session& parent, FlatTable attribute, penlight_error& error) {
  penlight_session& root = *parent.root;
  penlight_session* body = session_allocate(root.memory);
  if (body == nullptr) return root.memory.failure(error, "body");
  const uint32_t index = attribute.get(PenAttribute::kBody);
  root.bodies[index] = body;
  body->memory.share(root.memory);
  body->root = &root;
  body->program = root.program;
  body->method = root.program->body(index);
  body->threads = root.threads;
  body->cancel = root.cancel;
  body->captures = attribute.get(PenAttribute::kIntegers);
  const Status status = session_read_method(*body, error);
  return status == Status::kOk ? session_open_bodies(*body, error) : status;
}

bool is_body_attribute(FlatTable attribute) {
  return attribute.get(PenAttribute::kKind) == static_cast<uint8_t>(AttributeKind::kBody);
}

/// Getting a body ready for other shapes costs about as much as its nodes.
Status spend_on_prepare(penlight_session& body, penlight_error& error) {
  if (session_shapes_match(body, body.arguments.data(), body.arguments.count())) return Status::kOk;
  return session_spend(body, 4 * body.body_cost(), error);
}

uint64_t rest_of_budget(const penlight_session& root) {
  if (root.mac_budget == 0) return 0;
  return root.spent < root.mac_budget ? root.mac_budget - root.spent : 1;
}

}  // namespace

Status session_open_bodies(penlight_session& session, penlight_error& error) {
  const size_t nodes = session.root->bodies.count() == 0 ? 0 : session.nodes.count();
  for (size_t i = 0; i < nodes; ++i) {
    const FlatTables attributes = session.node(i).get(PenNode::kAttributes);
    for (size_t j = 0; j < attributes.count(); ++j) {
      if (!is_body_attribute(attributes[j])) continue;
      const Status status = open_body(session, attributes[j], error);
      if (status != Status::kOk) return status;
    }
  }
  return Status::kOk;
}

void session_close_bodies(penlight_session& root) {
  for (size_t i = 0; i < root.bodies.count(); ++i) {
    penlight_session* body = root.bodies[i];
    if (body == nullptr) continue;
    session_close(*body);
    root.memory.release(body, sizeof(*body));
  }
}

NodeBody Context::body(const char* attribute) const {
  NodeBody result;
  const auto* source = static_cast<const AttributeSource*>(attributes->node);
  const FlatTable found = find_attribute(*source->session, source->node, attribute);
  if (found.present() && is_body_attribute(found)) result.session_ = source->session->root->bodies[found.get(PenAttribute::kBody)];
  return result;
}

int NodeBody::input_count() const {
  const penlight_session& body = as_session(session_);
  return static_cast<int>(body.inputs.count() - body.captures.count());
}

int NodeBody::output_count() const { return static_cast<int>(as_session(session_).outputs.count()); }

Status NodeBody::run(Context& context, const Tensor* inputs) const {
  penlight_session& body = as_session(session_);
  const auto own = static_cast<size_t>(input_count());
  for (size_t i = 0; i < body.arguments.count(); ++i) {
    body.arguments[i] = to_argument(i < own ? inputs[i] : context.input(static_cast<int>(body.captures[i - own])));
  }
  penlight_error error = {};
  Status status = Status::kOk;
  if (body.cancel != nullptr && *body.cancel != 0) status = fail(error, Status::kCancelled, "cancelled");
  if (status == Status::kOk) status = spend_on_prepare(body, error);
  body.mac_budget = rest_of_budget(*body.root);
  if (status == Status::kOk) status = session_run(body, body.arguments.data(), body.arguments.count(), nullptr, 0, error);
  return status == Status::kOk ? status : context.fail(status, "%s", error.message);
}

Tensor NodeBody::output(int i) const {
  const penlight_session& body = as_session(session_);
  penlight_tensor found = {};
  session_describe_output(body, static_cast<size_t>(i), &found);
  Tensor result = body.values[body.outputs[static_cast<size_t>(i)]].tensor;
  result.data = found.data;
  return result;
}

Tensor NodeBody::declared_output(int i) const {
  const penlight_session& body = as_session(session_);
  const FlatTable value = body.value(body.outputs[static_cast<size_t>(i)]);
  Tensor result;
  result.dtype = static_cast<DType>(value.get(PenValue::kDtype));
  declared_shape(value, &result.shape);
  for (int64_t& size : result.shape.dims) size = size < 0 ? 0 : size;
  return result;
}

Status Context::resize_output(int i, DType dtype, const Shape& shape) {
  auto* session = static_cast<penlight_session*>(core);
  Tensor& tensor = outputs[i];
  if (shape.rank > kMaxRank || !shape_fits(shape)) return fail(Status::kOutOfMemory, "output %d is too large for this machine", i);
  const size_t bytes = tensor_bytes(dtype, shape);
  const size_t before = tensor.data == nullptr ? 0 : tensor_bytes(tensor);
  if (tensor.data == nullptr || Blocks::capacity(tensor.data) < bytes) {
    // An output that grows row by row shall not be moved for each.
    const size_t wanted = before > bytes / 2 ? 2 * before : bytes;
    void* data = session->root->blocks.allocate(session->memory, wanted);
    if (data == nullptr && wanted > bytes) data = session->root->blocks.allocate(session->memory, bytes);
    if (data == nullptr) {
      penlight_error error = {};
      const Status status = session->memory.failure(error, "an output sized by data");
      return fail(status, "%s", error.message);
    }
    if (before > 0) memcpy(data, tensor.data, before < bytes ? before : bytes);
    session->root->blocks.release(tensor.data);
    tensor.data = data;
  }
  tensor.dtype = dtype;
  tensor.shape = shape;
  return Status::kOk;
}

}  // namespace penlight
