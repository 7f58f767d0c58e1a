# SPDX-License-Identifier: Apache-2.0
"""A regular expression as an automaton on the bytes of UTF-8, made while a model is converted: a match then costs one step a byte.

The syntax is RE2's as far as Python's parser reads it: classes such as \\d hold ASCII alone, and there is no looking around.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

import numpy as np

_PARSER = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
_LAST, _SURROGATES = 0x10FFFF, (0xD800, 0xDFFF)
_MOST_STATES = 4096

Ranges = list[tuple[int, int]]
_DIGITS, _SPACES = [(48, 57)], [(9, 10), (12, 13), (32, 32)]  # RE2's \s has no vertical tab
_WORDS = [(48, 57), (65, 90), (95, 95), (97, 122)]
_CATEGORIES = {"DIGIT": _DIGITS, "SPACE": _SPACES, "WORD": _WORDS}


class UnsupportedPattern(Exception):
    """What an automaton cannot do."""


def automaton(pattern: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tables of ai.penlight.StringMatch for a match of the whole string.

    Returns:
        Transitions (states, classes) int32 with -1 for no way on, the class of each byte (256) uint8, and where a string may end.

    Raises:
        UnsupportedPattern: the pattern is no regular expression, or not one of RE2, or takes too many states.
    """
    try:
        tree = _PARSER.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UnsupportedPattern(f"it cannot be read: {error}") from error
    if tree.state.flags & ~re.UNICODE:
        raise UnsupportedPattern("it has flags")
    machine = _Machine()
    start, end = machine.state(), machine.state()
    machine.sequence(list(tree), start, end)
    return _deterministic(machine, start, end)


class _Machine:
    """States with edges over ranges of bytes, free edges, and edges that are free before the first byte or behind the last."""

    def __init__(self) -> None:
        self.edges: list[list[tuple[int, int, int]]] = []
        self.free: list[list[int]] = []
        self.first: dict[int, int] = {}
        self.last: dict[int, int] = {}

    def state(self) -> int:
        if len(self.edges) >= _MOST_STATES:
            raise UnsupportedPattern(f"it takes more than {_MOST_STATES} states")
        self.edges.append([])
        self.free.append([])
        return len(self.edges) - 1

    def sequence(self, items: Iterable[tuple[object, object]], start: int, end: int) -> None:
        """Ways from start to end that read one item after the other."""
        for operator, argument in items:
            after = self.state()
            self._item(str(operator), argument, start, after)
            start = after
        self.free[start].append(end)

    def _item(self, operator: str, argument: object, start: int, end: int) -> None:
        handler = _ITEMS.get(operator)
        if handler is None:
            raise UnsupportedPattern(f"it has {operator.lower()}, which no automaton has")
        handler(self, argument, start, end)

    def letters(self, ranges: Ranges, start: int, end: int) -> None:
        """One code point."""
        for low, high in ranges:
            for parts in _byte_ranges(low, high):
                at = start
                for k, (first, last) in enumerate(parts):
                    after = end if k == len(parts) - 1 else self.state()
                    self.edges[at].append((first, last, after))
                    at = after

    def anchor(self, place: object, start: int, end: int) -> None:
        if str(place).startswith("AT_BEGINNING"):
            self.first[start] = end
        elif str(place).startswith("AT_END"):
            self.last[start] = end
        else:
            raise UnsupportedPattern(f"it has {str(place).lower()}, which no automaton has")

    def branch(self, argument: tuple[None, list[Iterable[tuple[object, object]]]], start: int, end: int) -> None:
        for items in argument[1]:
            self.sequence(items, start, end)

    def group(self, argument: tuple[object, int, int, Iterable[tuple[object, object]]], start: int, end: int) -> None:
        if argument[1] or argument[2]:
            raise UnsupportedPattern("it has flags")
        self.sequence(argument[3], start, end)

    def repeat(self, argument: tuple[int, int, Iterable[tuple[object, object]]], start: int, end: int) -> None:
        least, most, items = int(argument[0]), argument[1], list(argument[2])
        for _ in range(least):
            after = self.state()
            self.sequence(items, start, after)
            start = after
        self.free[start].append(end)
        if str(most) == "MAXREPEAT":
            loop = self.state()
            self.free[start].append(loop)
            self.sequence(items, loop, loop_end := self.state())
            self.free[loop_end] += [loop, end]
            return
        for _ in range(int(most) - least):
            after = self.state()
            self.sequence(items, start, after)
            self.free[after].append(end)
            start = after


def _inverse(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """All other code points; NUL, which ends strings, and surrogates, which UTF-8 has not, are in neither."""
    result, at = [], 1
    for low, high in sorted([*ranges, _SURROGATES]):
        if low > at:
            result.append((at, low - 1))
        at = max(at, high + 1)
    return [*result, (at, _LAST)] if at <= _LAST else result


def _class_ranges(items: Iterable[tuple[object, object]]) -> Ranges:
    ranges: Ranges = []
    negated = False
    for operator, argument in items:
        name = str(operator)
        if name == "NEGATE":
            negated = True
        elif name == "CATEGORY":
            ranges += _category(str(argument))
        else:
            low, high = argument if isinstance(argument, tuple) else (argument, argument)
            ranges.append((int(low), int(high)))
    return _inverse(ranges) if negated else ranges


def _category(name: str) -> Ranges:
    kind = name.removeprefix("CATEGORY_")
    ranges = _CATEGORIES[kind.removeprefix("NOT_")]
    return _inverse(ranges) if kind.startswith("NOT_") else list(ranges)


_ITEMS: dict[str, Callable[[_Machine, object, int, int], None]] = {
    "LITERAL": lambda machine, code, start, end: machine.letters([(int(str(code)), int(str(code)))], start, end),
    "NOT_LITERAL": lambda machine, code, start, end: machine.letters(_inverse([(int(str(code)), int(str(code)))]), start, end),
    "ANY": lambda machine, _, start, end: machine.letters(_inverse([(10, 10)]), start, end),
    "IN": lambda machine, items, start, end: machine.letters(_class_ranges(items), start, end),  # type: ignore[arg-type]  # as parsed
    "CATEGORY": lambda machine, name, start, end: machine.letters(_category(str(name)), start, end),
    "AT": _Machine.anchor,
    "BRANCH": _Machine.branch,  # type: ignore[dict-item]  # the parser's trees are not typed, here and below
    "SUBPATTERN": _Machine.group,  # type: ignore[dict-item]  # as above
    "MAX_REPEAT": _Machine.repeat,  # type: ignore[dict-item]  # as above
    "MIN_REPEAT": _Machine.repeat,  # type: ignore[dict-item]  # for a match of the whole string the same
}


def _byte_ranges(low: int, high: int) -> Iterator[list[tuple[int, int]]]:
    """Sequences of byte ranges whose products are the UTF-8 of the code points from low to high."""
    for bound in (0x7F, 0x7FF, 0xFFFF):
        if low <= bound < high:
            yield from _byte_ranges(low, bound)
            yield from _byte_ranges(bound + 1, high)
            return
    for mask in () if high <= 0x7F else (0x3F, 0xFFF, 0x3FFFF):
        if low & ~mask != high & ~mask:
            cut = low | mask if low & mask else (high & ~mask) - 1
            if cut < high and (low & mask or high & mask != mask):
                yield from _byte_ranges(low, cut)
                yield from _byte_ranges(cut + 1, high)
                return
    first, last = (chr(code).encode("utf-8", "surrogatepass") for code in (low, high))
    yield list(zip(first, last, strict=True))


def _deterministic(machine: _Machine, start: int, end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same as one state for each set of states; the first one alone stands before the first byte."""
    edges = [edge for edges in machine.edges for edge in edges]
    bounds = sorted(bound for bound in {0, *(edge[0] for edge in edges), *(edge[1] + 1 for edge in edges)} if bound < 256)
    begin = _reach(machine, [start], machine.first)
    numbers: dict[frozenset[int], int] = {}
    pending, rows = [begin], []
    for current in pending:
        row = []
        for byte in bounds:
            after = _reach(machine, [to for each in current for first, last, to in machine.edges[each] if first <= byte <= last])
            if after and after not in numbers:
                if len(pending) >= _MOST_STATES:
                    raise UnsupportedPattern(f"it takes more than {_MOST_STATES} states")
                numbers[after] = len(pending)
                pending.append(after)
            row.append(numbers[after] if after else -1)
        rows.append(row)
    ends = [end in _reach(machine, each, machine.last if k else machine.first | machine.last) for k, each in enumerate(pending)]
    classes = np.searchsorted(bounds, np.arange(256), side="right") - 1
    return np.array(rows, np.int32), classes.astype(np.uint8), np.array(ends)


def _reach(machine: _Machine, states: Iterable[int], anchors: Mapping[int, int] = MappingProxyType({})) -> frozenset[int]:
    """These states and all behind free edges, those of `anchors` too."""
    pending = list(states)
    found = set(pending)
    while pending:
        at = pending.pop()
        for to in [*machine.free[at], *([anchors[at]] if at in anchors else [])]:
            if to not in found:
                found.add(to)
                pending.append(to)
    return frozenset(found)
