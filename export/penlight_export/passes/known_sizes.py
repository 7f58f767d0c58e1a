# SPDX-License-Identifier: Apache-2.0
"""What is known of a graph's sizes before it runs: shapes of values, and the entries of integer vectors that hold sizes.

A size is a number, or an expression in names such as "past + time". A name that no input of the model has, such as "unk__7" of
ONNX's inference, says nothing but that the size is the same wherever it occurs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence, Set
from typing import Union

from penlight.symbolic import Expression, parse_expression
from penlight_export.graph import Shape, SymbolicDim, Value, constant_of

Size = Union[int, Expression]  # noqa: UP007  evaluated at run time, where Python 3.10 is the oldest
Entry = Union[Size, None]  # noqa: UP007  as above
_LONGEST = 64  # entries; shapes have at most 8, lists of axes or pads a few more
_NAMELESS = ("", "?", "-1", "None", "none")  # what exporters write who have no name; two of them need not be equal


class KnownSizes:
    """The facts about one model, which a walk over its nodes collects."""

    def __init__(self, inputs: Iterable[Value] = ()) -> None:
        dims = [dim for value in inputs for dim in value.shape or () if isinstance(dim, SymbolicDim)]
        sizes = [expression_of_name(dim.value) for dim in dims if dim.value is not None and dim.value not in _NAMELESS]
        self._names = {name for size in sizes for name in size.names}
        self._shapes: dict[Value, list[Size]] = {}
        self._entries: dict[Value, list[Entry]] = {}
        self._meaning: dict[str, Size] = {}
        self._unknown = 0

    def shape_of(self, value: Value | None) -> list[Size] | None:
        """The sizes of a value; None when even its rank is unknown."""
        if value is not None and value not in self._shapes and value.shape is not None:
            self._shapes[value] = [self._named(dim) for dim in value.shape]
        return None if value is None else self._shapes.get(value)

    def set_shape(self, value: Value, sizes: Sequence[Entry]) -> None:
        """What a rule says of a value's shape; where that is nothing, the shape in the file counts."""
        given = self.shape_of(value)
        if given is None:
            given = [self._fresh() for _ in sizes]
        if len(given) == len(sizes):
            self._shapes[value] = [self._better(a, b) for a, b in zip(given, sizes, strict=True)]

    def _better(self, given: Size, found: Entry) -> Size:
        if isinstance(given, int) or found is None or self.is_unknown(found):
            return given
        if self.is_unknown(given):
            self._meaning[given.text] = found  # inference writes the name wherever the size occurs
        return found

    def is_unknown(self, size: Size) -> bool:
        """A size in names that no input has."""
        return not isinstance(size, int) and not size.names <= self._names

    def is_settled(self, value: Value) -> bool:
        """Every size is a number or known by the inputs' names, so that no rule can say more."""
        if value.shape is None:
            return False
        for dim in value.shape:
            if not isinstance(dim, int) and (dim.value is None or not _names_in(dim.value) <= self._names):
                return False
        return True

    def written_shape(self, value: Value) -> Shape:
        """A value's sizes as a file holds them; an unknown one keeps the name that it has."""
        sizes = self.shape_of(value) or []
        before = list(value.shape) if value.shape is not None else [None] * len(sizes)
        return Shape([self._written(size, name) for size, name in zip(sizes, before, strict=True)])

    def _written(self, size: Size, name: int | SymbolicDim | None) -> int | str | SymbolicDim | None:
        return size if isinstance(size, int) else name if self.is_unknown(size) else size.text

    def entries_of(self, value: Value | None) -> list[Entry] | None:
        """Entries of an integer or boolean vector or scalar; None for one of which nothing is known."""
        if value is None:
            return None
        if value in self._entries:
            return self._entries[value]
        if value.const_value is None or value.const_value.size > _LONGEST or value.dtype is None or not is_whole(value):
            return None
        array = constant_of(value)
        return None if array is None or array.ndim > 1 else [int(entry) for entry in array.reshape(-1)]

    def set_entries(self, value: Value, entries: list[Entry]) -> bool:
        """Keeps the entries of a value, unless they are too many to be sizes."""
        if len(entries) <= _LONGEST:
            self._entries[value] = entries
        return len(entries) <= _LONGEST

    def _named(self, dim: int | SymbolicDim) -> Size:
        if isinstance(dim, int):
            return dim
        if dim.value is None or dim.value in _NAMELESS:
            return self._fresh()
        return self._meaning.get(dim.value) or expression_of_name(dim.value)

    def _fresh(self) -> Expression:
        self._unknown += 1
        return Expression.symbol(f"?{self._unknown}")


@functools.lru_cache(maxsize=1024)
def expression_of_name(name: str) -> Expression:
    """What a size in a file stands for: an expression where it is written as we write them, else a name."""
    try:
        parsed = parse_expression(name)
    except ValueError:
        return Expression.symbol(name)
    return parsed if parsed.text == name and parsed.value is None else Expression.symbol(name)


@functools.lru_cache(maxsize=1024)
def _names_in(name: str) -> Set[str]:
    return frozenset(expression_of_name(name).names)


def is_whole(value: Value) -> bool:
    """Integers or truth values."""
    return value.dtype is not None and (value.dtype.is_integer() or value.dtype.name == "BOOL")


def as_size(size: Expression) -> Size:
    """A plain number where no name is left."""
    return size if size.value is None else size.value


def as_expression(size: Size) -> Expression:
    """The other way round."""
    return Expression.constant(size) if isinstance(size, int) else size


def add(a: Size, b: Size) -> Size:
    """a + b"""
    return a + b if isinstance(a, int) and isinstance(b, int) else as_size(as_expression(a) + as_expression(b))


def subtract(a: Size, b: Size) -> Size:
    """a - b"""
    return a - b if isinstance(a, int) and isinstance(b, int) else as_size(as_expression(a) - as_expression(b))


def multiply(a: Size, b: Size) -> Size:
    """a * b"""
    return a * b if isinstance(a, int) and isinstance(b, int) else as_size(as_expression(a) * as_expression(b))


def divide(a: Size, b: Size) -> Size | None:
    """a / b as ONNX divides integers, towards zero: numbers that are not negative, and expressions where it comes out even."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b if a >= 0 and b > 0 else None
    quotient = as_expression(a).divided(as_expression(b)) if as_expression(b).terms else None
    return None if quotient is None else as_size(quotient)


def product(sizes: Sequence[Size]) -> Size:
    """The product of all."""
    one: Size = 1
    return functools.reduce(multiply, sizes, one)


def broadcast(a: Sequence[Entry], b: Sequence[Entry]) -> list[Entry]:
    """The common shape of two operands."""
    length = max(len(a), len(b))
    return [_common(x, y) for x, y in zip([1] * (length - len(a)) + list(a), [1] * (length - len(b)) + list(b), strict=True)]


def _common(a: Entry, b: Entry) -> Entry:
    if a == 1 or a == b:
        return b
    if b == 1 or isinstance(a, int):
        return a
    return b if isinstance(b, int) else None
