# SPDX-License-Identifier: Apache-2.0
"""Computes the parts that a product with a constant matrix is cut into as products of their own, so that nothing is copied."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import (
    FUSED_DOMAIN,
    Model,
    Node,
    add_constant,
    all_nodes,
    constant_of,
    find_attribute,
    graph_of,
    make_node,
    rank_of,
    replace_node,
    single_consumer,
)
from penlight_export.passes.base import Pass
from penlight_export.passes.formula import scalar_of


class SplitProducts(Pass):
    """Split(x W + b) along the columns, or a Reshape and a Gather for each part; FusedMatMul, in .pen files only."""

    name = "products apart"
    edge_only = True
    kernels = ("FusedMatMul",)

    def run(self, model: Model) -> int:
        """Returns the number of products that were cut."""
        nodes = (node for node in tuple(all_nodes(model.graph)) if node.domain == FUSED_DOMAIN and node.op_type == "FusedMatMul")
        return sum(_cut(node) for node in nodes)


def _cut(product: Node) -> bool:
    reader, matrix, graph = single_consumer(product.outputs[0]), product.inputs[1], graph_of(product)
    weight, bias = constant_of(matrix), constant_of(product.inputs[2]) if len(product.inputs) == 3 else None
    if reader is None or matrix is None or weight is None or reader.domain != "" or len(matrix.uses()) != 1:
        return False  # a matrix that others read, too, would be in the file twice
    if len(product.inputs) > 3 or product.overload != ("" if bias is None else "Bias"):
        return False
    if reader.op_type == "Split":
        sizes = _widths(reader, weight.shape[1])
        if not sizes:
            return False
        ends = np.cumsum(sizes)
        made = [_part(product, weight, bias, int(end - size), int(end)) for size, end in zip(sizes, ends, strict=True)]
        replace_node(reader, made, [node.outputs[0] for node in made])
    else:
        readers = _gathers(reader, weight.shape[1])
        if not readers:
            return False
        for first, end, gather in readers:
            node = _part(product, weight, bias, first, end)
            replace_node(gather, [node], node.outputs)
        graph.remove(reader, safe=True)
    graph.remove(product, safe=True)
    return True


def _part(product: Node, weight: np.ndarray, bias: np.ndarray | None, first: int, end: int) -> Node:
    """The columns [first, end) of the product."""
    graph, old = graph_of(product), product.inputs[1]
    assert old is not None
    operands = [product.inputs[0], add_constant(graph, weight[:, first:end], f"{old.name}.{first}")]
    if bias is not None:
        operands.append(add_constant(graph, bias[first:end], f"{old.name}.{first}.bias"))
    node = make_node("FusedMatMul", operands, domain=FUSED_DOMAIN, like=product)
    node.overload = product.overload
    node.outputs[0].type = product.outputs[0].type
    return node


def _widths(split: Node, width: int) -> list[int]:
    """How wide the parts of a Split along the last axis are; nothing where it is another one."""
    rank = rank_of(split.inputs[0])
    sizes = constant_of(split.inputs[1]) if len(split.inputs) > 1 else None
    if rank is None or sizes is None or find_attribute(split, "axis", 0) not in (-1, rank - 1) or sizes.sum() != width:
        return []
    return [int(size) for size in sizes] if (sizes > 0).all() else []


def _gathers(reshape: Node, width: int) -> list[tuple[int, int, Node]]:
    """First and last column of each part that is gathered from (..., parts, size); nothing where there are other readers."""
    shape = reshape.outputs[0].shape if reshape.op_type == "Reshape" else None
    before = rank_of(reshape.inputs[0])
    if shape is None or before is None or len(shape) != before + 1 or reshape.outputs[0].is_graph_output():
        return []
    count, size = shape[-2:]
    if not (isinstance(count, int) and isinstance(size, int)) or count * size != width:
        return []
    found = []
    for node in (use.node for use in reshape.outputs[0].uses()):
        index = scalar_of(node.inputs[1]) if node.op_type == "Gather" and node.domain == "" else None
        if index is None or rank_of(node.inputs[1]) != 0 or find_attribute(node, "axis", 0) not in (-2, before - 1):
            return []
        if node.graph is not reshape.graph or not -count <= index < count:
            return []
        first = int(index) % count * size
        found.append((first, first + size, node))
    return found
