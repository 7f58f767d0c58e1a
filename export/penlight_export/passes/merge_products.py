# SPDX-License-Identifier: Apache-2.0
"""Computes products of one input with several constant matrices, such as queries, keys and values, as one product and a Split."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import (
    Graph,
    Model,
    Node,
    Shape,
    Value,
    add_constant,
    all_graphs,
    constant_of,
    constant_size,
    fresh_name,
    make_node,
    rank_of,
    replace_node,
    single_consumer,
    static_shape,
)
from penlight_export.passes.base import Pass, require_opset


class MergeProducts(Pass):
    """x W1 + b1, x W2 + b2, ... = Split(x [W1 W2 ...] + [b1 b2 ...]); all with a constant bias, or all without."""

    name = "merge products"

    def requires(self, model: Model) -> None:
        """Split takes its sizes as an input."""
        require_opset(model, 13, self.name)

    def run(self, model: Model) -> int:
        """Returns the number of products that went."""
        return sum(_merge_in(graph) for graph in all_graphs(model.graph))


def _merge_in(graph: Graph) -> int:
    groups: dict[tuple[int, bool], list[Node]] = {}
    for node in graph:
        if node.op_type == "MatMul" and node.domain == "" and _is_weight(node.inputs[1]) and node.inputs[0] is not None:
            groups.setdefault((id(node.inputs[0]), _bias_of(node) is not None), []).append(node)
    return sum(_merge(graph, nodes, biased) for (_, biased), nodes in groups.items() if len(nodes) > 1)


def _is_weight(value: Value | None) -> bool:
    floating = value is not None and value.dtype is not None and value.dtype.is_floating_point()
    return floating and rank_of(value) == 2 and constant_size(value) is not None and value is not None and len(value.uses()) == 1


def _bias_of(node: Node) -> tuple[Node, Value] | None:
    add, weight = single_consumer(node.outputs[0]), static_shape(node.inputs[1])
    if add is None or add.op_type != "Add" or add.domain != "" or weight is None:
        return None
    other = add.inputs[1] if add.inputs[0] is node.outputs[0] else add.inputs[0]
    return (add, other) if other is not None and constant_size(other) is not None and static_shape(other) == (weight[1],) else None


def _merge(graph: Graph, nodes: list[Node], biased: bool) -> int:
    x, last = nodes[0].inputs[0], nodes[0].outputs[0]
    widths = [int((static_shape(node.inputs[1]) or (0, 0))[1]) for node in nodes]
    name = f"{last.name}.merged"
    weights = [np.asarray(constant_of(node.inputs[1])) for node in nodes]
    value = add_constant(graph, np.concatenate(weights, axis=1), f"{name}.weight")
    made = [make_node("MatMul", [x, value], output_names=[fresh_name(graph, name)], like=nodes[0])]
    pairs = [_bias_of(node) for node in nodes] if biased else []
    if biased:
        biases = [np.asarray(constant_of(pair[1])) for pair in pairs if pair is not None]
        row = add_constant(graph, np.concatenate(biases), f"{name}.bias")
        made.append(make_node("Add", [made[0].outputs[0], row], output_names=[fresh_name(graph, f"{name}.sum")], like=nodes[0]))
    for node in made:
        node.outputs[0].type = last.type
        if last.shape is not None:
            node.outputs[0].shape = Shape([*list(last.shape)[:-1], sum(widths)])
    sizes = add_constant(graph, np.asarray(widths, np.int64), f"{name}.sizes")
    parts = [fresh_name(graph, f"{name}.{number}") for number in range(len(nodes))]
    split = make_node("Split", [made[-1].outputs[0], sizes], {"axis": -1}, output_names=parts, like=nodes[0])
    graph.insert_before(nodes[0], [*made, split])
    for number, node in enumerate(nodes):
        pair = pairs[number] if biased else None
        replace_node(node if pair is None else pair[0], [], [split.outputs[number]])
        if pair is not None:
            graph.remove(node, safe=True)
    return len(nodes) - 1
