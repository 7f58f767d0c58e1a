# SPDX-License-Identifier: Apache-2.0
"""How much work a graph is: multiply-accumulates of its nodes, and what ONNX's reference implementation makes of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from penlight_export.graph import (
    Node,
    Shape,
    Value,
    all_nodes,
    find_attribute,
    from_proto,
    infer_shapes,
    inline_functions,
    static_shape,
)

_WEIGHTS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}  # the place of a convolution's weights
_PRODUCTS = frozenset({"MatMul", "MatMulInteger", "QLinearMatMul", "MatMulIntegerToFloat", "MatMulDequantized", "MatMulNBits"})

# The reference implementation is NumPy, but for some operators that Python computes one by one: in multiply-accumulates of NumPy's
# integers, which take 3 ns each, for an element of the output, and for each place of the window that it looks at.
_ELEMENT = 60
_WINDOWS = frozenset({"AveragePool", "LpPool", "MaxPool"})
_PLACE = 1_000
_SLOW = {
    "ConvTranspose": 3_000,
    **dict.fromkeys(("DeformConv", "GridSample", "MaxRoiPool", "NonMaxSuppression", "RoiAlign"), 80_000),
}
_REPEATED = frozenset({"Loop", "Scan", "SequenceMap"})


def node_macs(node: Node) -> int:
    """Multiply-accumulates of the operators that have any worth counting, 0 for others and where sizes are unknown."""
    out, inputs = _sizes(node.outputs[0]), [_sizes(value) for value in node.inputs]
    if out is None or len(inputs) < 2 or inputs[0] is None:
        return 0
    total, left = int(np.prod(out, dtype=object)), inputs[0]
    if node.op_type in _PRODUCTS:
        return total * left[-1] if left else 0
    right = inputs[_WEIGHTS.get(node.op_type, 1)] if len(inputs) > _WEIGHTS.get(node.op_type, 1) else None
    if right is None:
        return 0
    if node.op_type in _WEIGHTS:
        return total * int(np.prod(right[1:], dtype=object))
    if node.op_type == "ConvTranspose":
        return int(np.prod(left, dtype=object)) * int(np.prod(right[1:], dtype=object))
    if node.op_type in ("Gemm", "FusedGemm"):
        return total * left[0 if find_attribute(node, "transA", 0) else 1]
    return 0


def _sizes(value: Value | None) -> list[int] | None:
    if value is None or value.shape is None:
        return None
    return [dim if isinstance(dim, int) else 1 for dim in value.shape]


def reference_work(proto: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> int | None:
    """What one run on ONNX's reference implementation costs, in multiply-accumulates of about 3 ns.

    None where that cannot be told beforehand: sizes that depend on data, and bodies that run again and again.
    """
    model = from_proto(proto)
    inline_functions(model)
    nodes = list(all_nodes(model.graph))
    if any(node.op_type in _REPEATED for node in nodes):
        return None
    for value in (value for node in nodes for value in node.outputs):
        value.shape = None  # may hold names of sizes
    for value in model.graph.inputs:
        if value.name is not None and value.name in inputs:
            value.shape = Shape(inputs[value.name].shape)
    infer_shapes(model)
    costs = [_reference_cost(node) for node in nodes]
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def _reference_cost(node: Node) -> int | None:
    shapes = [static_shape(value) for value in node.outputs if value.name]
    if None in shapes:
        return None
    elements = sum(int(np.prod(shape, dtype=object)) for shape in shapes if shape is not None)
    each = _SLOW.get(node.op_type, _ELEMENT)
    if node.op_type in _WINDOWS:
        each = _PLACE * int(np.prod(find_attribute(node, "kernel_shape", [1]), dtype=object))
    return node_macs(node) + elements * each
