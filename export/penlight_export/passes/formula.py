# SPDX-License-Identifier: Apache-2.0
"""Finds arithmetic that is written out in nodes by its formula, such as "0.5 * x * (1 + Erf(x * 0.70710678))".

Products and sums are compared without regard to order, brackets and where constants stand; a division is a factor below the
line, and Pow with 2, 3, 0.5, -0.5 or -1 is what it means. Names stand for any value (the same one everywhere), names in `numbers`
for a constant number.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Union

from penlight_export.graph import Node, Value, constant_of, constant_size, find_attribute, rank_of

_MOST = 6  # factors or terms that are looked at


@dataclass(frozen=True)
class Root:
    """The square root in x ** -0.5, which no node computes."""

    value: Value


@dataclass(frozen=True)
class Name:
    """Any value."""

    name: str


@dataclass(frozen=True)
class Call:
    """A node with one output; "ReduceMean" is over axes that are one and the same in the whole formula, with keepdims."""

    operator: str
    arguments: tuple[Pattern, ...]


@dataclass(frozen=True)
class Chain:
    """A product or sum: a constant, and parts with 1 or -1 for above or below the line, or plus or minus."""

    kind: str
    number: float | str
    parts: tuple[tuple[Pattern, int], ...]


Pattern = Union[Name, Call, Chain, float]  # noqa: UP007  Call refers to it before it exists
Found = Union[Value, Root]  # noqa: UP007  as above


@dataclass(frozen=True)
class Bindings:
    """What the names of a formula stand for in one place of a graph."""

    values: Mapping[str, Value] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    axes: tuple[int, ...] | None = None

    def bind(self, name: str, value: Value) -> Bindings | None:
        """With one more name; None when it stands for something else already."""
        known = self.values.get(name)
        if known is not None:
            return self if known is value else None
        return Bindings({**self.values, name: value}, self.numbers, self.axes)


@dataclass(frozen=True)
class Formula:
    """A parsed formula."""

    pattern: Pattern
    text: str

    @property
    def roots(self) -> tuple[str, ...]:
        """Operators that a node may have which computes it."""
        if isinstance(self.pattern, Chain):
            return ("Mul", "Div", "Reciprocal") if self.pattern.kind == "product" else ("Add", "Sub")
        assert isinstance(self.pattern, Call)
        return (self.pattern.operator,)

    def matches(self, node: Node) -> Iterator[Bindings]:
        """All ways in which a node computes the formula."""
        return _match(self.pattern, node.outputs[0], Bindings())


def parse(text: str, numbers: Sequence[str] = ()) -> Formula:
    """Reads a formula in Python's notation."""
    return Formula(_parse(ast.parse(text, mode="eval").body, frozenset(numbers)), text)


def _parse(tree: ast.expr, numbers: frozenset[str]) -> Pattern:
    if isinstance(tree, ast.Name):
        return Name(tree.id)
    if isinstance(tree, ast.Constant):
        assert isinstance(tree.value, (int, float))
        return float(tree.value)
    if isinstance(tree, ast.Call):
        assert isinstance(tree.func, ast.Name)
        return Call(tree.func.id, tuple(_parse(argument, numbers) for argument in tree.args))
    if isinstance(tree, ast.UnaryOp):
        operand = _parse(tree.operand, numbers)
        return -operand if isinstance(operand, float) else Chain("product", -1.0, ((operand, 1),))
    assert isinstance(tree, ast.BinOp), ast.dump(tree)
    kind = "sum" if isinstance(tree.op, (ast.Add, ast.Sub)) else "product"
    number, parts = _flatten(tree, kind, 1, numbers)
    # What binds least comes last: a plain name would take any part.
    return Chain(kind, number, tuple(sorted(parts, key=lambda part: isinstance(part[0], Name))))


def _flatten(tree: ast.expr, kind: str, sign: int, numbers: frozenset[str]) -> tuple[float | str, list[tuple[Pattern, int]]]:
    """The constant and the parts of a product or sum; brackets inside of it do not count."""
    neutral = 1.0 if kind == "product" else 0.0
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, (ast.Mult, ast.Div) if kind == "product" else (ast.Add, ast.Sub)):
        left, left_parts = _flatten(tree.left, kind, sign, numbers)
        inverse = isinstance(tree.op, (ast.Div, ast.Sub))
        right, right_parts = _flatten(tree.right, kind, -sign if inverse else sign, numbers)
        if isinstance(left, str) or isinstance(right, str):
            return (left if isinstance(left, str) else right), left_parts + right_parts
        return (left * right if kind == "product" else left + right), left_parts + right_parts
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Pow) and kind == "product":
        assert isinstance(tree.right, ast.Constant) and isinstance(tree.right.value, int)
        return neutral, [(_parse(tree.left, numbers), sign)] * tree.right.value
    if isinstance(tree, ast.Name) and tree.id in numbers:
        return tree.id, []
    part = _parse(tree, numbers)
    if isinstance(part, float):
        return (part**sign if kind == "product" else part * sign), []
    return neutral, [(part, sign)]


def _match(pattern: Pattern, found: Found, bound: Bindings) -> Iterator[Bindings]:
    if isinstance(pattern, Name):
        if isinstance(found, Value) and (more := bound.bind(pattern.name, found)) is not None:
            yield more
    elif isinstance(pattern, float):
        if isinstance(found, Value) and (number := scalar_of(found)) is not None and is_close(number, pattern, found):
            yield bound
    elif isinstance(pattern, Call):
        yield from _match_call(pattern, found, bound)
    elif isinstance(found, Value):
        for expand in (True, False):
            number, parts = _parts_of(found, pattern.kind, expand)
            if len(parts) != len(pattern.parts):
                continue
            with_number = _match_number(pattern.number, number, found, bound)
            if with_number is not None:
                yield from _match_parts(pattern.parts, parts, with_number)
            if len(parts) == 1:
                return  # both ways are the same


def _match_number(wanted: float | str, number: float, found: Value, bound: Bindings) -> Bindings | None:
    if isinstance(wanted, float):
        return bound if is_close(number, wanted, found) else None
    if bound.numbers.get(wanted, number) != number:
        return None
    return Bindings(bound.values, {**bound.numbers, wanted: number}, bound.axes)


def _match_parts(wanted: Sequence[tuple[Pattern, int]], parts: Sequence[tuple[Found, int]], bound: Bindings) -> Iterator[Bindings]:
    if not wanted:
        yield bound
        return
    pattern, sign = wanted[0]
    for place, (found, own) in enumerate(parts):
        if own == sign:
            for more in _match(pattern, found, bound):
                yield from _match_parts(wanted[1:], [*parts[:place], *parts[place + 1 :]], more)


def _match_call(pattern: Call, found: Found, bound: Bindings) -> Iterator[Bindings]:
    if isinstance(found, Root):
        if pattern.operator == "Sqrt":
            yield from _match(pattern.arguments[0], found.value, bound)
        return
    node = found.producer()
    if node is None or node.domain != "" or found is not node.outputs[0]:
        return
    if pattern.operator == "Sqrt" and node.op_type == "Pow" and _power_of(node) == 0.5:
        yield from _match_arguments(pattern.arguments, node.inputs[:1], bound)
    if node.op_type != pattern.operator:
        return
    inputs = list(node.inputs)
    if pattern.operator == "ReduceMean":
        axes = reduced_axes(node)
        if axes is None or (bound.axes is not None and bound.axes != axes):
            return
        inputs, bound = inputs[:1], Bindings(bound.values, bound.numbers, axes)
    if len(inputs) == len(pattern.arguments):
        yield from _match_arguments(pattern.arguments, inputs, bound)


def _match_arguments(patterns: Sequence[Pattern], inputs: Sequence[Value | None], bound: Bindings) -> Iterator[Bindings]:
    if not patterns:
        yield bound
    elif inputs[0] is not None:
        for more in _match(patterns[0], inputs[0], bound):
            yield from _match_arguments(patterns[1:], inputs[1:], more)


def reduced_axes(node: Node) -> tuple[int, ...] | None:
    """The axes of a reduction that keeps its dimensions, counted from the front; None when they are not known."""
    rank = rank_of(node.inputs[0])
    given = find_attribute(node, "axes")
    if given is None and len(node.inputs) > 1:
        array = constant_of(node.inputs[1])
        given = None if array is None else array.reshape(-1).tolist()
    if not rank or not given or not find_attribute(node, "keepdims", 1):
        return None
    return tuple(sorted(int(axis) % rank for axis in given))


def scalar_of(value: Value | None) -> float | None:
    """The number of a constant with one element."""
    if constant_size(value) != 1:
        return None
    array = constant_of(value)
    return None if array is None or array.dtype.kind not in "fiuV" else float(array.reshape(-1)[0])


def is_close(number: float, wanted: float, value: Value) -> bool:
    """Equal up to the rounding of constants that people type with five digits, or that float16 holds."""
    narrow = value.dtype is not None and value.dtype.bitwidth == 16
    return abs(number - wanted) <= (2e-3 if narrow else 2e-5) * abs(wanted)


def _power_of(node: Node) -> float | None:
    return scalar_of(node.inputs[1])


def _parts_of(value: Value, kind: str, expand: bool) -> tuple[float, list[tuple[Found, int]]]:
    """The constant and the parts of a product or sum; an operand that something else reads as well is not taken apart."""
    state = _Parts(kind)
    state.visit(value, 1, root=expand)
    return state.number, state.parts


class _Parts:
    def __init__(self, kind: str) -> None:
        self.product = kind == "product"
        self.number = 1.0 if self.product else 0.0
        self.parts: list[tuple[Found, int]] = []

    def visit(self, value: Value, sign: int, root: bool = False) -> None:
        number = scalar_of(value)
        if number is not None and not root and (number != 0 or not self.product):
            self.number = self.number * number**sign if self.product else self.number + sign * number
            return
        node = value.producer()
        apart = root or (len(value.uses()) == 1 and not value.is_graph_output())
        if node is None or node.domain != "" or not apart or len(self.parts) > _MOST or not self._take_apart(node, sign):
            self.parts.append((value, sign))

    def _take_apart(self, node: Node, sign: int) -> bool:
        operands = [value for value in node.inputs if value is not None]
        if node.op_type in (("Mul", "Div") if self.product else ("Add", "Sub")) and len(operands) == 2:
            self.visit(operands[0], sign)
            self.visit(operands[1], -sign if node.op_type in ("Div", "Sub") else sign)
        elif self.product and node.op_type == "Neg":
            self.number = -self.number
            self.visit(operands[0], sign)
        elif self.product and node.op_type == "Reciprocal":
            self.visit(operands[0], -sign)
        elif self.product and node.op_type == "Pow":
            return self._take_power(operands[0], _power_of(node), sign)
        else:
            return False
        return True

    def _take_power(self, base: Value, power: float | None, sign: int) -> bool:
        if power in (2.0, 3.0):
            self.parts += [(base, sign)] * int(power)
        elif power == -1.0:
            self.visit(base, -sign)
        elif power == -0.5:
            self.parts.append((Root(base), -sign))
        else:
            return False
        return True
