# SPDX-License-Identifier: Apache-2.0
"""Joins Conv and Gemm with the activation behind them into FusedConv and FusedGemm of domain ai.penlight.

The fused operators stand in .pen files only. `add_functions` gives them bodies of standard operators, so that any ONNX engine can
run the graph: one function per activation, told apart by the overload name.
"""

from __future__ import annotations

from collections.abc import Callable

from penlight_export.errors import PassError
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
    constant_of,
    describe,
    find_attribute,
    graph_of,
    make_node,
    replace_node,
    single_consumer,
)
from penlight_export.passes.base import Pass, require_opset

Parameters = dict[str, float]

_LOWEST, _LARGEST = -3.4028234663852886e38, 3.4028234663852886e38  # what an absent bound of Clip means in float32


class FuseActivation(Pass):
    """Needs float32: the fused kernels have no other type. `activations` limits it to what the target has."""

    name = "activation fusion"
    edge_only = True
    kernels = ("FusedConv", "FusedGemm")

    def __init__(self, activations: frozenset[str] | None = None) -> None:
        self.activations = frozenset(_PARAMETERS) if activations is None else activations

    def requires(self, model: Model) -> None:
        """Axes, bounds and the like are inputs, not attributes."""
        require_opset(model, 13, self.name)

    def run(self, model: Model) -> int:
        """Returns the number of fused pairs."""
        fused = sum(
            self._fuse(node) for node in tuple(all_nodes(model.graph)) if node.op_type in self.activations and node.domain == ""
        )
        if fused:
            model.graph.opset_imports[FUSED_DOMAIN] = 1
        return fused

    def ensures(self, model: Model) -> None:
        """Every fused node says which activation it applies, in a way that has a function body."""
        for node in all_nodes(model.graph):
            if (
                node.domain == FUSED_DOMAIN
                and node.op_type in _SHARED
                and (node.overload not in _BODIES or find_attribute(node, "activation") != node.overload)
            ):
                raise PassError(f"activation fusion: {describe(node)} applies '{node.overload}', which has no body")

    def _fuse(self, node: Node) -> bool:
        x = node.inputs[0]
        producer = x.producer() if x is not None else None
        if producer is None or x is None or producer.domain != "" or producer.op_type not in ("Conv", "Gemm"):
            return False
        function = activation_of(node)
        if single_consumer(x) is not node or x.dtype is None or x.dtype.name != "FLOAT" or function is None:
            return False
        activation, parameters = function
        attributes = {name: attribute.value for name, attribute in producer.attributes.items()}
        attributes |= {"activation": activation, **parameters}
        fused = make_node(f"Fused{producer.op_type}", list(producer.inputs), attributes, domain=FUSED_DOMAIN, like=producer)
        fused.overload = activation
        replace_node(node, [fused], fused.outputs)
        graph_of(producer).remove(producer, safe=True)
        return True


def activation_of(node: Node) -> tuple[str, Parameters] | None:
    """The name and the numbers that a fused kernel knows a node's function by; None when it has no such function."""
    rule = _PARAMETERS.get(node.op_type)
    parameters = rule(node) if rule is not None else None
    return None if parameters is None else (_NAMES.get(node.op_type, node.op_type), parameters)


def _gelu(node: Node) -> Parameters | None:
    return {} if find_attribute(node, "approximate", "none") == "none" else None


def _silu(node: Node) -> Parameters | None:
    return {} if find_attribute(node, "alpha", 1.0) == 1.0 else None


def _none(node: Node) -> Parameters:
    return {}


def _alpha(default: float) -> Callable[[Node], Parameters]:
    return lambda node: {"activation_alpha": find_attribute(node, "alpha", default)}


def _hard_sigmoid(node: Node) -> Parameters:
    return {"activation_alpha": find_attribute(node, "alpha", 0.2), "activation_beta": find_attribute(node, "beta", 0.5)}


def _clip(node: Node) -> Parameters | None:
    bounds = []
    for index, default in ((1, _LOWEST), (2, _LARGEST)):
        value = node.inputs[index] if len(node.inputs) > index else None
        array = constant_of(value)
        if value is not None and array is None:
            return None
        bounds.append(default if array is None else float(array.reshape(-1)[0]))
    return {"activation_alpha": bounds[0], "activation_beta": bounds[1]}


_PARAMETERS: dict[str, Callable[[Node], Parameters | None]] = {
    "Relu": _none,
    "LeakyRelu": _alpha(0.01),
    "Clip": _clip,
    "Sigmoid": _none,
    "Tanh": _none,
    "HardSwish": _none,
    "HardSigmoid": _hard_sigmoid,
    "Gelu": _gelu,
    "Swish": _silu,
}
_NAMES = {"Swish": "Silu"}  # what the kernel calls it
_BODIES = frozenset(_NAMES.get(name, name) for name in _PARAMETERS)

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


_ACTIVATION = {"activation": "STRING", "activation_alpha": "FLOAT", "activation_beta": "FLOAT"}


def add_functions(model: Model) -> None:
    """Defines every fused operator that the model uses by a body of standard operators."""
    for node in all_nodes(model.graph):
        if node.domain == FUSED_DOMAIN and node.op_identifier() not in model.functions:
            define = _define_linear if node.op_type == "FusedMatMul" else _define
            function = define(node.op_type, node.overload, model.opset_imports[""])
            model.functions[function.identifier()] = function


def _define(name: str, activation: str, opset: int) -> Function:
    inputs = [Value(name=letter) for letter in "XWB"]
    linear = Node("", name.removeprefix("Fused"), inputs, [_refer(n, n, kind) for n, kind in _SHARED[name].items()])
    nodes = [linear, *_activation_nodes(activation, linear.outputs[0])]
    graph = Graph(inputs, [nodes[-1].outputs[0]], nodes=nodes, opset_imports={"": opset}, name=f"{name}{activation}")
    kinds = {**_SHARED[name], **_ACTIVATION}
    attributes = [Attr(n, AttributeType.__members__[kind], None) for n, kind in kinds.items()]
    return Function(FUSED_DOMAIN, name, activation, graph=graph, attributes=attributes)


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
