# SPDX-License-Identifier: Apache-2.0
"""Weights of fewer than 8 bits, and onnxruntime's products with them, by the operators and the integers that every model has."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx

from penlight_export.errors import UnsupportedFeatureError
from penlight_export.graph import (
    DataType,
    Graph,
    Model,
    Node,
    Value,
    add_constant,
    all_graphs,
    all_nodes,
    constant_of,
    describe,
    find_attribute,
    graph_of,
    make_node,
    remove_unused_constants,
    replace_node,
)

MICROSOFT = "com.microsoft"
_WIDER = {DataType.INT2: np.int8, DataType.UINT2: np.uint8, DataType.INT4: np.int8, DataType.UINT4: np.uint8}
_EXACT = (0, 1)  # accuracy levels at which onnxruntime computes in float32


def lower_nbits(model: Model) -> int:
    """Widens constants of fewer than 8 bits behind DequantizeLinear, and writes MatMulNBits as DequantizeLinear and MatMul.

    In place, in a model of operator set 21 or above. Numbers stay as they are, and a pass packs them again. MatMulNBits computes in
    float32 whatever its accuracy level, which only allows an engine to do less.

    Returns:
        The number of changed nodes.

    Raises:
        UnsupportedFeatureError: weights that are no constants or in another order, bits and sizes that do not fit.
    """
    changed = 0
    for node in tuple(all_nodes(model.graph)):
        if node.op_type == "DequantizeLinear" and node.domain == "":
            changed += _widen(node)
        elif node.op_type == "MatMulNBits" and node.domain == MICROSOFT:
            _write_out(node)
            changed += 1
    for graph in all_graphs(model.graph) if changed else ():
        remove_unused_constants(graph)
    return changed


def drop_accuracy_levels(proto: onnx.ModelProto) -> int:
    """Lets onnxruntime multiply in float32 where it may round the rows to 8 bits. Returns the number of such products."""
    dropped = 0
    for node in proto.graph.node:
        if node.op_type == "MatMulNBits" and node.domain == MICROSOFT:
            for attribute in [each for each in node.attribute if each.name == "accuracy_level" and each.i not in _EXACT]:
                node.attribute.remove(attribute)
                dropped += 1
    return dropped


def _widen(node: Node) -> bool:
    narrow = False
    for place, value in enumerate(node.inputs):
        if value is None or value.dtype not in _WIDER or (array := constant_of(value)) is None:
            continue
        wide = add_constant(graph_of(node), np.asarray(array).astype(_WIDER[value.dtype]), f"{value.name}.bytes")
        node.replace_input_with(place, wide)
        narrow = True
    return narrow


class _Weight(NamedTuple):
    """Of MatMulNBits, whose columns lie one after the other. Zero points that are no bytes are floats."""

    numbers: np.ndarray  # (n, k) uint8
    scales: np.ndarray  # (n, blocks)
    zeros: np.ndarray  # (n, blocks)
    block: int


def _write_out(node: Node) -> None:
    x, _, scales, _, _, bias = (*node.inputs, *[None] * 6)[:6]
    made = _dequantized(node, _read(node))
    columns, kind = made[-1].outputs[0], DataType.FLOAT if scales is None or scales.dtype is None else scales.dtype
    if kind != DataType.FLOAT:
        made.append(make_node("Cast", [x], {"to": int(DataType.FLOAT)}, like=node))
        x = made[-1].outputs[0]
    made.append(make_node("MatMul", [x, columns], like=node))
    if kind != DataType.FLOAT:
        made.append(make_node("Cast", made[-1].outputs, {"to": int(kind)}, like=node))
    if bias is not None:
        made.append(make_node("Add", [made[-1].outputs[0], bias], like=node))
    replace_node(node, made, made[-1].outputs)


def _read(node: Node) -> _Weight:
    _, packed, steps, points, order, _ = (*node.inputs, *[None] * 6)[:6]
    bits, block, k, n = (int(find_attribute(node, name, 0)) for name in ("bits", "block_size", "K", "N"))
    bits = bits or 4  # ONNX's default of an attribute that is left out
    if order is not None:
        raise _refuse(node, "has g_idx, which puts its rows into another order", "quantize it without activation order")
    if bits not in (2, 4, 8) or block < 16 or block & (block - 1) or min(k, n) < 1:
        raise _refuse(
            node, f"has {bits} bits, blocks of {block}, K {k} and N {n}", "expected 2, 4 or 8 bits and blocks of 2^i >= 16"
        )
    blocks = -(-k // block)
    numbers = _unpacked(_array(node, packed, "weights", n * blocks * block * bits // 8).reshape(n, -1), bits)[:, :k]
    scales = _array(node, steps, "scales", n * blocks).astype(np.float32).reshape(n, blocks)
    zeros: np.ndarray
    if points is None:
        zeros = np.full((n, blocks), 1 << (bits - 1), np.uint8)
    elif points.dtype == DataType.UINT8:
        zeros = _unpacked(_array(node, points, "zero points", n * -(-blocks * bits // 8)).reshape(n, -1), bits)[:, :blocks]
    else:
        zeros = _array(node, points, "zero points", n * blocks).astype(np.float32).reshape(n, blocks)
    return _Weight(numbers, scales, zeros, block)


def _array(node: Node, value: Value | None, what: str, size: int) -> np.ndarray:
    array = constant_of(value)
    if array is None:
        raise _refuse(node, f"computes its {what}", "they must be constants of the model")
    if array.size != size:
        raise _refuse(node, f"has {array.size} bytes or numbers of {what}, expected {size}", "the file is damaged")
    return np.asarray(array)


def _unpacked(rows: np.ndarray, bits: int) -> np.ndarray:
    """The numbers in bytes, the lowest bits first; rows: (n, bytes) uint8."""
    if bits == 8:
        return rows
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return (rows[:, :, None] >> shifts & np.uint8((1 << bits) - 1)).reshape(len(rows), -1)


def _dequantized(node: Node, weight: _Weight) -> list[Node]:
    """Nodes whose last one gives the weights as floats of shape (k, n)."""
    graph, base = graph_of(node), node.outputs[0].name or "product"
    whole = weight.zeros.dtype == np.uint8
    given = {"weight": weight.numbers, "scales": weight.scales, **({"zero_points": weight.zeros} if whole else {})}
    operands = [add_constant(graph, np.ascontiguousarray(array.T), f"{base}.{name}") for name, array in given.items()]
    scaled = make_node("DequantizeLinear", operands, {"axis": 0, "block_size": weight.block}, like=node)
    return [scaled] if whole else [scaled, *_minus_points(graph, scaled, weight, base)]


def _minus_points(graph: Graph, scaled: Node, weight: _Weight, base: str) -> list[Node]:
    """Zero points that are floats, which DequantizeLinear does not know: each row takes that of its block off."""
    rows = np.arange(weight.numbers.shape[1]) // weight.block
    steps = add_constant(graph, np.ascontiguousarray((weight.zeros * weight.scales).T), f"{base}.zero_steps")
    each = make_node("Gather", [steps, add_constant(graph, rows, f"{base}.blocks")], {"axis": 0}, like=scaled)
    return [each, make_node("Sub", [scaled.outputs[0], each.outputs[0]], like=scaled)]


def _refuse(node: Node, what: str, remedy: str) -> UnsupportedFeatureError:
    return UnsupportedFeatureError(f"MatMulNBits node {describe(node)} {what}; {remedy}")
