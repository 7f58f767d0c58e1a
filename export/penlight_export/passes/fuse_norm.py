# SPDX-License-Identifier: Apache-2.0
"""Joins LayerNormalization and RMSNormalization with the addition in front of them, the sum of which may be a result, too."""

from __future__ import annotations

from penlight_export.graph import (
    FUSED_DOMAIN,
    Model,
    Node,
    Value,
    all_nodes,
    constant_size,
    find_attribute,
    graph_of,
    rank_of,
    replace_node,
)
from penlight_export.passes.base import Pass, require_fused
from penlight_export.passes.fuse_linear import is_float, is_known

_NORMS = ("LayerNormalization", "RMSNormalization")


class FuseNorm(Pass):
    """norm(x + r) with x and r of one shape, float32; behind the fusions that put an addition into a product, which costs less."""

    name = "norm fusion"
    operators = frozenset(_NORMS)
    edge_only = True
    kernels = tuple(f"Fused{name}" for name in _NORMS)

    def run(self, model: Model) -> int:
        """Returns the number of additions that went."""
        fused = sum(_fuse(node) for node in tuple(all_nodes(model.graph)) if node.op_type in _NORMS and node.domain == "")
        if fused:
            model.graph.opset_imports[FUSED_DOMAIN] = 1
        return fused

    def ensures(self, model: Model) -> None:
        """The overload of each fused norm says which operands and results it has, as its body reads them."""
        require_fused(model, self.kernels, _says_what_it_has, f"{self.name}: overloads name what a norm has")


def _says_what_it_has(node: Node) -> bool:
    return len(node.inputs) > 2 and None not in node.inputs[:3] and len(node.outputs) < 3 and node.overload == norm_overload(node)


def _fuse(node: Node) -> bool:
    total = node.inputs[0]
    add = total.producer() if total is not None else None
    if total is None or add is None or add.op_type != "Add" or add.domain != "" or add.graph is not node.graph:
        return False
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]) or not _fits(add, node):
        return False
    graph, is_read = graph_of(add), len(total.uses()) > 1 or total.is_graph_output()
    graph.remove(node)
    graph.insert_before(add, node)  # not where the normalisation was: others may read the sum before
    _become_fused(node, add, is_read)
    if is_read:
        replace_node(add, [], [node.outputs[1]])
    else:
        graph.remove(add, safe=True)
    node.overload = norm_overload(node)
    return True


def _become_fused(node: Node, add: Node, has_sum: bool) -> None:
    """The normalisation itself gets the addition's operands, which costs half of what a new node does."""
    inputs = [*add.inputs, *node.inputs[1:]]
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)
    node.resize_outputs(1)  # without mean and deviation, which nothing reads
    node.resize_outputs(1 + has_sum)
    for name in set(node.attributes) - {"axis", "epsilon"}:
        del node.attributes[name]
    node.domain, node.op_type = FUSED_DOMAIN, f"Fused{node.op_type}"


def norm_overload(node: Node) -> str:
    """Which body a fused node has: with a bias or without, with the sum as a result or without."""
    bias = len(node.inputs) > 3 and node.inputs[3] is not None
    return "Bias" * bias + "Sum" * (len(node.outputs) > 1 and bool(node.outputs[1].name))


def _fits(add: Node, node: Node) -> bool:
    """Two computed values of one shape; scale and bias of the size of the normalised axes, which constants have at the least."""
    first, second = add.inputs
    if first is None or second is None or not all(map(_is_computed, (first, second))):
        return False
    if first.shape is None or second.shape is None or list(first.shape) != list(second.shape):
        return False
    width = _width(node)
    return all(constant_size(value) == width for value in node.inputs[1:] if value is not None)


def _is_computed(value: Value) -> bool:
    return is_float(value) and is_known(value) and constant_size(value) is None


def _width(node: Node) -> int | None:
    """Elements of the normalised axes."""
    value, rank = node.inputs[0], rank_of(node.inputs[0])
    if value is None or value.shape is None or not rank:
        return None
    sizes = list(value.shape)[find_attribute(node, "axis", -1) % rank :]
    width = 1
    for size in sizes:
        if not isinstance(size, int):
            return None
        width *= size
    return width
