# SPDX-License-Identifier: Apache-2.0
"""What nodes on vectors of sizes compute, by operator: Gather of a Shape, Concat, sums and so on."""

from __future__ import annotations

from collections.abc import Callable

from penlight_export.graph import Node, constant_of, find_attribute, rank_of
from penlight_export.passes.known_sizes import Entry, KnownSizes, Size, add, divide, is_whole, multiply, product, subtract

Entries = list[Entry]
Rule = Callable[[Node, KnownSizes], "Entries | None"]


def entries_of_node(node: Node, known: KnownSizes) -> Entries | None:
    """The entries of a node's first output, an integer vector or scalar; None where nothing is known."""
    rule = _RULES.get(node.op_type)
    rank = rank_of(node.outputs[0])
    if rule is None or not is_whole(node.outputs[0]) or rank is None or rank > 1:
        return None
    return rule(node, known)


def _shape(node: Node, known: KnownSizes) -> Entries | None:
    sizes = known.shape_of(node.inputs[0])
    return None if sizes is None else list(sizes[find_attribute(node, "start", 0) : find_attribute(node, "end")])


def _size(node: Node, known: KnownSizes) -> Entries | None:
    sizes = known.shape_of(node.inputs[0])
    return None if sizes is None else [product(sizes)]


def _gather(node: Node, known: KnownSizes) -> Entries | None:
    entries = known.entries_of(node.inputs[0])
    indices = constant_of(node.inputs[1])
    if entries is None or indices is None or indices.ndim > 1 or find_attribute(node, "axis", 0) not in (0, -1):
        return None
    flat = [int(index) for index in indices.reshape(-1)]
    return [entries[index] for index in flat] if all(-len(entries) <= index < len(entries) for index in flat) else None


def _slice(node: Node, known: KnownSizes) -> Entries | None:
    entries = known.entries_of(node.inputs[0])
    bounds = [constant_of(value) for value in node.inputs[1:] if value is not None]
    if entries is None or len(bounds) != len(node.inputs) - 1 or any(bound is None or bound.size != 1 for bound in bounds):
        return None
    start, end, axis, step = ([int(bound.reshape(-1)[0]) for bound in bounds if bound is not None] + [0, 1][len(bounds) - 2 :])[:4]
    return entries[start:end:step] if axis in (0, -1) and step > 0 else None


def _concat(node: Node, known: KnownSizes) -> Entries | None:
    parts = [known.entries_of(value) for value in node.inputs]
    return None if any(part is None for part in parts) else [entry for part in parts if part is not None for entry in part]


def _same(node: Node, known: KnownSizes) -> Entries | None:
    return known.entries_of(node.inputs[0])


def _cast(node: Node, known: KnownSizes) -> Entries | None:
    """Between the integer types that hold any size."""
    source = node.inputs[0]
    wide = source is not None and source.dtype is not None and source.dtype.name in ("INT64", "INT32")
    return known.entries_of(source) if wide and find_attribute(node, "to") in (6, 7) else None


def _by_entry(compute: Callable[..., Entry]) -> Rule:
    def rule(node: Node, known: KnownSizes) -> Entries | None:
        """Vectors of one length, or of one entry for all."""
        operands = [known.entries_of(value) for value in node.inputs]
        lists = [entries for entries in operands if entries is not None]
        length = max(map(len, lists), default=0)
        if len(lists) != len(operands) or {len(entries) for entries in lists} - {1, length}:
            return None
        columns = [entries * (length // len(entries)) for entries in lists]
        return [compute(*row) for row in zip(*columns, strict=True)]

    return rule


def _known(compute: Callable[[Size, Size], Entry]) -> Rule:
    return _by_entry(lambda a, b: None if a is None or b is None else compute(a, b))


def _equal(a: Size, b: Size) -> Entry:
    if isinstance(a, int) and isinstance(b, int):
        return int(a == b)
    if a == b:
        return 1
    # A size is not negative, so that no name is -1.
    names, number = (a, b) if isinstance(b, int) else (b, a)
    negative = isinstance(number, int) and number < 0
    return 0 if negative and not isinstance(names, int) and all(factor > 0 for factor in names.terms.values()) else None


def _where(condition: Entry, a: Entry, b: Entry) -> Entry:
    if a == b:
        return a
    return None if not isinstance(condition, int) else a if condition else b


def _filled(node: Node, known: KnownSizes) -> Entries | None:
    """ConstantOfShape of a vector."""
    length = known.entries_of(node.inputs[0])
    value = find_attribute(node, "value")
    if length is None or len(length) != 1 or not isinstance(length[0], int) or not 0 <= length[0] <= 8:
        return None
    return [0 if value is None else int(value.numpy().reshape(-1)[0])] * length[0]


def _product(node: Node, known: KnownSizes) -> Entries | None:
    entries = known.entries_of(node.inputs[0])
    sizes = [entry for entry in entries or [] if entry is not None]
    return [product(sizes)] if entries is not None and len(sizes) == len(entries) and rank_of(node.inputs[0]) == 1 else None


_RULES: dict[str, Rule] = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    **dict.fromkeys(("Unsqueeze", "Squeeze", "Identity", "Reshape"), _same),
    "Cast": _cast,
    "Add": _known(add),
    "Sub": _known(subtract),
    "Mul": _known(multiply),
    "Div": _known(divide),
    "Equal": _known(_equal),
    "Where": _by_entry(_where),
    "ConstantOfShape": _filled,
    "ReduceProd": _product,
}
