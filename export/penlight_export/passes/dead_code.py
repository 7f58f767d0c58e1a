# SPDX-License-Identifier: Apache-2.0
"""Removes nodes and initializers that no output depends on."""

from penlight_export.errors import PassError
from penlight_export.graph import Graph, Model, Node, all_graphs, all_nodes, bodies_of, describe, remove_unused_constants
from penlight_export.passes.base import Pass


def is_dead(node: Node) -> bool:
    """Nothing reads an output of the node. ONNX operators have no side effects."""
    for output in node.outputs:  # noqa: SIM110  all(...) would make a generator for each node of the graph
        if output.uses() or output.is_graph_output():
            return False
    return True


class RemoveDeadCode(Pass):
    """Walks the nodes once from the end, so that a chain without a reader goes in one run; bodies before the graph around them."""

    name = "dead code"
    finds_newer = True  # after those that do

    def run(self, model: Model) -> int:
        """Returns the number of removed nodes and initializers."""
        return remove_dead_nodes(model) + sum(remove_unused_constants(graph) for graph in all_graphs(model.graph))

    def ensures(self, model: Model) -> None:
        """Every node is read by somebody."""
        for node in all_nodes(model.graph):
            if is_dead(node):
                raise PassError(f"dead code: {node.op_type} {describe(node)} is still there")


def remove_dead_nodes(model: Model) -> int:
    """Removes the nodes that no output depends on. Returns their number."""
    graphs = reversed(tuple(all_graphs(model.graph)))
    return sum(remove_if_dead(graph, node) for graph in graphs for node in reversed(graph))


def remove_if_dead(graph: Graph, node: Node) -> bool:
    """Removes a node that nothing reads, with the bodies that it runs."""
    if not is_dead(node):
        return False
    for body in bodies_of(node):
        for inner in reversed(tuple(all_nodes(body))):
            for index in range(len(inner.inputs)):
                inner.replace_input_with(index, None)  # uses of values around it would keep those alive
    graph.remove(node, safe=True)
    return True
