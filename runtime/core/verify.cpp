// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "core/declared.h"
#include "core/kept.h"
#include "core/program.h"

namespace penlight {
namespace {

/// Where a method stands: in the program's list, or as a body inside of `depth` others.
struct MethodPlace {
  int64_t body;  // its index, -1: no body
  uint8_t depth;
};

/// Checks one method; `defined` has a mark per value that is a constant, an input, or written by a node that came earlier.
/// `body_depths` has for each body that a node refers to how deep it stands, 0 for the others.
class MethodVerifier {
 public:
  MethodVerifier(const penlight_program& program, FlatTable method, const MethodPlace& place, Array<uint8_t>& defined,
                 Array<uint8_t>& body_depths, penlight_error& error)
      : program_(program),
        method_(method),
        values_(method.get(PenMethod::kValues)),
        place_(place),
        defined_(defined),
        body_depths_(body_depths),
        error_(error) {}

  Status run() {
    Status status = Status::kOk;
    for (size_t i = 0; status == Status::kOk && i < values_.count(); ++i) status = value(i);
    if (status == Status::kOk) status = inputs();
    const FlatTables nodes = method_.get(PenMethod::kNodes);
    for (size_t i = 0; status == Status::kOk && i < nodes.count(); ++i) status = node(nodes[i], i);
    return status == Status::kOk ? outputs() : status;
  }

 private:
  Status value(size_t index) {
    const FlatTable value = values_[index];
    const FlatTables dims = value.get(PenValue::kShape);
    for (size_t i = 0; i < dims.count(); ++i) {
      if (!dimension_is_sound(dims[i])) return refuse_value(index, "has a dimension that is negative or names no symbol");
    }
    return value.declares(PenValue::kConstant.slot) ? constant(index) : Status::kOk;
  }

  bool dimension_is_sound(FlatTable dim) const {
    const FlatTables terms = dim.get(PenDim::kTerms);
    const size_t symbols = program_.root.get(PenProgram::kSymbols).count();
    if (terms.count() == 0 && dim.get(PenDim::kConstant) < 0) return false;
    for (size_t i = 0; i < terms.count(); ++i) {
      if (terms[i].get(PenDimTerm::kSymbol) >= symbols || terms[i].get(PenDimTerm::kCoefficient) == 0) return false;
    }
    return true;
  }

  Status constant(size_t index) {
    const FlatTable value = values_[index];
    const DType dtype = static_cast<DType>(value.get(PenValue::kDtype));
    Shape shape;
    if (dtype == DType::kNone || !declared_constant_shape(value, &shape) || !shape_fits(shape)) {
      return refuse_value(index, "is a constant without a dtype or a fixed shape");
    }
    if (!span_fits(program_, value.get(PenValue::kConstant), tensor_bytes(dtype, shape), dtype_size(dtype))) {
      return refuse_value(index, "is a constant whose bytes do not fill its shape or leave their segment");
    }
    defined_[index] = 1;
    return Status::kOk;
  }

  /// A body takes tensors as they come.
  bool describes_tensor(size_t index) const {
    if (index >= values_.count()) return false;
    if (place_.body >= 0) return true;
    return values_[index].get(PenValue::kDtype) != 0 && values_[index].declares(PenValue::kShape.slot);
  }

  Status inputs() {
    const FlatVector<uint32_t> inputs = method_.get(PenMethod::kInputs);
    for (size_t i = 0; i < inputs.count(); ++i) {
      if (!describes_tensor(inputs[i])) return refuse("an input is not a value with dtype and shape");
      if (defined_[inputs[i]] != 0) return refuse_value(inputs[i], "is an input and something else as well");
      defined_[inputs[i]] = 1;
    }
    return distinct_names(inputs) ? Status::kOk : refuse("two inputs have one name");
  }

  Status outputs() {
    const FlatVector<uint32_t> outputs = method_.get(PenMethod::kOutputs);
    for (size_t i = 0; i < outputs.count(); ++i) {
      if (!describes_tensor(outputs[i])) return refuse("an output is not a value with dtype and shape");
      if (defined_[outputs[i]] == 0) return refuse_value(outputs[i], "is an output that nothing writes");
    }
    if (!distinct_names(outputs)) return refuse("two outputs have one name");
    if (place_.body >= 0 && method_state_count(method_) > 0) return refuse("is a body with states");
    return method_states_fit(program_, method_) ? Status::kOk : refuse("its last inputs and outputs are not its states");
  }

  bool distinct_names(FlatVector<uint32_t> indices) const {
    for (size_t i = 0; place_.body < 0 && i < indices.count(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (indices[i] == indices[j] || strcmp(value_name(indices[i]), value_name(indices[j])) == 0) return false;
      }
    }
    return true;
  }

  Status node(FlatTable node, size_t index) {
    if (node.get(PenNode::kOperator) >= program_.kernels.count())
      return refuse_node(node, index, "names an operator that is not there");
    const Kernel& kernel = *program_.kernels[node.get(PenNode::kOperator)];
    const FlatVector<int32_t> inputs = node.get(PenNode::kInputs);
    const FlatVector<int32_t> outputs = node.get(PenNode::kOutputs);
    if (!arity_fits(inputs.count(), kernel.min_inputs, kernel.max_inputs))
      return refuse_node(node, index, "has a wrong number of inputs");
    if (!arity_fits(outputs.count(), kernel.min_outputs, kernel.max_outputs)) {
      return refuse_node(node, index, "has a wrong number of outputs");
    }
    for (size_t i = 0; i < inputs.count(); ++i) {
      const bool required = kernel.max_inputs < 0 || i < static_cast<size_t>(kernel.min_inputs);
      if (!readable(inputs[i], required)) return refuse_node(node, index, "reads a value that is not written before it");
    }
    for (size_t i = 0; i < outputs.count(); ++i) {
      if (!define(outputs[i])) return refuse_node(node, index, "writes a value that is not there or has another source");
    }
    return attributes(node, index);
  }

  static bool arity_fits(size_t count, int least, int most) {
    return count >= static_cast<size_t>(least) && count <= static_cast<size_t>(most < 0 ? kMaxOperands : most);
  }

  bool readable(int32_t value, bool required) const {
    if (value == -1) return !required;
    return value >= 0 && static_cast<size_t>(value) < values_.count() && defined_[static_cast<size_t>(value)] != 0;
  }

  bool define(int32_t value) {
    if (value == -1) return true;
    if (value < 0 || static_cast<size_t>(value) >= values_.count() || defined_[static_cast<size_t>(value)] != 0) return false;
    defined_[static_cast<size_t>(value)] = 1;
    return true;
  }

  Status attributes(FlatTable node, size_t index) {
    const FlatTables attributes = node.get(PenNode::kAttributes);
    for (size_t i = 0; i < attributes.count(); ++i) {
      if (!attribute_is_sound(attributes[i], node.get(PenNode::kInputs)))
        return refuse_node(node, index, "has an attribute without the value that its kind asks for");
    }
    return Status::kOk;
  }

  bool attribute_is_sound(FlatTable attribute, FlatVector<int32_t> inputs) {
    switch (static_cast<AttributeKind>(attribute.get(PenAttribute::kKind))) {
      case AttributeKind::kInteger:
      case AttributeKind::kReal:
      case AttributeKind::kIntegers:
      case AttributeKind::kReals:
      case AttributeKind::kTexts:
        return true;  // absent: 0 or an empty list
      case AttributeKind::kText:
        return attribute.declares(PenAttribute::kText.slot);
      case AttributeKind::kTensor: {
        const uint32_t value = attribute.get(PenAttribute::kTensor);
        return value < values_.count() && values_[value].declares(PenValue::kConstant.slot);
      }
      case AttributeKind::kBody:
        return body_is_sound(attribute, inputs);
    }
    return false;
  }

  /// A body belongs to one attribute, and stands behind the body that its node is in: no circle, no sharing.
  bool body_is_sound(FlatTable attribute, FlatVector<int32_t> inputs) {
    const uint32_t body = attribute.get(PenAttribute::kBody);
    if (body >= body_depths_.count() || body_depths_[body] != 0 || place_.depth >= kMaxBodyDepth) return false;
    if (static_cast<int64_t>(body) <= place_.body) return false;
    const FlatVector<int64_t> captures = attribute.get(PenAttribute::kIntegers);
    for (size_t i = 0; i < captures.count(); ++i) {
      const int64_t operand = captures[i];
      if (operand < 0 || static_cast<uint64_t>(operand) >= inputs.count() || inputs[static_cast<size_t>(operand)] < 0) return false;
    }
    body_depths_[body] = static_cast<uint8_t>(place_.depth + 1);
    return captures.count() <= program_.body(body).get(PenMethod::kInputs).count();
  }

  const char* value_name(size_t index) const { return values_[index].get(PenValue::kName); }
  const char* method_name() const { return method_.get(PenMethod::kName); }

  Status refuse_value(size_t index, const char* what) {
    return fail(error_, Status::kInvalidProgram, "method '%s': value '%s' %s", method_name(), value_name(index), what);
  }

  Status refuse_node(FlatTable node, size_t index, const char* what) {
    const uint32_t op = node.get(PenNode::kOperator);
    const char* name = op < program_.kernels.count() ? program_.kernels[op]->name : "?";
    return fail(error_, Status::kInvalidProgram, "method '%s': node %zu '%s' (%s) %s", method_name(), index,
                node.get(PenNode::kName), name, what);
  }

  Status refuse(const char* what) { return fail(error_, Status::kInvalidProgram, "method '%s': %s", method_name(), what); }

  const penlight_program& program_;
  const FlatTable method_;
  const FlatTables values_;
  const MethodPlace place_;
  Array<uint8_t>& defined_;
  Array<uint8_t>& body_depths_;
  penlight_error& error_;
};

Status verify_symbols(const penlight_program& program, penlight_error& error) {
  const FlatTables symbols = program.root.get(PenProgram::kSymbols);
  for (size_t i = 0; i < symbols.count(); ++i) {
    const int64_t minimum = symbols[i].get(PenSymbol::kMinimum);
    if (minimum < 0 || minimum > symbols[i].get(PenSymbol::kMaximum) || *symbols[i].get(PenSymbol::kName) == '\0') {
      return fail(error, Status::kInvalidProgram, "symbol %zu '%s' has no name or impossible bounds", i,
                  symbols[i].get(PenSymbol::kName));
    }
  }
  return Status::kOk;
}

Status verify_method_name(const penlight_program& program, size_t index, penlight_error& error) {
  const char* name = program.method(index).get(PenMethod::kName);
  for (size_t i = 0; i < index; ++i) {
    if (strcmp(name, program.method(i).get(PenMethod::kName)) == 0) {
      return fail(error, Status::kInvalidProgram, "two methods are called '%s'", name);
    }
  }
  return Status::kOk;
}

Status verify_method(penlight_program& program, FlatTable method, const MethodPlace& place, Array<uint8_t>& body_depths,
                     penlight_error& error) {
  Array<uint8_t> defined;
  if (!defined.reset(program.memory, method.get(PenMethod::kValues).count())) return program.memory.failure(error, "verification");
  return MethodVerifier(program, method, place, defined, body_depths, error).run();
}

}  // namespace

Status verify_program(penlight_program& program, penlight_error& error) {
  const size_t methods = program.root.get(PenProgram::kMethods).count();
  if (methods == 0) return fail(error, Status::kInvalidProgram, "the file has no method");
  Status status = verify_symbols(program, error);
  if (status == Status::kOk) status = verify_states(program, error);
  Array<uint8_t> body_depths;
  const size_t bodies = program.root.get(PenProgram::kBodies).count();
  if (!body_depths.reset(program.memory, bodies)) return program.memory.failure(error, "verification");
  for (size_t i = 0; status == Status::kOk && i < methods; ++i) {
    status = verify_method_name(program, i, error);
    if (status == Status::kOk) status = verify_method(program, program.method(i), {-1, 0}, body_depths, error);
  }
  for (size_t i = 0; status == Status::kOk && i < bodies; ++i) {
    if (body_depths[i] == 0) return fail(error, Status::kInvalidProgram, "no node that stands before body %zu runs it", i);
    status = verify_method(program, program.body(i), {static_cast<int64_t>(i), body_depths[i]}, body_depths, error);
  }
  return status;
}

}  // namespace penlight
