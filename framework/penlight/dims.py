# SPDX-License-Identifier: Apache-2.0
"""Dynamic dimensions of example inputs: names, ranges, and sizes derived from other dimensions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from penlight.errors import TraceInputError
from penlight.symbolic import Expression, SymInt, parse_expression
from penlight.tensor import Tensor


@dataclass(frozen=True)
class Dim:
    """A dimension that may vary between `min` and `max`, both included; `max=None` is without end.

    Example:
        >>> Dim("batch", max=64)
        Dim(name='batch', min=1, max=64)
    """

    name: str
    min: int = 1
    max: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise TraceInputError(f"Dim: expected a name such as 'batch', came {self.name!r}")
        if self.min < 0 or (self.max is not None and self.max < self.min):
            raise TraceInputError(f"Dim {self.name!r}: expected 0 <= min <= max, came min={self.min} and max={self.max}")

    def allows(self, size: int) -> bool:
        """Whether a size lies in the range."""
        return self.min <= size and (self.max is None or size <= self.max)

    @property
    def text(self) -> str:
        """Such as "1 to 64", "at least 2"."""
        return f"at least {self.min}" if self.max is None else f"{self.min} to {self.max}"


@dataclass
class DynamicSizes:
    """What `dynamic` says about the inputs of a trace.

    Attributes:
        shapes: input -> dimension -> expression of its size in names.
        sizes: name -> its size in the first run: that of the examples, but at least 2, since 1 broadcasts.
        dims: name -> its range.
        examples: name -> its size in the examples.
    """

    shapes: dict[str, dict[int, Expression]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    dims: dict[str, Dim] = field(default_factory=dict)
    examples: dict[str, int] = field(default_factory=dict)

    def shape(self, name: str, example: Tensor, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape of an input at given sizes, with SymInts where it is dynamic."""
        shape = list(example._data.shape)
        for dim, expression in self.shapes.get(name, {}).items():
            shape[dim] = SymInt(int(expression.evaluate(sizes)), expression)
        return tuple(shape)

    def others(self) -> Iterator[dict[str, int]]:
        """Sizes for the second run, in the ranges: first those where names of equal size part, to see whether they may."""
        choices = []
        for number, (name, size) in enumerate(self.sizes.items()):
            step = size + 1 if size <= 64 else size // 4 + 1  # sizes in the same floor(n / k) would hide a division
            found = [size + step + number, size + 1 + number, size + 1, size - 1, 2 * size, size // 2, size + 2]
            choices.append([s for s in dict.fromkeys(found) if s >= 2 and s != size and self.dims[name].allows(s)] or [size])
        for chosen in itertools.islice(itertools.product(*choices), 64):
            yield dict(zip(self.sizes, chosen, strict=True))

    def twins(self, sizes: Mapping[str, int]) -> list[tuple[str, str]]:
        """Pairs of names that had the same size in both runs."""
        pairs = itertools.combinations(self.sizes, 2)
        return [(a, b) for a, b in pairs if self.sizes[a] == self.sizes[b] and sizes[a] == sizes[b]]


def dynamic_sizes(inputs: Mapping[str, Tensor], dynamic: Mapping[str, Mapping[int, Any]]) -> DynamicSizes:
    """Checks `dynamic` against the examples.

    Raises:
        TraceInputError: an input or dimension does not exist, a label is neither text nor a Dim, or sizes do not agree.
    """
    found = DynamicSizes()
    for name, labels in dynamic.items():
        if name not in inputs:
            raise TraceInputError(f"trace: dynamic names the input {name!r}; the inputs are {', '.join(map(repr, inputs))}")
        if not isinstance(labels, Mapping):
            raise TraceInputError(
                f'trace: dynamic[{name!r}] must be a dict of dimension and name, such as {{0: "batch"}}; came {labels!r}'
            )
        for dim, label in labels.items():
            expression = _expression(found, name, dim, label)
            found.shapes.setdefault(name, {})[_dimension(inputs[name], name, dim)] = expression
    for name, dims in found.shapes.items():
        for dim, expression in dims.items():
            _measure(found, expression, inputs[name]._data.shape[dim], f"dynamic[{name!r}]")
    _check_derived(found, inputs)
    return found


def _expression(found: DynamicSizes, name: str, dim: int, label: Any) -> Expression:
    if isinstance(label, Dim):
        if found.dims.setdefault(label.name, label) != label:
            raise TraceInputError(f"trace: the dimension {label.name!r} has two ranges: {found.dims[label.name]} and {label}")
        return Expression.symbol(label.name)
    try:
        expression = parse_expression(label)
    except (TypeError, ValueError) as error:
        raise TraceInputError(
            f"trace: dynamic[{name!r}][{dim}] must be a name such as 'batch', a size derived from names such as '2*batch', "
            f"or a Dim; came {label!r}"
        ) from error
    return expression


def _dimension(t: Tensor, name: str, dim: Any) -> int:
    if not isinstance(dim, int) or not -t.ndim <= dim < t.ndim:
        raise TraceInputError(f"trace: dynamic[{name!r}] names dimension {dim!r}; the input has {t.ndim}, of shape {t._data.shape}")
    return dim % t.ndim


def _measure(found: DynamicSizes, expression: Expression, size: int, where: str) -> None:
    """Takes the size of a plain name from an example."""
    names = expression.names
    if len(names) != 1 or expression != Expression.symbol(*names):
        return
    (name,) = names
    dim = found.dims.setdefault(name, Dim(name, min=0))
    if not dim.allows(size):
        raise TraceInputError(f"trace: {where}: the dimension {name!r} is {dim.text}; the example has {size}")
    if found.examples.setdefault(name, size) != size:
        raise TraceInputError(
            f"trace: the dimension {name!r} has sizes {found.examples[name]} and {size} in the examples; they must agree"
        )
    found.sizes[name] = max(size, 2) if dim.allows(max(size, 2)) else size


def _check_derived(found: DynamicSizes, inputs: Mapping[str, Tensor]) -> None:
    for name, dims in found.shapes.items():
        for dim, expression in dims.items():
            unknown = expression.names - set(found.sizes)
            if unknown or not expression.names:
                raise TraceInputError(
                    f"trace: dynamic[{name!r}][{dim}] is {expression.text!r}, and no input has a dimension of the plain name "
                    f"{', '.join(sorted(unknown)) or 'of it'}"
                )
            size, came = int(expression.evaluate(found.examples)), inputs[name]._data.shape[dim]
            if size != came:
                sizes = ", ".join(f"{n}={found.examples[n]}" for n in sorted(expression.names))
                raise TraceInputError(
                    f"trace: dynamic[{name!r}][{dim}] is {expression.text!r}, that is {size} with {sizes}; the example has {came}"
                )
