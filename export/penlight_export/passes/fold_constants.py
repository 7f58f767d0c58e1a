# SPDX-License-Identifier: Apache-2.0
"""Computes nodes whose inputs are all constant, with ONNX's reference implementation, within a bound on memory."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
from onnx.helper import make_tensor_type_proto, tensor_dtype_to_np_dtype
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import infer_node_outputs

from penlight_export.errors import PassError
from penlight_export.graph import (
    Model,
    Node,
    Value,
    add_constant,
    all_nodes,
    constant_of,
    constant_size,
    describe,
    graph_of,
    make_node,
    node_to_proto,
)
from penlight_export.onnx.opsets import find_schema
from penlight_export.passes.base import Pass

# Random numbers must stay random, and a folded DequantizeLinear would undo the quantization of the weights.
_NEVER = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
    "Dropout",
    "DequantizeLinear",
    "QuantizeLinear",
}


class LiftConstants(Pass):
    """Turns Constant nodes into initializers, the one form in which later passes look for constants."""

    name = "constants to initializers"
    operators = frozenset({"Constant"})

    def run(self, model: Model) -> int:
        """Returns the number of lifted nodes; string and sparse constants stay."""
        lifted = 0
        for node in tuple(all_nodes(model.graph)):
            if node.op_type == "Constant" and node.domain == "" and (array := _constant_array(node)) is not None:
                replace_by_constants(node, [array])
                lifted += 1
        return lifted

    def ensures(self, model: Model) -> None:
        """No numeric Constant node is left."""
        for node in all_nodes(model.graph):
            if node.op_type == "Constant" and node.domain == "" and _constant_array(node) is not None:
                raise PassError(f"constants to initializers: {describe(node)} is still a node")


class FoldConstants(Pass):
    """Evaluates constant nodes one by one in order, so that chains fold in one run.

    A node is left alone when its outputs would take more than `node_bytes` and more than its inputs, or when all results together
    would pass `total_bytes`: a Tile or Expand of constants must not blow a model up.
    """

    name = "constant folding"

    def __init__(self, node_bytes: int = 1 << 20, total_bytes: int = 1 << 28) -> None:
        self.node_bytes = node_bytes
        self.total_bytes = total_bytes

    def run(self, model: Model) -> int:
        """Returns the number of folded nodes."""
        folded, spent = 0, 0
        opset = model.opset_imports.get("", 1)
        for node in tuple(all_nodes(model.graph)):
            if not _may_fold(node):
                continue
            size = _output_bytes(node, opset)
            if size is None or size > max(self.node_bytes, _input_bytes(node)) or spent + size > self.total_bytes:
                continue
            if (arrays := _evaluate(node, opset)) is not None:
                replace_by_constants(node, arrays)
                folded, spent = folded + 1, spent + size
        return folded


def _constant_array(node: Node) -> np.ndarray | None:
    for name, attribute in node.attributes.items():
        if name == "value":
            return None if attribute.value.dtype.is_string() else np.asarray(attribute.value.numpy())
        if name in ("value_float", "value_floats"):
            return np.asarray(attribute.value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.asarray(attribute.value, np.int64)
    return None


def _may_fold(node: Node) -> bool:
    """All operands are constants and the operator is a pure function without a subgraph."""
    if node.domain != "" or node.op_type in _NEVER or not node.inputs:
        return False
    if any(value is not None and constant_size(value) is None for value in node.inputs):
        return False
    if node.op_type == "Identity" and node.outputs[0].is_graph_output():
        return False  # this is how a constant output is written
    return not any(attribute.type.name in ("GRAPH", "GRAPHS") or attribute.is_ref() for attribute in node.attributes.values())


def _input_bytes(node: Node) -> int:
    return sum(value.const_value.nbytes for value in node.inputs if value is not None and value.const_value is not None)


def _output_bytes(node: Node, opset: int) -> int | None:
    """Bytes of all outputs by ONNX's own shape rules, None when they cannot tell."""
    schema = find_schema("", node.op_type, opset)
    if schema is None:
        return None
    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in node.inputs:
        if value is not None and value.const_value is not None and value.name is not None:
            tensor = value.const_value
            types[value.name] = make_tensor_type_proto(int(tensor.dtype), tensor.shape.numpy())
            if tensor.size <= 1024:  # shapes, axes, repeats
                data[value.name] = onnx.numpy_helper.from_array(np.asarray(tensor.numpy()), value.name)
    try:
        inferred = infer_node_outputs(schema, node_to_proto(node), types, data, opset_imports=[onnx.helper.make_opsetid("", opset)])
    except Exception:  # the C++ inference raises several types; unknown is a fine answer
        return None
    total = 0
    for value in node.outputs:
        kind = inferred.get(value.name or "")
        if kind is None or not kind.tensor_type.HasField("shape"):
            return None
        count = 1
        for dim in kind.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                return None
            count *= dim.dim_value
        total += count * np.dtype(tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)).itemsize
    return total


def _evaluate(node: Node, opset: int) -> list[np.ndarray] | None:
    """Runs one node. None when the reference implementation refuses: then the node stays as it is."""
    feeds = {value.name or "": constant_of(value) for value in node.inputs if value is not None}
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            outputs = ReferenceEvaluator(node_to_proto(node), opsets={"": opset}).run(None, feeds)
    except Exception:  # reference operators raise whatever NumPy raises; folding is optional
        return None
    if any(not isinstance(array, (np.ndarray, np.generic)) for array in outputs):
        return None
    return [np.asarray(array) for array in outputs]


def replace_by_constants(node: Node, arrays: list[np.ndarray]) -> None:
    """Puts initializers in the place of a node's outputs. An output of the graph is fed through an Identity, and keeps its name."""
    graph = graph_of(node)
    for value, array in zip(node.outputs, arrays, strict=False):
        if not value.uses() and not value.is_graph_output():
            continue
        constant = add_constant(graph, array, f"{value.name}.constant")
        if value.is_graph_output():
            _feed_output(node, value, constant)
        else:
            value.replace_all_uses_with(constant)
    graph.remove(node, safe=True)


def _feed_output(node: Node, value: Value, constant: Value) -> None:
    graph = graph_of(node)
    identity = make_node("Identity", [constant], like=node)
    graph.insert_before(node, identity)
    name = value.name
    value.replace_all_uses_with(identity.outputs[0], replace_graph_outputs=True)
    value.name = f"{name}__replaced"
    identity.outputs[0].name = name
    identity.outputs[0].shape, identity.outputs[0].type = constant.shape, constant.type
