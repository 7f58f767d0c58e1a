# SPDX-License-Identifier: Apache-2.0
"""Products with weights of 8 bits that never become matrices of floats."""

from __future__ import annotations

from penlight_export.graph import (
    FUSED_DOMAIN,
    Model,
    Node,
    Value,
    all_nodes,
    constant_of,
    find_attribute,
    graph_of,
    make_node,
    rank_of,
    replace_node,
    single_consumer,
    static_shape,
)
from penlight_export.passes.base import Pass

_FLOAT = 1  # ONNX's number of float32


class QuantizedProducts(Pass):
    """float(A B) * (a_scale * b_scale) + bias becomes MatMulIntegerToFloat of domain ai.penlight, with the same bits.

    This is how onnxruntime's dynamic quantization writes products.
    """

    name = "integer products to floats"
    operators = frozenset({"MatMulInteger"})
    edge_only = True
    kernels = ("MatMulIntegerToFloat",)

    def run(self, model: Model) -> int:
        """Returns the number of joined products."""
        nodes = tuple(all_nodes(model.graph))
        fused = sum(_fuse(node) for node in nodes if node.op_type == "MatMulInteger" and node.domain == "")
        if fused:
            model.graph.opset_imports[FUSED_DOMAIN] = 1
        return fused


def _fuse(product: Node) -> bool:
    cast = _reader(product, "Cast")
    scaled = _reader(cast, "Mul") if cast is not None and find_attribute(cast, "to") == _FLOAT else None
    if cast is None or scaled is None:
        return False
    scales = scaled.inputs[1] if scaled.inputs[0] is cast.outputs[0] else scaled.inputs[0]
    found = _scales(scales, product.inputs[1])
    if found is None:
        return False
    a_zero, b_zero = (product.inputs[index] if len(product.inputs) > index else None for index in (2, 3))
    bias, last = _bias(scaled, product.inputs[1])
    inputs = [product.inputs[0], product.inputs[1], *found, a_zero, b_zero, *([bias] if bias is not None else [])]
    fused = make_node("MatMulIntegerToFloat", inputs, domain=FUSED_DOMAIN, like=product)
    fused.overload = "Bias" if bias is not None else ""
    between = [product, cast, scaled][: 3 if last is not scaled else 2]
    replace_node(last, [fused], fused.outputs)
    for node in reversed(between):
        graph_of(node).remove(node, safe=True)
    return True


def _reader(node: Node, operator: str) -> Node | None:
    reader = single_consumer(node.outputs[0])
    return reader if reader is not None and reader.op_type == operator and reader.domain == "" else None


def _scales(value: Value | None, weight: Value | None) -> tuple[Value, Value] | None:
    """The scale of A, one number, and the scales of B: one, or one for each column."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Mul" or node.domain != "":
        return None
    for a_scale, b_scale in (node.inputs, reversed(node.inputs)):
        if a_scale is not None and b_scale is not None and static_shape(a_scale) in ((), (1,)) and _fits(b_scale, weight):
            return a_scale, b_scale
    return None


def _fits(scales: Value, weight: Value | None) -> bool:
    array = constant_of(scales)
    return array is not None and array.ndim <= 1 and (array.size == 1 or array.shape == _columns(weight))


def _bias(scaled: Node, weight: Value | None) -> tuple[Value | None, Node]:
    """A constant of one number for each column that is added to the result, and the node whose result is the last."""
    add, columns = _reader(scaled, "Add"), _columns(weight)
    if add is None or columns is None or (rank_of(scaled.outputs[0]) or 0) < 1:
        return None, scaled
    bias = add.inputs[1] if add.inputs[0] is scaled.outputs[0] else add.inputs[0]
    array = constant_of(bias)
    return (bias, add) if array is not None and array.shape == columns else (None, scaled)


def _columns(weight: Value | None) -> tuple[int, ...] | None:
    """The shape of a row of a matrix; a vector has no rows."""
    sizes = static_shape(weight)
    return None if sizes is None or len(sizes) < 2 else sizes[-1:]
