# SPDX-License-Identifier: Apache-2.0
"""Joins Conv and Gemm with the activation behind them into FusedConv and FusedGemm of domain ai.penlight.

The fused operators stand in .pen files only; `fused_bodies` gives them bodies of standard operators.
"""

from __future__ import annotations

from collections.abc import Callable

from penlight_export.errors import PassError
from penlight_export.graph import (
    FUSED_DOMAIN,
    DataType,
    Model,
    Node,
    all_nodes,
    constant_of,
    describe,
    find_attribute,
    replace_node,
    set_attributes,
    single_consumer,
)
from penlight_export.passes.base import Pass, require_opset

Parameters = dict[str, float]

RESIDUAL = "Residual"  # how the overload of a node begins that adds something before the activation
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
            if node.domain == FUSED_DOMAIN and node.op_type in self.kernels and not says_what_it_applies(node):
                raise PassError(f"activation fusion: {describe(node)} applies '{node.overload}', which has no body")

    def _fuse(self, node: Node) -> bool:
        x = node.inputs[0]
        producer = x.producer() if x is not None else None
        if producer is None or x is None or producer.domain != "" or producer.op_type not in ("Conv", "Gemm"):
            return False
        function = activation_of(node)
        if single_consumer(x) is not node or x.dtype != DataType.FLOAT or function is None:
            return False
        activation, parameters = function
        producer.domain, producer.op_type, producer.overload = FUSED_DOMAIN, f"Fused{producer.op_type}", activation
        set_attributes(producer, {"activation": activation, **parameters})
        replace_node(node, [], [x])
        return True


def says_what_it_applies(node: Node) -> bool:
    """The overload of a fused layer is its activation's name, behind that of a residual."""
    activation = node.overload.removeprefix(RESIDUAL)
    known = activation in ACTIVATIONS or (activation == "" and activation != node.overload)
    return known and find_attribute(node, "activation", "") == activation


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
ACTIVATIONS = frozenset(_NAMES.get(name, name) for name in _PARAMETERS)
