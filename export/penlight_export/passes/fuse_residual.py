# SPDX-License-Identifier: Apache-2.0
"""Joins Conv and Gemm with the addition of another value of the result's shape, and the activation behind that.

The fused node stands where the addition was, so that both operands are there; of two convolutions that are added, as in the first
block of each stage of a ResNet, the first one takes the second as its residual.
"""

from __future__ import annotations

from penlight_export.graph import (
    FUSED_DOMAIN,
    Model,
    Node,
    all_nodes,
    find_attribute,
    graph_of,
    make_node,
    replace_node,
)
from penlight_export.passes.base import Pass, require_fused
from penlight_export.passes.fuse_activation import RESIDUAL, says_what_it_applies
from penlight_export.passes.fuse_linear import activation_behind, is_float, reader_of, residual_behind

_FUSED = ("Conv", "Gemm")


class FuseResidual(Pass):
    """activation(Conv(x) + r) as FusedConv with a fourth input, and Gemm likewise; float32, in .pen files only."""

    name = "residual fusion"
    operators = frozenset(_FUSED)
    edge_only = True
    kernels = ("FusedConv", "FusedGemm")

    def run(self, model: Model) -> int:
        """Returns the number of additions that went."""
        fused = sum(_fuse(node) for node in tuple(all_nodes(model.graph)) if node.op_type in _FUSED and node.domain == "")
        if fused:
            model.graph.opset_imports[FUSED_DOMAIN] = 1
        return fused

    def ensures(self, model: Model) -> None:
        """A fourth operand is there where the overload says so, and the activation is the one that it names."""
        require_fused(model, self.kernels, _says_what_it_adds, f"{self.name}: overloads name what a layer adds")


def _says_what_it_adds(node: Node) -> bool:
    adds = len(node.inputs) > 3 and node.inputs[3] is not None
    return adds == node.overload.startswith(RESIDUAL) and says_what_it_applies(node)


def _fuse(node: Node) -> bool:
    residual = residual_behind(node)
    if residual is None or not is_float(node.outputs[0]) or find_attribute(node, "alpha", 1.0) != 1.0:
        return False
    add = last = reader_of(node)
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    overload, function = RESIDUAL, activation_behind(add)
    if function is not None:
        activation, parameters = function
        last, overload = reader_of(add), RESIDUAL + activation
        attributes |= {"activation": activation, **parameters}
    inputs = [*node.inputs, *[None] * (3 - len(node.inputs)), residual]
    fused = make_node(f"Fused{node.op_type}", inputs, attributes, domain=FUSED_DOMAIN, like=node)
    fused.overload = overload
    replace_node(last, [fused], fused.outputs)
    for each in (add, node) if last is not add else (node,):
        graph_of(each).remove(each, safe=True)
    return True
