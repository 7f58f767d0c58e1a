# SPDX-License-Identifier: Apache-2.0
"""Compares two traces of one program, made at two sizes: they must be one graph."""

from __future__ import annotations

from typing import Any

from penlight.errors import DynamicShapeError, LeakError
from penlight.symbolic import SymInt, field_names
from penlight.tracing import TraceGraph, TraceNode, TraceValue


def unify(first: TraceGraph, second: TraceGraph) -> None:
    """Checks that both traces are the same graph.

    Raises:
        DynamicShapeError: they differ; the message names the dimension, both values and the file:line.
        LeakError: a constant differs, so that a value of an input leaked into the graph.
    """
    _Comparison(first, second).run()


class _Comparison:
    def __init__(self, first: TraceGraph, second: TraceGraph) -> None:
        self.first, self.second = first, second
        self.matched: dict[int, TraceValue] = {}  # value of the first trace -> value of the second

    def run(self) -> None:
        if self.first.output_tree != self.second.output_tree:
            self._compare_graphs(self.first, self.second, outputs=False)  # tells more, where the difference began earlier
            raise DynamicShapeError(f"trace: the result has another structure at another size ({self._sizes()})")
        for a, b in zip(self.first.states, self.second.states, strict=False):
            self.matched[id(a.before)] = b.before
        self._compare_graphs(self.first, self.second)
        for a, b in zip(self.first.states, self.second.states, strict=False):
            self._compare_values(a.after, b.after, f"the state {a.name!r}")

    def _compare_graphs(self, first: TraceGraph, second: TraceGraph, outputs: bool = True) -> None:
        for a, b in zip(first.inputs, second.inputs, strict=True):
            self.matched[id(a)] = b
        for node, other in zip(first.nodes, second.nodes, strict=False):
            self._compare_nodes(node, other)
        if len(first.nodes) != len(second.nodes):
            longer = max(first.nodes, second.nodes, key=len)
            extra = longer[min(len(first.nodes), len(second.nodes))]
            self._fail(extra.source, f"{len(first.nodes)} operators at one size, {len(second.nodes)} at the other")
        for a, b in zip(first.outputs, second.outputs, strict=True) if outputs else ():
            self._compare_values(a, b, "the result")

    def _compare_nodes(self, a: TraceNode, b: TraceNode) -> None:
        if type(a.operator) is not type(b.operator) or len(a.inputs) != len(b.inputs):
            self._fail(a.source, f"{a.operator.name} at one size, {b.operator.name} ({b.source}) at the other")
        for name in () if a.operator is b.operator else type(a.operator).field_names:  # equal calls share their operator
            x, y = getattr(a.operator, name), getattr(b.operator, name)
            if x is not y and not same(x, y):
                self._fail(a.source, f"{a.operator.name}: {name} is {_text(x)} at one size and {_text(y)} at the other", x, y)
        for x, y in zip(a.inputs, b.inputs, strict=True):
            if y is None or self.matched.get(id(x)) is not y:  # results of the nodes before match already
                self._compare_values(x, y, a.source)
        for body, other in zip(a.bodies, b.bodies, strict=True):
            self._compare_graphs(body, other)
        for x, y in zip(a.outputs, b.outputs, strict=True):
            if not same(x.spec.shape, y.spec.shape):
                self._fail(
                    a.source,
                    f"{a.operator.name}: the result is {_text(x.spec.shape)} and {_text(y.spec.shape)}",
                    x.spec.shape,
                    y.spec.shape,
                )
            self.matched[id(x)] = y

    def _compare_values(self, a: TraceValue | None, b: TraceValue | None, where: str) -> None:
        if a is None or b is None:
            if a is not b:
                self._fail(where, "an optional input is there at one size only")
            return
        if a.constant is None or b.constant is None:
            if self.matched.get(id(a)) is not b:
                self._fail(where, f"the input {a.name} of an operator is another one at another size")
            return
        if a.qualified_name is None or a.qualified_name != b.qualified_name:
            self._compare_constants(a, b, where)

    def _compare_constants(self, a: TraceValue, b: TraceValue, where: str) -> None:
        x, y = a.constant._data, b.constant._data  # type: ignore[union-attr]  # both are constants here
        if x is y:
            return
        if x.shape != y.shape:
            self._fail(where, f"a constant has shape {x.shape} at one size and {y.shape} at the other", x.shape, y.shape)
        unequal = (x != y) & ~((x != x) & (y != y))  # NaN equals NaN here
        if not bool(unequal.any()):
            return
        values = (x.reshape(-1)[:4].tolist(), y.reshape(-1)[:4].tolist())
        found = self._dimension(*(v[0] if len(v) == 1 else None for v in values))
        if self.first.symbols == self.second.symbols:
            raise LeakError(
                f"{where}: a number became fixed: {_shown(values[0])} in one run and {_shown(values[1])} in the other; "
                "it depends on the value of an input, on random numbers of another library, or on what an earlier "
                "call left behind. Compute with tensors from the inputs to here, and make constants outside of forward"
            )
        hint = f"it is the size of dimension {found!r}" if found else f"it depends on the size of {self._names()}"
        raise DynamicShapeError(
            f"{where}: a number became fixed: {_shown(values[0])} in one run and {_shown(values[1])} in the other; {hint}. "
            "Use sizes as x.shape[i] in integer arithmetic, or as tensors: pl.full((), x.shape[i])"
        )

    def _dimension(self, x: Any, y: Any) -> str | None:
        for name, size in self.first.symbols.items():
            if x == size and y == self.second.symbols[name]:
                return name
        return None

    def _sizes(self) -> str:
        return ", ".join(f"{n}={s} and {self.second.symbols[n]}" for n, s in self.first.symbols.items()) or "other values"

    def _names(self) -> str:
        """The dimensions that differ."""
        return " or ".join(repr(n) for n, s in self.first.symbols.items() if s != self.second.symbols[n])

    def _fail(self, where: str, what: str, x: Any = None, y: Any = None) -> None:
        if self.first.symbols == self.second.symbols:
            told = what.replace("at one size", "in one run").replace("at the other", "in the other")
            raise LeakError(
                f"{where}: two runs of the program on other values differ: {told}; it depends on the value of an input, "
                "on chance, or on what an earlier call left behind. Pass what changes as an input"
            )
        found = next((n for p, q in _leaves(x, y) if (n := self._dimension(p, q))), None)
        remedy = f"leave {found!r} fixed" if found else f"leave {self._names()} out of dynamic"
        named = f"dimension {found!r} was fixed" if found else f"the program depends on the size of {self._names()}"
        raise DynamicShapeError(
            f"{where}: {named}: {what} (traced at {self._sizes()}). Compute with x.shape[i] itself, "
            f"without int(), a loop or a branch on it, or {remedy}"
        )


def same(x: Any, y: Any) -> bool:
    """Whether two fields agree: equal expressions where a size is dynamic, equal values elsewhere."""
    if x is y:
        return True
    if isinstance(x, SymInt) or isinstance(y, SymInt):
        return isinstance(x, SymInt) and isinstance(y, SymInt) and x.text == y.text
    if isinstance(x, (tuple, list)):
        return isinstance(y, (tuple, list)) and len(x) == len(y) and all(map(same, x, y))
    if type(x) is type(y) and field_names(x):
        return all(same(getattr(x, name), getattr(y, name)) for name in field_names(x))
    return type(x) is type(y) and bool(x == y or x != x)


def _leaves(x: Any, y: Any) -> list[tuple[Any, Any]]:
    if isinstance(x, (tuple, list)) and isinstance(y, (tuple, list)):
        return [leaf for p, q in zip(x, y, strict=False) for leaf in _leaves(p, q)]
    if type(x) is type(y):
        return [leaf for name in field_names(x) for leaf in _leaves(getattr(x, name), getattr(y, name))] or [(x, y)]
    return [(x, y)]


def _shown(values: list[Any]) -> str:
    """One number, or the first of several."""
    return f"{values[0]:.6g}" if len(values) == 1 else "[" + ", ".join(f"{value:.6g}" for value in values) + ", ...]"


def _text(value: Any) -> str:
    if isinstance(value, SymInt):
        return value.text
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(_text, value)) + ")"
    return repr(value)
