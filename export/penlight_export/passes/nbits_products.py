# SPDX-License-Identifier: Apache-2.0
"""Products with weights of 4 or 8 bits, packed as the edge runtime reads them: no matrix of floats is ever made of them."""

from __future__ import annotations

from typing import NamedTuple, TypeGuard

import numpy as np

from penlight_export.graph import (
    FUSED_DOMAIN,
    DataType,
    Model,
    Node,
    Value,
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
from penlight_export.passes.base import Pass, require_fused

PANEL = 16  # columns that lie together; runtime/kernels/gemm.h
GROUP = 8  # rows of a panel that lie together
_MIDDLE = {4: 8, 8: 128}  # the zero point that is meant when none is given, of numbers without a sign


class NBitsProducts(Pass):
    """MatMul or Gemm with constants of 8 bits or fewer that DequantizeLinear scales becomes MatMulNBits of domain ai.penlight.

    A row's sums are scaled instead of the weights, so that results differ by roundings.
    """

    name = "products with weights of few bits"
    operators = frozenset({"DequantizeLinear"})
    edge_only = True
    kernels = ("MatMulNBits",)

    def run(self, model: Model) -> int:
        """Returns the number of products."""
        packed: dict[tuple[Value, bool], list[Value | None]] = {}
        nodes = [node for node in all_nodes(model.graph) if node.op_type in ("MatMul", "Gemm") and node.domain == ""]
        fused = sum(_fuse(node, packed) for node in nodes)
        if fused:
            model.graph.opset_imports[FUSED_DOMAIN] = 1
        return fused

    def ensures(self, model: Model) -> None:
        """The overload of each product says what it has, as its body reads it."""
        require_fused(model, self.kernels, lambda node: node.overload == nbits_overload(node), f"{self.name}: overloads say so")


def nbits_overload(node: Node) -> str:
    """Which body a MatMulNBits has: its bits, the kind of its zero points, and whether there is a bias."""
    zeros, bias = ((node.inputs[place] if len(node.inputs) > place else None) for place in (3, 4))
    points = "" if zeros is None else "FloatZeros" if zeros.dtype == DataType.FLOAT else "Zeros"
    weight = node.inputs[1]
    return ("8" if weight is not None and weight.dtype == DataType.INT8 else "4") + points + "Bias" * (bias is not None)


class _Weight(NamedTuple):
    """(k, n) numbers and (blocks, n) scales and zero points; zero points of floats are in steps of the numbers."""

    numbers: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray | None
    block: int


def _fuse(product: Node, packed: dict[tuple[Value, bool], list[Value | None]]) -> bool:
    x, source = product.inputs[:2]
    if x is None or source is None or x.dtype != DataType.FLOAT or (rank_of(x) or 0) < 1 or not _is_plain(product):
        return False
    turned = bool(find_attribute(product, "transB", 0))
    weight = _weight(source, turned)
    if weight is None:
        return False
    n = weight.numbers.shape[1]
    bias, last = _bias(product, n)
    if product.op_type == "Gemm" and bias is None and len(product.inputs) > 2 and product.inputs[2] is not None:
        return False  # something else that is added
    if (source, turned) not in packed:
        packed[source, turned] = _packed(product, weight)
    inputs = [x, *packed[source, turned], bias]
    while inputs[-1] is None:
        inputs.pop()
    fused = make_node("MatMulNBits", inputs, {"columns": n, "block_size": weight.block}, domain=FUSED_DOMAIN, like=product)
    fused.overload = nbits_overload(fused)
    replace_node(last, [fused], fused.outputs)
    if last is not product:
        graph_of(product).remove(product, safe=True)
    return True


def _is_plain(product: Node) -> bool:
    plain = find_attribute(product, "alpha", 1.0) == 1.0 and find_attribute(product, "beta", 1.0) == 1.0
    return plain and not find_attribute(product, "transA", 0)


def _bias(product: Node, columns: int) -> tuple[Value | None, Node]:
    """A constant row that is added to the result, and the node whose result is the last."""
    if product.op_type == "Gemm":
        bias = product.inputs[2] if len(product.inputs) > 2 else None
        return (bias if _is_row(bias, columns) else None), product
    add = single_consumer(product.outputs[0])
    if add is None or add.op_type != "Add" or add.domain != "":
        return None, product
    bias = add.inputs[1] if add.inputs[0] is product.outputs[0] else add.inputs[0]
    return (bias, add) if _is_row(bias, columns) else (None, product)


def _is_row(bias: Value | None, columns: int) -> bool:
    array = constant_of(bias)
    return array is not None and array.shape == (columns,) and array.dtype == np.float32


def _weight(source: Value, turned: bool) -> _Weight | None:
    """What stands behind a right side: scaled constants, turned or not, whose zero points may be taken off behind the scaling."""
    node, steps = source.producer(), None
    if _is(node, "Transpose") and list(find_attribute(node, "perm", (1, 0))) == [1, 0]:
        turned, node = not turned, _producer(node.inputs[0])
    if _is(node, "Sub") and not turned:
        steps, node = node.inputs[1], _producer(node.inputs[0])
    weight = _scaled(node, turned) if _is(node, "DequantizeLinear") else None
    return weight if weight is None or steps is None else _with_float_points(weight, steps)


def _is(node: Node | None, operator: str) -> TypeGuard[Node]:
    return node is not None and node.op_type == operator and node.domain == ""


def _producer(value: Value | None) -> Node | None:
    return None if value is None else value.producer()


def _scaled(node: Node, turned: bool) -> _Weight | None:
    numbers, scales = constant_of(node.inputs[0]), constant_of(node.inputs[1])
    zeros = node.inputs[2] if len(node.inputs) > 2 else None
    points = constant_of(zeros)
    if numbers is None or numbers.ndim != 2 or numbers.dtype.name not in ("int8", "uint8") or (zeros is None) != (points is None):
        return None
    if scales is None or scales.dtype != np.float32:
        return None
    block, axis = int(find_attribute(node, "block_size", 0)), int(find_attribute(node, "axis", 1)) % 2
    if scales.ndim < 2:  # one, or one for each index of the axis
        if scales.size > 1 and axis != (0 if turned else 1):
            return None
        block, scales = 0, scales.reshape((-1, 1) if turned else (1, -1))
        points = None if points is None else points.reshape(scales.shape)
    elif axis != (1 if turned else 0):
        return None
    if turned:
        numbers, scales, points = numbers.T, scales.T, None if points is None else points.T
    k, n = numbers.shape
    block = block if 0 < block < k else max(k + -k % GROUP, GROUP)
    if scales.size == 1:
        scales = np.broadcast_to(scales, (1, n))
    fits = scales.shape == (-(-k // block), n) and block % GROUP == 0 and numbers.size > 0
    return _Weight(numbers, scales, points, block) if fits else None


def _with_float_points(weight: _Weight, steps: Value) -> _Weight | None:
    rows = _rows_of_blocks(steps, weight.block)
    if rows is None or rows.shape != weight.scales.shape or weight.zeros is not None or weight.numbers.dtype != np.uint8:
        return None
    zeros = np.divide(rows, weight.scales, out=np.zeros_like(rows), where=weight.scales != 0)
    return weight._replace(zeros=zeros)


def _rows_of_blocks(steps: Value, block: int) -> np.ndarray | None:
    """One row for each block of what is taken off each row: a constant, or rows that Gather takes from one."""
    node, every = steps.producer(), constant_of(steps)
    if every is not None:
        places = np.arange(len(every)) // block * block if every.ndim == 2 else np.arange(0)
        return every[::block] if every.ndim == 2 and np.array_equal(every, every[places]) else None
    if not _is(node, "Gather") or find_attribute(node, "axis", 0) != 0:
        return None
    rows, numbers = constant_of(node.inputs[0]), constant_of(node.inputs[1])
    if rows is None or numbers is None or numbers.ndim != 1 or not np.array_equal(numbers, np.arange(len(numbers)) // block):
        return None
    return rows


def _packed(product: Node, weight: _Weight) -> list[Value | None]:
    """Weights, scales and zero points in panels of 16 columns; without zero points where they are the middle."""
    graph, base = graph_of(product), f"{product.outputs[0].name}"
    bits, numbers, zeros = _unsigned(weight)
    k, n = numbers.shape
    panels, groups = -(-n // PANEL), -(-k // GROUP)
    rows = np.zeros((groups * GROUP, panels * PANEL), np.uint8)
    rows[:k, :n] = numbers
    rows = rows.reshape(groups, GROUP, panels, PANEL)
    given = [_words(rows) if bits == 4 else _bytes(rows), _panels(weight.scales)]
    names = [f"{base}.weight", f"{base}.scales"]
    if zeros.dtype != np.uint8 or np.any(zeros != _MIDDLE[bits]):
        if zeros.dtype != np.uint8 and bits == 8:
            zeros = zeros - np.float32(128)
        given.append(_panels(zeros))
        names.append(f"{base}.zero_points")
    values: list[Value | None] = [add_constant(graph, array, name) for array, name in zip(given, names, strict=True)]
    return [*values, None][:3]


def _unsigned(weight: _Weight) -> tuple[int, np.ndarray, np.ndarray]:
    """The bits that the numbers need, the numbers as ones without a sign, and their zero points."""
    numbers, zeros = weight.numbers, weight.zeros
    low, shape = (-8 if numbers.dtype == np.int8 else 0), weight.scales.shape
    points = np.zeros(shape, np.int16) if zeros is None else zeros
    if zeros is not None and zeros.dtype == np.float32:
        return (4 if numbers.max() < 16 else 8), numbers, zeros
    points = np.broadcast_to(points, shape).astype(np.int16) - low
    if numbers.min() >= low and numbers.max() < low + 16 and points.min() >= 0 and points.max() < 256:
        return 4, (numbers - np.array(low, numbers.dtype)).view(np.uint8), points.astype(np.uint8)
    if low:
        return 8, numbers.view(np.uint8) ^ np.uint8(128), (points + low + 128).astype(np.uint8)
    return 8, numbers, points.astype(np.uint8)


def _words(rows: np.ndarray) -> np.ndarray:
    """(groups, 8, panels, 16) nibbles as (panels, groups, 16) words, the first row lowest."""
    words = np.zeros((rows.shape[2], rows.shape[0], PANEL), np.uint32)
    for row in range(GROUP):
        words |= rows[:, row].swapaxes(0, 1).astype(np.uint32) << np.uint32(4 * row)
    return words


def _bytes(rows: np.ndarray) -> np.ndarray:
    """The same of bytes as (panels, groups * 8, 16) numbers with a sign."""
    signed = (rows ^ np.uint8(128)).view(np.int8)
    return signed.transpose(2, 0, 1, 3).reshape(rows.shape[2], -1, PANEL)


def _panels(rows: np.ndarray) -> np.ndarray:
    """(blocks, n) as (panels, blocks, 16)."""
    blocks, n = rows.shape
    wide = np.zeros((blocks, -(-n // PANEL) * PANEL), rows.dtype)
    wide[:, :n] = rows
    return wide.reshape(blocks, -1, PANEL).swapaxes(0, 1)
