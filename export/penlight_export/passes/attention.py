# SPDX-License-Identifier: Apache-2.0
"""Puts one Attention in the place of softmax(q k' * scale + mask) v, with the Transposes that split and join the heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from penlight_export.graph import (
    Graph,
    Model,
    Node,
    Shape,
    SymbolicDim,
    Value,
    add_constant,
    all_nodes,
    constant_of,
    find_attribute,
    fresh_name,
    graph_of,
    make_node,
    rank_of,
    replace_node,
    single_consumer,
)
from penlight_export.passes.base import Pass, made_by, require_made, require_opset
from penlight_export.passes.formula import scalar_of
from penlight_export.passes.transposes import permutation_of

ATTENTION_OPSET = 23
_MASKED = -1e4  # at most; what is added to it leaves no probability in float32
_SPLIT, _SPLIT_COLUMNS, _COLUMNS = (0, 2, 1, 3), (0, 2, 3, 1), (0, 1, 3, 2)


@dataclass
class _Scores:
    """What stands in front of a softmax."""

    product: Node
    scale: float = 1.0
    mask: Value | None = None
    causal: bool = False


@dataclass(frozen=True)
class _Side:
    """Queries, keys or values: (B, H, T, D), or (B, T, H, D) where a Transpose splits the heads, or in an order of its own."""

    value: Value
    split: bool
    scale: float = 1.0
    order: tuple[int, ...] | None = None  # which puts the value's axes as (B, H, T, D), where it is not split


class FuseAttention(Pass):
    """Float32 with four axes. With the Transposes of all of q, k and v the fused node reads and writes (B, T, H * D) directly.

    A mask with one row for all queries is left alone unless `one_row`: the edge runtime takes it, onnxruntime refuses it.
    """

    name = "attention"
    operators = frozenset({"Softmax"})
    finds_newer = True

    def __init__(self, one_row: bool = False) -> None:
        self.edge_only = self.one_row = one_row

    def requires(self, model: Model) -> None:
        """Axes and the like are inputs, not attributes."""
        require_opset(model, 13, self.name)

    def run(self, model: Model) -> int:
        """Returns the number of fused patterns."""
        if model.opset_imports.get("", 1) < ATTENTION_OPSET:
            return 0
        nodes = tuple(all_nodes(model.graph))
        return sum(_fuse(node, self.one_row) for node in nodes if node.op_type == "MatMul" and node.domain == "")

    def ensures(self, model: Model) -> None:
        """Queries, keys and values have their heads apart, or the node says how many there are."""
        require_made(self, model, _knows_its_heads, "heads lie apart or are counted")


def _knows_its_heads(node: Node) -> bool:
    ranks = {rank_of(value) for value in node.inputs[:3]} - {None}
    counted = find_attribute(node, "q_num_heads", 0) > 0 and find_attribute(node, "kv_num_heads", 0) > 0
    return ranks <= {4} or (ranks <= {3} and counted)


def _fuse(node: Node, one_row: bool) -> bool:
    softmax, guarded = _softmax_before(node)
    if softmax is None or softmax.inputs[0] is None:
        return False
    scores = _scores_before(softmax.inputs[0], softmax)
    if scores is None or not (guarded or scores.mask is None or not _is_boolean(scores.mask) or _sees_first(scores.mask)):
        return False  # a row that sees nothing would be NaN without the guard, and is zero in Attention
    if scores.mask is not None and not one_row and not _has_rows(scores.mask):
        return False
    q, k, v = _side(scores.product.inputs[0], _SPLIT), _keys(scores.product.inputs[1]), _side(node.inputs[1], _SPLIT)
    if k is None or any(not _is_float_image(side.value) for side in (q, k, v)) or v.scale != 1:
        return False
    attributes: dict[str, Any] = {"scale": scores.scale * q.scale * k.scale}
    if attributes["scale"] <= 0:
        return False
    if scores.causal:
        attributes["is_causal"] = 1
    if q.split and k.split and v.split and _replace_split(node, (q, k, v), scores.mask, attributes):
        return True
    inputs = [_heads_first(side, node) for side in (q, k, v)]
    operands = [*inputs, *([scores.mask] if scores.mask is not None else [])]
    new = made_by(FuseAttention, make_node("Attention", operands, attributes, like=node))
    replace_node(node, [new], new.outputs)
    return True


def _softmax_before(node: Node) -> tuple[Node | None, bool]:
    """The softmax whose result is multiplied, and whether rows that see nothing become zero."""
    value = node.inputs[0]
    producer = _only(value, node)
    guarded = False
    if producer is not None and producer.op_type == "Where" and scalar_of(producer.inputs[1]) == 0:
        check = producer.inputs[0].producer() if producer.inputs[0] is not None else None
        value = producer.inputs[2]
        guarded = check is not None and check.op_type == "IsNaN" and check.inputs[0] is value and value is not None
        producer = value.producer() if guarded and value is not None and len(value.uses()) == 2 else None
    if producer is None or producer.op_type != "Softmax" or producer.domain != "" or rank_of(value) != 4:
        return None, False
    return (producer if find_attribute(producer, "axis", -1) in (-1, 3) else None), guarded


def _only(value: Value | None, reader: Node) -> Node | None:
    """The node that computes a value which only one node reads."""
    return value.producer() if value is not None and single_consumer(value) is reader else None


def _scores_before(value: Value, reader: Node) -> _Scores | None:
    """Walks from the softmax to the product of queries and keys; what stands between them is a mask or a factor."""
    mask: Value | None = None
    causal, scale = False, 1.0
    for _ in range(6):
        node = _only(value, reader)
        if node is None or node.domain != "":
            return None
        if node.op_type == "MatMul":
            return _Scores(node, scale, mask, causal)
        if node.op_type in ("Mul", "Div"):
            side, number = _scalar_side(node)
            if number is None or number == 0:
                return None
            scale = scale / number if node.op_type == "Div" else scale * number
        elif node.op_type == "Where":
            side = 1
            if not _hides(node.inputs[2]) or scale != 1:  # a factor behind the mask would scale it too
                return None
            if _is_causal(node.inputs[0]):
                causal = True
            elif mask is None:
                mask = node.inputs[0]
            else:
                return None
        elif node.op_type == "Add" and scale == 1 and mask is None and (place := _mask_side(node)) is not None:
            side, mask = 1 - place, node.inputs[place]
        else:
            return None
        following = node.inputs[side]
        if following is None or (mask is not None and not _fits_scores(mask, following)):
            return None
        value, reader = following, node
    return None


def _scalar_side(node: Node) -> tuple[int, float | None]:
    right = scalar_of(node.inputs[1])
    if right is not None or node.op_type == "Div":
        return 0, right
    return 1, scalar_of(node.inputs[0])


def _hides(value: Value | None) -> bool:
    number = scalar_of(value)
    return number is not None and number <= _MASKED


def _mask_side(node: Node) -> int | None:
    """Which operand of an Add is the mask: the one that no product or factor of scores computes."""
    for side in (1, 0):
        producer = _only(node.inputs[1 - side], node)
        if producer is not None and producer.op_type in ("MatMul", "Mul", "Div", "Where"):
            return side
    return None


def _fits_scores(mask: Value, scores: Value) -> bool:
    """The operator does not broadcast the mask along the keys; along other axes it may be 1. Sizes that vary are taken to agree."""
    if mask.shape is None or scores.shape is None or not 1 <= len(mask.shape) <= 4 or len(scores.shape) != 4:
        return False
    if not _is_boolean(mask) and mask.dtype != scores.dtype:
        return False
    axes = range(-len(mask.shape), 0)
    return all(sizes_agree(mask.shape[axis], scores.shape[axis]) or (axis != -1 and mask.shape[axis] == 1) for axis in axes)


def _has_rows(mask: Value) -> bool:
    """The mask has a row for each query, as far as is known."""
    return mask.shape is not None and len(mask.shape) > 1 and mask.shape[-2] != 1


def sizes_agree(a: int | SymbolicDim, b: int | SymbolicDim) -> bool:
    return a == b if isinstance(a, int) and isinstance(b, int) else not (isinstance(a, int) and a == 1)


def same_size(a: int | SymbolicDim, b: int | SymbolicDim) -> bool:
    if isinstance(a, int) or isinstance(b, int):
        return isinstance(a, int) and isinstance(b, int) and a == b
    return a.value is not None and a.value == b.value


def _is_boolean(value: Value) -> bool:
    return value.dtype is not None and value.dtype.name == "BOOL"


def _is_causal(condition: Value | None) -> bool:
    """A lower triangle: a constant, or row numbers compared with column numbers."""
    array = constant_of(condition)
    if array is not None:
        return array.ndim == 2 and bool(np.array_equal(array, np.tril(np.ones(array.shape, bool))))
    node = condition.producer() if condition is not None else None
    if node is None or node.op_type not in ("LessOrEqual", "GreaterOrEqual"):
        return False
    columns, rows = node.inputs if node.op_type == "LessOrEqual" else reversed(node.inputs)
    down = rows.producer() if rows is not None else None
    if down is None or down.op_type != "Unsqueeze" or scalar_of(down.inputs[1]) != 1:
        return False
    return _counts(columns) and _counts(down.inputs[0])


def _sees_first(mask: Value) -> bool:
    """A part of a constant mask whose rows all see the first key, such as rows of a lower triangle, from the first column on."""
    value: Value | None = mask
    for _ in range(4):
        array = constant_of(value)
        if array is not None:
            return array.ndim > 1 and array.shape[-1] > 0 and bool(array[..., 0].all())
        node = value.producer() if value is not None else None
        if node is None or node.op_type != "Slice" or not _keeps_first(node):
            return False
        value = node.inputs[0]
    return False


def _keeps_first(node: Node) -> bool:
    """A Slice whose columns begin at the first one."""
    rank = rank_of(node.inputs[0])
    axes = constant_of(node.inputs[3]) if len(node.inputs) > 3 else None
    if not rank or axes is None or axes.size != 1 or (len(node.inputs) > 4 and scalar_of(node.inputs[4]) != 1):
        return False
    return int(axes.reshape(-1)[0]) % rank != rank - 1 or scalar_of(node.inputs[1]) == 0


def _counts(value: Value | None) -> bool:
    """0, 1, 2 and so on."""
    node = value.producer() if value is not None else None
    if node is not None and node.op_type == "Range":
        return scalar_of(node.inputs[0]) == 0 and scalar_of(node.inputs[2]) == 1
    array = constant_of(value)
    return array is not None and array.ndim == 1 and bool(np.array_equal(array, np.arange(array.size)))


def _unscaled(value: Value) -> tuple[Value, float]:
    """A value without the factor that it is multiplied with."""
    node = value.producer()
    if node is None or node.op_type not in ("Mul", "Div") or node.domain != "":
        return value, 1.0
    side, number = _scalar_side(node)
    operand = node.inputs[side]
    if number is None or number == 0 or operand is None or rank_of(operand) != rank_of(value):
        return value, 1.0
    return operand, 1 / number if node.op_type == "Div" else number


def _side(value: Value | None, order: tuple[int, ...]) -> _Side:
    assert value is not None
    outer, first = _unscaled(value)
    if permutation_of(outer) != order:
        return _Side(outer, False, first)
    producer = outer.producer()
    source = producer.inputs[0] if producer is not None else None
    assert source is not None
    inner, second = _unscaled(source)
    return _Side(inner, True, first * second)


def _keys(value: Value | None) -> _Side | None:
    """The keys behind their transposition; None when there is no such."""
    split = _side(value, _SPLIT_COLUMNS)
    if split.split:
        return split
    columns = _side(value, _COLUMNS)
    if columns.split:
        return _Side(columns.value, False, columns.scale)
    outer, scale = _unscaled(value) if value is not None else (None, 1.0)
    order, producer = permutation_of(outer), outer.producer() if outer is not None else None
    if order is None or len(order) != 4 or order[2] != 3 or producer is None or producer.inputs[0] is None:
        return None
    inner, second = _unscaled(producer.inputs[0])
    return _Side(inner, False, scale * second, (order[0], order[1], order[3], order[2]))  # of time first, for example


def _is_float_image(value: Value) -> bool:
    return rank_of(value) == 4 and value.dtype is not None and value.dtype.name == "FLOAT"


def _heads_first(side: _Side, node: Node) -> Value:
    """(B, H, T, D), through the Transpose where there is one; a factor is in the scale now."""
    order = _SPLIT if side.split else side.order
    if order is None:
        return side.value
    graph = graph_of(node)
    name = fresh_name(graph, f"{side.value.name}.heads")
    transpose = make_node("Transpose", [side.value], {"perm": list(order)}, output_names=[name], like=node)
    transpose.outputs[0].type = side.value.type
    if side.value.shape is not None:
        transpose.outputs[0].shape = Shape([side.value.shape[axis] for axis in order])
    graph.insert_before(node, transpose)
    return transpose.outputs[0]


def _replace_split(node: Node, sides: tuple[_Side, ...], mask: Value | None, attributes: dict[str, Any]) -> bool:
    """Attention on (B, T, H * D), where the result is put together by a Transpose and a Reshape, or the Transpose alone."""
    join = single_consumer(node.outputs[0])
    heads = [side.value.shape[2] if side.value.shape is not None else None for side in sides]
    sizes = [side.value.shape[3] if side.value.shape is not None else None for side in sides]
    if join is None or permutation_of(join.outputs[0]) != _SPLIT or not all(isinstance(n, int) for n in heads + sizes):
        return False
    graph = graph_of(node)
    flat = [flat_heads(graph, node, side.value, int(h) * int(d)) for side, h, d in zip(sides, heads, sizes, strict=True)]  # type: ignore[arg-type]  # ints
    attributes = attributes | {"q_num_heads": heads[0], "kv_num_heads": heads[1]}
    name = fresh_name(graph, f"{node.outputs[0].name}.joined")
    inputs = [*flat, *([mask] if mask is not None else [])]
    new = made_by(FuseAttention, make_node("Attention", inputs, attributes, output_names=[name], like=node))
    new.outputs[0].type = node.outputs[0].type
    batch = sides[0].value.shape
    assert batch is not None
    new.outputs[0].shape = Shape([batch[0], batch[1], int(heads[0]) * int(sizes[2])])  # type: ignore[arg-type]  # ints, as above
    shape = add_constant(graph, np.asarray([0, 0, heads[0], sizes[2]], np.int64), f"{name}.shape")
    unfold = make_node("Reshape", [new.outputs[0], shape], like=join)
    replace_node(join, [new, unfold], unfold.outputs)
    _skip_fold(unfold, new)
    return True


def flat_heads(graph: Graph, node: Node, value: Value, width: int) -> Value:
    """(B, T, H, D) as (B, T, H * D): what a Reshape split, or a new Reshape."""
    producer = value.producer()
    source = producer.inputs[0] if producer is not None and producer.op_type == "Reshape" else None
    if source is not None and rank_of(source) == 3 and _splits_last(producer, source, value, width):
        return source
    name = fresh_name(graph, f"{value.name}.flat")
    shape = add_constant(graph, np.asarray([0, 0, width], np.int64), f"{name}.shape")
    reshape = make_node("Reshape", [value, shape], output_names=[name], like=node)
    reshape.outputs[0].type = value.type
    if value.shape is not None:
        reshape.outputs[0].shape = Shape([value.shape[0], value.shape[1], width])
    graph.insert_before(node, reshape)
    return reshape.outputs[0]


def _splits_last(reshape: Node | None, source: Value, value: Value, width: int) -> bool:
    assert reshape is not None and source.shape is not None and value.shape is not None
    shape = constant_of(reshape.inputs[1])
    first = same_size(source.shape[0], value.shape[0]) or (shape is not None and shape.size > 0 and shape[0] == 0)
    return bool(first) and source.shape[2] == width


def _skip_fold(unfold: Node, attention: Node) -> None:
    """Drops a Reshape back to (B, T, H * D) behind the one to (B, T, H, D)."""
    fold = single_consumer(unfold.outputs[0])
    if fold is None or fold.op_type != "Reshape" or fold.domain != "" or rank_of(fold.outputs[0]) != 3:
        return
    shape, before, after = constant_of(fold.inputs[1]), unfold.outputs[0].shape, fold.outputs[0].shape
    if before is None or after is None:
        return
    keeps = same_size(before[0], after[0]) or (shape is not None and shape.size == 3 and shape[0] == 0)
    if keeps and isinstance(after[2], int) and isinstance(before[3], int) and after[2] == before[2] * before[3]:
        replace_node(fold, [], attention.outputs)
