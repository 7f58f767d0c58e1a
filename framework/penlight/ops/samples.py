# SPDX-License-Identifier: Apache-2.0
"""Sample calls of operators, enough for every table-driven test: gradients, export, edge, CUDA."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penlight.dtype import as_dtype


@dataclass(frozen=True)
class Input:
    """How to make one input: `of(3, 4)`.

    `dtype` "float" stands for the floating-point type under test; any other name is taken as it is. Values are uniform
    in [low, high); `distinct` spreads them so that no two are close (max, sort: finite differences need a margin);
    `strided` makes the array a transposed view.
    """

    shape: tuple[int, ...]
    dtype: str = "float"
    low: float = -2.0
    high: float = 2.0
    distinct: bool = False
    strided: bool = False


@dataclass(frozen=True)
class Sample:
    """One call: inputs (None for an absent optional one) and the operator's fields."""

    inputs: tuple[Input | None, ...]
    fields: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shapes = ",".join("x".join(map(str, i.shape)) or "scalar" if i else "none" for i in self.inputs)
        return "-".join([shapes, *(f"{k}={v}" for k, v in self.fields.items())]).replace(" ", "")


def of(*shape: int, **options: Any) -> Input:
    """An input of the given shape, options as in `Input`."""
    return Input(tuple(shape), **options)


def index(*shape: int, high: int) -> Input:
    """An int64 input with values in [0, high)."""
    return Input(tuple(shape), dtype="int64", low=0, high=high)


def boolean(*shape: int) -> Input:
    """A bool input."""
    return Input(tuple(shape), dtype="bool", low=0, high=2)


def shapes(*shape: int, **fields: Any) -> Sample:
    """A call with one floating-point input."""
    return Sample((of(*shape),), fields)


def sample(*inputs: Input | None, **fields: Any) -> Sample:
    """A call with the given inputs and fields."""
    return Sample(inputs, fields)


def build(call: Sample, dtype: str = "float32", seed: int = 0) -> list[np.ndarray | None]:
    """The arrays of a sample's inputs; floating-point ones in `dtype`, always the same for one seed."""
    rng = np.random.default_rng(seed)
    return [None if i is None else _array(i, dtype, rng) for i in call.inputs]


def _array(spec: Input, dtype: str, rng: np.random.Generator) -> np.ndarray:
    kind = as_dtype(dtype if spec.dtype == "float" else spec.dtype).numpy
    shape = spec.shape[::-1] if spec.strided else spec.shape
    count = int(np.prod(shape, dtype=np.int64))
    if spec.distinct:
        values: np.ndarray = rng.permutation(count) * ((spec.high - spec.low) / max(count, 1)) + spec.low
    elif kind.kind in "iub":
        values = rng.integers(int(spec.low), int(spec.high), count)
    else:
        values = rng.uniform(spec.low, spec.high, count)
    array = np.asarray(values).astype(kind).reshape(shape)
    return array.transpose() if spec.strided else array
