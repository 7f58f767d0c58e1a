# SPDX-License-Identifier: Apache-2.0
"""Composites of running reductions: one step after the other, in a Scan."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import penlight as pl
from penlight.ops.control import scan
from penlight.tensor import Tensor
from penlight_export.onnx.composites.registry import composite

Step = Callable[[Any, Tensor], tuple[Any, Tensor]]


@composite("cumprod")
def cumprod(operator: Any, x: Tensor) -> Tensor:
    """ONNX has CumProd from operator set 26 on only."""
    first = pl.ones_like(x.select(operator.dim, 0)) if x.numel() else None
    return _along(operator.dim, lambda so_far, part: (so_far * part, so_far * part), first, x)


@composite("logcumsumexp")
def logcumsumexp(operator: Any, x: Tensor) -> Tensor:
    """The larger one, and log1p of the exponential of the difference."""

    def step(so_far: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
        largest = pl.maximum(so_far, part)
        finite = pl.where(largest.abs() == math.inf, pl.zeros_like(largest), largest)
        result = finite + pl.log(pl.exp(so_far - finite) + pl.exp(part - finite))
        return result, result

    first = pl.full_like(x.select(operator.dim, 0), -math.inf) if x.numel() else None
    return _along(operator.dim, step, first, x)


@composite("running_position")
def running_position(operator: Any, x: Tensor) -> Tensor:
    """The best value so far and its index; the last one on a tie."""
    if not x.numel():
        return pl.zeros_like(x).to(pl.int64)
    dim, sign = operator.dim, 1 if operator.largest else -1

    def step(so_far: Any, part: Any) -> tuple[Any, Tensor]:
        (best, place), (value, index) = so_far, part
        better = (value * sign >= best * sign) | (value != value)
        kept = pl.where(better, index, place)
        return (pl.where(better, value, best), kept), kept

    moved = x.movedim(dim, 0)
    first = (moved[0], pl.zeros_like(moved[0]).to(pl.int64))
    _, places = scan(step, first, (moved, pl.arange(x.shape[dim])))
    return places.movedim(0, dim)


def _along(dim: int, step: Step, first: Tensor | None, x: Tensor) -> Tensor:
    if first is None:
        return x.clone()
    _, parts = scan(step, first, x.movedim(dim, 0))
    return parts.movedim(0, dim)
