# SPDX-License-Identifier: Apache-2.0
"""Removes nodes and initializers that no output depends on."""

from penlight_export.errors import PassError
from penlight_export.graph import Model, Node, describe, remove_unused_constants
from penlight_export.passes.base import Pass


def is_dead(node: Node) -> bool:
    """Nothing reads an output of the node. ONNX operators have no side effects."""
    return not any(output.uses() or output.is_graph_output() for output in node.outputs)


class RemoveDeadCode(Pass):
    """Walks the nodes once from the end, so that a chain without a reader goes in one run."""

    name = "dead code"

    def run(self, model: Model) -> int:
        """Returns the number of removed nodes and initializers."""
        dead = 0
        for node in reversed(tuple(model.graph)):
            if is_dead(node):
                model.graph.remove(node, safe=True)
                dead += 1
        return dead + remove_unused_constants(model.graph)

    def ensures(self, model: Model) -> None:
        """Every node is read by somebody."""
        for node in model.graph:
            if is_dead(node):
                raise PassError(f"dead code: {node.op_type} {describe(node)} is still there")
