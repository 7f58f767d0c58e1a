# SPDX-License-Identifier: Apache-2.0
"""Joins MatMul by a constant matrix with bias, activation or residual behind it into FusedMatMul of domain ai.penlight."""

from __future__ import annotations

from penlight_export.graph import (
    FUSED_DOMAIN,
    DataType,
    Model,
    Node,
    Value,
    all_nodes,
    constant_size,
    find_attribute,
    graph_of,
    make_node,
    rank_of,
    replace_node,
    single_consumer,
    static_shape,
)
from penlight_export.passes.base import Pass, require_fused
from penlight_export.passes.fuse_activation import ACTIVATIONS, activation_of

_PANELS_PAY = 1 << 14  # elements of a matrix from which on a product alone is worth it: its weights are written in panels


class FuseLinear(Pass):
    """activation(x W + b) or x W + b + r, float32, for x of any rank; in .pen files only. Large W need nothing behind."""

    name = "linear fusion"
    operators = frozenset({"MatMul"})
    edge_only = True
    kernels = ("FusedMatMul",)

    def run(self, model: Model) -> int:
        """Returns the number of fused products."""
        fused = sum(_fuse(node) for node in tuple(all_nodes(model.graph)) if node.op_type == "MatMul" and node.domain == "")
        if fused:
            model.graph.opset_imports[FUSED_DOMAIN] = 1
        return fused

    def ensures(self, model: Model) -> None:
        """The overload of each fused product says which operands and which activation it has, as its body reads them."""
        require_fused(model, self.kernels, _says_what_it_has, f"{self.name}: overloads name what a product has")


def _says_what_it_has(node: Node) -> bool:
    has = [index < len(node.inputs) and node.inputs[index] is not None for index in range(4)]
    activation = find_attribute(node, "activation", "")
    alone = activation in ACTIVATIONS and not has[3] if activation else True
    return all(has[:2]) and alone and node.overload == "Bias" * has[2] + "Residual" * has[3] + activation


def _fuse(product: Node) -> bool:
    x, weight = product.inputs
    if x is None or not is_float(x) or rank_of(weight) != 2 or constant_size(weight) is None or (rank_of(x) or 0) < 2:
        return False
    sizes = static_shape(weight)
    assert sizes is not None
    last, bias = _bias_behind(product, sizes[1])
    function = activation_behind(last)
    residual: Value | None = None
    attributes: dict[str, object] = {}
    if function is not None:
        activation, parameters = function
        last = reader_of(last)
        overload = ("Bias" if bias is not None else "") + activation
        attributes = {"activation": activation, **parameters}
    else:
        residual = residual_behind(last)
        last = last if residual is None else reader_of(last)
        overload = ("Bias" if bias is not None else "") + ("Residual" if residual is not None else "")
    if last is product and (constant_size(weight) or 0) < _PANELS_PAY:
        return False
    count = 4 if residual is not None else 3 if bias is not None else 2
    inputs = [x, weight, bias, residual][:count]
    fused = make_node("FusedMatMul", inputs, attributes, domain=FUSED_DOMAIN, like=product)
    fused.overload = overload
    between = _chain(product, last)
    replace_node(last, [fused], fused.outputs)
    for node in reversed(between):
        graph_of(node).remove(node, safe=True)
    return True


def _chain(first: Node, last: Node) -> list[Node]:
    """The nodes from the product up to the last one, without it."""
    nodes: list[Node] = []
    node = first
    while node is not last:
        nodes.append(node)
        node = reader_of(node)
    return nodes


def is_float(value: Value) -> bool:
    return value.dtype == DataType.FLOAT


def reader_of(node: Node) -> Node:
    reader = single_consumer(node.outputs[0])
    assert reader is not None
    return reader


def _bias_behind(product: Node, columns: int) -> tuple[Node, Value | None]:
    add = single_consumer(product.outputs[0])
    if add is None or add.op_type != "Add" or add.domain != "":
        return product, None
    bias = add.inputs[1] if add.inputs[0] is product.outputs[0] else add.inputs[0]
    if bias is None or constant_size(bias) is None or static_shape(bias) != (columns,) or not is_float(bias):
        return product, None
    return add, bias


def activation_behind(node: Node) -> tuple[str, dict[str, float]] | None:
    reader = single_consumer(node.outputs[0])
    if reader is None or reader.domain != "" or reader.inputs[0] is not node.outputs[0]:
        return None
    return activation_of(reader)


def residual_behind(node: Node) -> Value | None:
    """What an addition behind a node adds, where it has the sum's shape and has been computed."""
    add = single_consumer(node.outputs[0])
    if add is None or add.op_type != "Add" or add.domain != "":
        return None
    other = add.inputs[1] if add.inputs[0] is node.outputs[0] else add.inputs[0]
    if other is None or other is node.outputs[0] or not is_float(other) or other.shape is None:
        return None
    same = node.outputs[0].shape is not None and is_known(other) and list(other.shape) == list(node.outputs[0].shape)
    return other if same and constant_size(other) is None else None


def is_known(value: Value) -> bool:
    return value.shape is not None and all(isinstance(size, int) or size.value is not None for size in value.shape)
