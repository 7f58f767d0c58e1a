# SPDX-License-Identifier: Apache-2.0
"""Bodies of standard operators for the fused ones of domain ai.penlight, so that any ONNX engine can run the graph.

There is one function for each combination of activation, bias and residual that a graph has; overload names tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable

from penlight_export.graph import (
    FUSED_DOMAIN,
    Attr,
    AttributeType,
    Function,
    Graph,
    Model,
    Node,
    RefAttr,
    Value,
    all_nodes,
)
from penlight_export.passes.fuse_activation import RESIDUAL
from penlight_export.passes.nbits_body import nbits_body

_SHARED = {
    "FusedConv": {
        "auto_pad": "STRING",
        "dilations": "INTS",
        "group": "INT",
        "kernel_shape": "INTS",
        "pads": "INTS",
        "strides": "INTS",
    },
    "FusedGemm": {"alpha": "FLOAT", "beta": "FLOAT", "transA": "INT", "transB": "INT"},
}


_NORM = {"axis": "INT", "epsilon": "FLOAT"}
_ACTIVATION = {"activation": "STRING", "activation_alpha": "FLOAT", "activation_beta": "FLOAT"}


def add_functions(model: Model) -> None:
    """Defines every fused operator that the model uses by a body of standard operators."""
    for node in all_nodes(model.graph):
        if node.domain == FUSED_DOMAIN and node.op_identifier() not in model.functions:
            function = _DEFINED[node.op_type](node.op_type, node.overload, model.opset_imports[""])
            model.functions[function.identifier()] = function


def _define(name: str, overload: str, opset: int) -> Function:
    """FusedConv and FusedGemm: the overload is the activation, behind "Residual" where there is something to add before it."""
    residual, activation = overload.startswith(RESIDUAL), overload.removeprefix(RESIDUAL)
    inputs = [Value(name=letter) for letter in ("XWBR" if residual else "XWB")]
    nodes = [Node("", name.removeprefix("Fused"), inputs[:3], [_refer(n, n, kind) for n, kind in _SHARED[name].items()])]
    if residual:
        nodes.append(Node("", "Add", [nodes[-1].outputs[0], inputs[3]]))
    if activation:
        nodes += _activation_nodes(activation, nodes[-1].outputs[0])
    graph = Graph(inputs, [nodes[-1].outputs[0]], nodes=nodes, opset_imports={"": opset}, name=f"{name}{overload}")
    kinds = {**_SHARED[name], **_ACTIVATION}
    attributes = [Attr(n, AttributeType.__members__[kind], None) for n, kind in kinds.items()]
    return Function(FUSED_DOMAIN, name, overload, graph=graph, attributes=attributes)


def _define_linear(name: str, overload: str, opset: int) -> Function:
    """FusedMatMul: the overload says which of bias, activation and residual there are."""
    inputs = [Value(name=letter) for letter in "XWBR"]
    nodes = [Node("", "MatMul", inputs[:2])]
    activation = overload.removeprefix("Bias").removesuffix("Residual")
    if overload.startswith("Bias"):
        nodes.append(Node("", "Add", [nodes[-1].outputs[0], inputs[2]]))
    if activation:
        nodes += _activation_nodes(activation, nodes[-1].outputs[0])
    if overload.endswith("Residual"):
        nodes.append(Node("", "Add", [nodes[-1].outputs[0], inputs[3]]))
    graph = Graph(inputs, [nodes[-1].outputs[0]], nodes=nodes, opset_imports={"": opset}, name=f"{name}{overload}")
    attributes = [Attr(n, AttributeType.__members__[kind], None) for n, kind in _ACTIVATION.items()]
    return Function(FUSED_DOMAIN, name, overload, graph=graph, attributes=attributes)


def _define_norm(name: str, overload: str, opset: int) -> Function:
    """FusedLayerNormalization and FusedRMSNormalization of X + R: the overload says whether there is a bias, and whether the sum is
    a result, too.
    """
    inputs = [Value(name=letter) for letter in ("XRSB" if overload.startswith("Bias") else "XRS")]
    total = Node("", "Add", inputs[:2])
    attributes = [_refer(n, n, kind) for n, kind in _NORM.items()]
    norm = Node("", name.removeprefix("Fused"), [total.outputs[0], *inputs[2:]], attributes)
    outputs = [norm.outputs[0], total.outputs[0]][: 1 + overload.endswith("Sum")]
    graph = Graph(inputs, outputs, nodes=[total, norm], opset_imports={"": opset}, name=f"{name}{overload}")
    declared = [Attr(n, AttributeType.__members__[kind], None) for n, kind in _NORM.items()]
    return Function(FUSED_DOMAIN, name, overload, graph=graph, attributes=declared)


def _define_quantized_add(name: str, overload: str, opset: int) -> Function:
    """QuantizedAdd: each tensor with its scale and zero point; those of the result come last."""
    inputs = [Value(name=each) for each in ("A", "a_scale", "a_zero", "B", "b_scale", "b_zero", "y_scale", "y_zero")]
    floats = [Node("", "DequantizeLinear", inputs[:3]), Node("", "DequantizeLinear", inputs[3:6])]
    total = Node("", "Add", [node.outputs[0] for node in floats])
    rounded = Node("", "QuantizeLinear", [total.outputs[0], *inputs[6:]])
    graph = Graph(inputs, rounded.outputs, nodes=[*floats, total, rounded], opset_imports={"": opset}, name=f"{name}{overload}")
    return Function(FUSED_DOMAIN, name, overload, graph=graph, attributes=[])


def _define_integer_product(name: str, overload: str, opset: int) -> Function:
    """MatMulIntegerToFloat: the overload says whether there is a bias."""
    inputs = [Value(name=each) for each in ("A", "B", "a_scale", "b_scale", "a_zero", "b_zero", "C")][: 7 if overload else 6]
    product = Node("", "MatMulInteger", [inputs[0], inputs[1], inputs[4], inputs[5]])
    scale = Node("", "Mul", inputs[2:4])
    number = Node("", "Cast", product.outputs, [Attr("to", AttributeType.INT, 1)])  # float32
    nodes = [product, scale, number, Node("", "Mul", [number.outputs[0], scale.outputs[0]])]
    if overload:
        nodes.append(Node("", "Add", [nodes[-1].outputs[0], inputs[6]]))
    graph = Graph(inputs, nodes[-1].outputs, nodes=nodes, opset_imports={"": opset}, name=f"{name}{overload}")
    return Function(FUSED_DOMAIN, name, overload, graph=graph, attributes=[])


def _define_dequantized(name: str, overload: str, opset: int) -> Function:
    """MatMulDequantized: the overload says whether scales are those of blocks, and whether there are zero points."""
    inputs = [Value(name=each) for each in ("X", "W", "w_scale", "w_zero")][: 4 if overload.endswith("Zeros") else 3]
    blocks = overload.startswith("Blocks")
    how = [Attr("axis", AttributeType.INT, 0), _refer("block_size", "block_size", "INT")] if blocks else []
    weight = Node("", "DequantizeLinear", inputs[1:], how)
    product = Node("", "MatMul", [inputs[0], weight.outputs[0]])
    graph = Graph(inputs, product.outputs, nodes=[weight, product], opset_imports={"": opset}, name=f"{name}{overload}")
    attributes = [Attr("block_size", AttributeType.INT, None)] if blocks else []
    return Function(FUSED_DOMAIN, name, overload, graph=graph, attributes=attributes)


def _refer(name: str, attribute: str, kind: str) -> Attr:
    return RefAttr(name, attribute, AttributeType.__members__[kind])


def _activation_nodes(activation: str, x: Value) -> list[Node]:
    alpha, beta = "activation_alpha", "activation_beta"
    if activation == "Clip":
        bounds = [Node("", "Constant", [], [_refer("value_float", name, "FLOAT")]) for name in (alpha, beta)]
        return [*bounds, Node("", "Clip", [x, *(bound.outputs[0] for bound in bounds)])]
    if activation == "Silu":
        gate = Node("", "Sigmoid", [x])
        return [gate, Node("", "Mul", [x, gate.outputs[0]])]
    names = {"LeakyRelu": {"alpha": alpha}, "HardSigmoid": {"alpha": alpha, "beta": beta}}.get(activation, {})
    return [Node("", activation, [x], [_refer(n, ref, "FLOAT") for n, ref in names.items()])]


_DEFINED: dict[str, Callable[[str, str, int], Function]] = {
    "FusedConv": _define,
    "FusedGemm": _define,
    "FusedMatMul": _define_linear,
    "FusedLayerNormalization": _define_norm,
    "FusedRMSNormalization": _define_norm,
    "QuantizedAdd": _define_quantized_add,
    "MatMulIntegerToFloat": _define_integer_product,
    "MatMulDequantized": _define_dequantized,
    "MatMulNBits": nbits_body,
}
WITH_BODIES = frozenset(_DEFINED)
LEAST_OPSET = 20  # has every activation
LEAST_OPSETS = {"FusedRMSNormalization": 23, "MatMulDequantized": 21}
