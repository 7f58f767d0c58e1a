# SPDX-License-Identifier: Apache-2.0
"""Puts one RotaryEmbedding in the place of x * cos + rotate(x) * sin and its relatives (RoPE, https://arxiv.org/abs/2104.09864).

The pairs that are turned are the two halves of a head (GPT-NeoX, Llama in transformers) or neighbours (GPT-J, Llama's first code);
x may be (B, H, T, D), (B, T, H, D) or, with one head, (B, T, D), and a part of a head may stay as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from penlight_export.graph import (
    Graph,
    Model,
    Node,
    Value,
    add_constant,
    all_graphs,
    find_attribute,
    fresh_name,
    graph_of,
    make_node,
    rank_of,
    replace_node,
    single_consumer,
)
from penlight_export.passes.attention import flat_heads
from penlight_export.passes.base import Pass, made_by, require_made
from penlight_export.passes.rotary_caches import Caches, Layout, cache_layout
from penlight_export.passes.selected_parts import Part, flattened_pairs, last_size, part_of, same_part, splits_last, whole_of

ROTARY_OPSET = 23
_SPLIT = (0, 2, 1, 3)


@dataclass(frozen=True)
class _Turn:
    """What one place of a graph computes: the last node, what is turned, and the angles."""

    root: Node
    x: Part  # `part` is "all", or the first features of a head where the others stay
    cosines: Value
    sines: Value
    in_turns: bool
    wide: bool  # the caches have a column for each feature, not for each pair


class FuseRotary(Pass):
    """Any floating type. A Concat on the last axis is at the heart of every form, so that nothing else is looked at."""

    name = "rotary embedding"
    operators = frozenset({"Concat"})
    finds_newer = True

    def run(self, model: Model) -> int:
        """Returns the number of fused rotations; none before operator set 23, which brought the operator."""
        if model.opset_imports.get("", 1) < ROTARY_OPSET:
            return 0
        return sum(_fuse_in(graph) for graph in all_graphs(model.graph))

    def ensures(self, model: Model) -> None:
        """Heads lie apart or are counted, and the caches are tables only where positions choose their rows."""
        require_made(self, model, _is_whole, "heads and positions are known")


def _is_whole(node: Node) -> bool:
    x, caches = rank_of(node.inputs[0]), {rank_of(value) for value in node.inputs[1:3]} - {None}
    chosen = len(node.inputs) > 3 and node.inputs[3] is not None
    return (x in (None, 4) or (x == 3 and find_attribute(node, "num_heads", 0) > 0)) and caches <= {2 if chosen else 3}


def _fuse_in(graph: Graph) -> int:
    found = [turn for node in graph if node.op_type == "Concat" for turn in _turns_at(node)]
    if not found:
        return 0
    caches, places = Caches(graph), {node: place for place, node in enumerate(graph)}
    # In the order of the nodes that they replace: the first one of several makes the caches of all.
    return sum(_replace(turn, caches) for turn in sorted(found, key=lambda turn: places[turn.root]))


def _turns_at(join: Node) -> Iterator[_Turn]:
    """What is turned around a Concat of two halves, or of two stacked halves whose last axes a Reshape joins."""
    rank = rank_of(join.outputs[0])
    if join.domain != "" or len(join.inputs) != 2 or not rank or find_attribute(join, "axis", 0) % rank != rank - 1:
        return
    pairs = flattened_pairs(join)
    end, halves, in_turns = (join, list(join.inputs), False) if pairs is None else (*pairs, True)
    first, second = (value.producer() if value is not None else None for value in halves)
    turn = None
    if first is not None and first.op_type == "Neg" and halves[1] is not None:
        turn = _turned_whole(end, first, halves[1], in_turns)
    elif first is not None and second is not None and first.op_type == "Sub" and second.op_type == "Add":
        turn = _turned_parts(end, first, second, in_turns)
    if turn is not None:
        yield _with_rest(turn)


def _turned_whole(end: Node, negated: Node, first: Value, in_turns: bool) -> _Turn | None:
    """x * cos + rotate(x) * sin, where `end` computes rotate(x) = (-second, first)."""
    assert negated.inputs[0] is not None
    low, high = part_of(first, in_turns), part_of(negated.inputs[0], in_turns)
    product = single_consumer(end.outputs[0])
    root = single_consumer(product.outputs[0]) if product is not None and product.op_type == "Mul" else None
    if not _are_pair(low, high) or product is None or root is None or root.op_type != "Add":
        return None
    assert low is not None
    x, sines = whole_of(low), _other(product, end.outputs[0])
    rest = _other(root, product.outputs[0])
    straight = rest.producer() if rest is not None else None
    if straight is None or straight.op_type != "Mul" or rest is None or single_consumer(rest) is not root or sines is None:
        return None
    for side in (0, 1):
        operand, cosines = straight.inputs[side], straight.inputs[1 - side]
        if operand is not None and cosines is not None and same_part(part_of(operand, in_turns, whole=True), x):
            return _Turn(root, x, cosines, sines, in_turns, wide=True)
    return None


def _turned_parts(end: Node, real: Node, imaginary: Node, in_turns: bool) -> _Turn | None:
    """(a cos - b sin, a sin + b cos), where `end` puts the two together."""
    left, right = _factors(real.inputs[0], in_turns), _factors(real.inputs[1], in_turns)
    for a, cosines in left:
        for b, sines in right:
            if not _are_pair(a, b) or single_consumer(real.outputs[0]) is None:
                continue
            terms = [_factors(value, in_turns) for value in imaginary.inputs]
            for one, other in (terms, terms[::-1]):
                if _has(one, a, sines) and _has(other, b, cosines):
                    return _Turn(end, whole_of(a), cosines, sines, in_turns, wide=False)
    return None


def _factors(value: Value | None, in_turns: bool) -> list[tuple[Part, Value]]:
    """The ways to read a product as a part of x times something."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "Mul" or node.domain != "" or value is None or len(value.uses()) != 1:
        return []
    ways = []
    for side in (0, 1):
        operand, other = node.inputs[side], node.inputs[1 - side]
        part = part_of(operand, in_turns) if operand is not None else None
        if part is not None and other is not None:
            ways.append((part, other))
    return ways


def _has(ways: list[tuple[Part, Value]], part: Part, other: Value) -> bool:
    return any(same_part(found, part) and value is other for found, value in ways)


def _are_pair(first: Part | None, second: Part | None) -> bool:
    return first is not None and second is not None and first.number == 0 and second.number == 1 and first.beside(second)


def _other(node: Node, value: Value) -> Value | None:
    return node.inputs[1] if node.inputs[0] is value else node.inputs[0]


def _with_rest(turn: _Turn) -> _Turn:
    """The features behind those that are turned, where a Concat puts them back."""
    join = single_consumer(turn.root.outputs[0])
    if join is None or join.op_type != "Concat" or join.domain != "" or len(join.inputs) != 2:
        return turn
    rank = rank_of(join.outputs[0])
    if not rank or find_attribute(join, "axis", 0) % rank != rank - 1 or join.inputs[0] is not turn.root.outputs[0]:
        return turn
    whole = splits_last(turn.x, join.inputs[1])
    return turn if whole is None else replace(turn, root=join, x=whole)


def _replace(turn: _Turn, caches: Caches) -> bool:
    x, size = turn.x, last_size(turn.x.value)
    turned = turn.x.size
    layout = cache_layout(x, turn.cosines, turn.sines)
    if layout is None or size is None or turned is None or turned % 2 != 0 or not _is_floating(turn):
        return False
    operands = caches.operands(turn.root, layout, turn.cosines, turn.sines, turned, turn.in_turns, turn.wide)
    if operands is None:
        return False
    attributes = {"interleaved": 1} if turn.in_turns else {}
    if turned != size:
        attributes["rotary_embedding_dim"] = turned
    if layout.heads_first:
        new = made_by(FuseRotary, make_node("RotaryEmbedding", [x.as_value(turn.root), *operands], attributes, like=turn.root))
        replace_node(turn.root, [new], new.outputs)
    else:
        _replace_flat(turn.root, layout, operands, attributes)
    return True


def _is_floating(turn: _Turn) -> bool:
    dtype = turn.x.value.dtype
    return dtype is not None and dtype.is_floating_point() and turn.cosines.dtype == turn.sines.dtype == dtype


def _replace_flat(root: Node, layout: Layout, operands: list[Value], attributes: dict[str, int]) -> None:
    """On (B, T, H * D), which is what stands in front of the Reshape and the Transpose that split the heads."""
    graph, heads, size = graph_of(root), layout.heads, layout.size
    flat = flat_heads(graph, root, layout.value, heads * size) if rank_of(layout.value) == 4 else layout.value
    name = root.outputs[0].name or "turned"
    new = made_by(FuseRotary, make_node("RotaryEmbedding", [flat, *operands], {**attributes, "num_heads": heads}, like=root))
    if rank_of(layout.value) == 3:
        replace_node(root, [new], new.outputs)
        return
    shape = add_constant(graph, np.asarray([0, 0, heads, size], np.int64), f"{name}.shape")
    new.outputs[0].name = fresh_name(graph, f"{name}.flat")
    split = make_node("Reshape", [new.outputs[0], shape], output_names=[fresh_name(graph, f"{name}.split")], like=root)
    new.outputs[0].type = split.outputs[0].type = flat.type
    new.outputs[0].shape, split.outputs[0].shape = flat.shape, layout.value.shape
    if not layout.transposed:
        replace_node(root, [new, split], split.outputs)
        return
    turn = make_node("Transpose", [split.outputs[0]], {"perm": list(_SPLIT)}, like=root)
    replace_node(root, [new, split, turn], turn.outputs)
