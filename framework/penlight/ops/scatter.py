# SPDX-License-Identifier: Apache-2.0
"""Writing by arrays of indices into a copy: scatter, index_add and their relatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.dtype import bool_, int64
from penlight.errors import ArgumentError, DTypeError, ShapeError
from penlight.ops import dims as _dims
from penlight.ops.arithmetic import where
from penlight.ops.broadcast import broadcast_shapes
from penlight.ops.create import full, full_like, ones_like, zeros_like
from penlight.ops.dispatch import apply
from penlight.ops.gather import Gather, _along, check_index, scatter_add
from penlight.ops.index import AdvancedIndexPut, _parse
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import index, of, sample
from penlight.ops.shape import narrow
from penlight.tensor import Tensor, from_numpy

_PLACES = (
    sample(of(5, 3), of(1, 3, dtype="int64", low=1, high=2), of(1, 3), dim=0),
    sample(of(0, 3), index(0, 3, high=1), of(0, 3), dim=0),
)
_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")
_NEUTRAL = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "amax": -math.inf, "amin": math.inf}


@register
class Scatter(Operator):
    """A copy of x with `source` written where `index` says along `dim`"""

    name = "scatter"
    onnx = "ScatterElements(axis=dim)"
    saves_inputs = (False, True, False)
    samples = _PLACES

    dim: int

    def infer(self, x: Spec, index: Spec, source: Spec) -> Spec:
        check_index("scatter", index)
        return x

    def forward(self, xp, x, index, source):
        result = x.copy()
        result[_along(xp, index, self.dim)] = source
        return result

    def vjp(self, grad, output, x, index, source):
        region = apply(Gather(self.dim), grad, index)
        return apply(Scatter(self.dim), grad, index, region * 0.0), None, region


@register
class ScatterReduce(Operator):
    """A copy of x in which `source` is multiplied in, or the larger or smaller kept, where `index` says along `dim`"""

    name = "scatter_reduce"
    saves_output = True
    samples = (
        sample(of(5, 3, distinct=True), index(4, 3, high=5), of(4, 3, low=2, high=4, distinct=True), dim=0, reduce="amax"),
        sample(of(5, 3, low=0.5), index(4, 3, high=5), of(4, 3, low=0.5), dim=0, reduce="prod"),
    )

    dim: int
    reduce: str = "prod"

    def infer(self, x: Spec, index: Spec, source: Spec) -> Spec:
        check_index("scatter_reduce", index)
        return x

    def forward(self, xp, x, index, source):
        result = x.copy()
        function = {"prod": xp.multiply, "amax": xp.maximum, "amin": xp.minimum}[self.reduce]
        function.at(result, _along(xp, index, self.dim), source)
        return result

    def vjp(self, grad, output, x, index, source):
        return (
            self._of_product(grad, output, x, index, source)
            if self.reduce == "prod"
            else self._of_extreme(grad, output, x, index, source)
        )

    def _of_extreme(self, grad: Tensor, output: Tensor, x: Tensor, index: Tensor, source: Tensor) -> tuple[Any, ...]:
        """Ties share evenly, as in PyTorch."""
        mine = (x == output).to(grad.dtype)
        theirs = (source == apply(Gather(self.dim), output, index)).to(grad.dtype)
        share = grad / scatter_add(mine, self.dim, index, theirs)
        return share * mine, None, apply(Gather(self.dim), share, index) * theirs

    def _of_product(self, grad: Tensor, output: Tensor, x: Tensor, index: Tensor, source: Tensor) -> tuple[Any, ...]:
        """The product of the others; where an element is 0 it is left out rather than divided by."""
        safe = where(x == 0, 1.0, x)
        gx = grad * apply(self, safe, index, source) / safe
        zero = source == 0
        zeros = scatter_add(zeros_like(x), self.dim, index, zero.to(x.dtype))
        count = apply(Gather(self.dim), zeros, index)
        single = zero & (count == 1)
        without = apply(self, x, index, where(single, 1.0, source))
        alone = apply(Gather(self.dim), grad * without, index)
        usual = apply(Gather(self.dim), grad * output, index) / where(zero, 1.0, source)
        return gx, None, where(count > 1, 0.0, where(single, alone, usual))


def _fit(input: Tensor, index: Tensor, src: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All three with a dimension at least, the source cut to the index."""
    if not input.ndim:
        input = input.reshape(1)
    index = (index if index.ndim else index.reshape(1)).to(int64)
    src = src if src.ndim else src.reshape(1)
    for d in range(index.ndim):
        if src.shape[d] != index.shape[d]:
            src = narrow(src, d, 0, index.shape[d])
    return input, index, src.to(input.dtype)


def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Tensor:
    """Returns a copy of `input` with `src` (a tensor or a number) written where `index` (int64) says along `dim`.

    Args:
        reduce: "add" or "multiply" combines with what is there instead.
    """
    src = value if src is None else src
    if not isinstance(src, Tensor):
        src = full(tuple(index.shape), src, dtype=input.dtype)
    elif src.dtype is not input.dtype:
        raise DTypeError(f"scatter: expected src of the input's {input.dtype}, came {src.dtype}; use src.to(input.dtype)")
    d = _dims.one("scatter", dim, input.ndim)
    shape = tuple(input.shape)
    x, index, src = _fit(input, index, src)
    if reduce is None:
        return apply(Scatter(d), x, index, src).reshape(shape)
    if reduce not in ("add", "multiply"):
        raise ArgumentError(f'scatter: reduce must be "add" or "multiply", came {reduce!r}')
    result = scatter_add(x, d, index, src) if reduce == "add" else apply(ScatterReduce(d, "prod"), x, index, src)
    return result.reshape(shape)


def scatter_reduce(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True) -> Tensor:
    """Returns a copy of `input` in which `src` is combined where `index` says along `dim`.

    Args:
        reduce: "sum", "prod", "mean", "amax" or "amin".
        include_self: whether the value that is there takes part.

    Raises:
        ArgumentError: another word for `reduce`.
    """
    if reduce not in _REDUCTIONS:
        raise ArgumentError(f"scatter_reduce: reduce must be one of {_REDUCTIONS}, came {reduce!r}")
    d = _dims.one("scatter_reduce", dim, input.ndim)
    shape = tuple(input.shape)
    x, index, src = _fit(input, index, src)
    base = x if include_self else scatter(x, d, index, _neutral(x, reduce))
    if reduce in ("prod", "amax", "amin"):
        return apply(ScatterReduce(d, reduce), base, index, src).reshape(shape)
    total = scatter_add(base, d, index, src)
    if reduce == "mean":
        count = ones_like(x) if include_self else scatter(ones_like(x), d, index, 0)
        count = scatter_add(count, d, index, ones_like(src)).clamp(min=1)
        total = total / count if x.dtype.kind >= 2 else total.floor_divide(count)
    return total.reshape(shape)


def _neutral(x: Tensor, reduce: str) -> Any:
    value = _NEUTRAL[reduce]
    if x.dtype.is_floating_point or math.isfinite(value):
        return value
    if x.dtype is bool_:
        return reduce == "amin"
    limits = np.iinfo(x.dtype.numpy)  # they stand in for infinity
    return int(limits.min if reduce == "amax" else limits.max)


def _put(input: Tensor, dim: int, index: Tensor, value: Tensor, accumulate: bool) -> Tensor:
    shape = tuple(input.shape)
    x = input if input.ndim else input.reshape(1)
    index = (index if index.ndim else index.reshape(1)).to(int64)
    target = (*x.shape[:dim], index.shape[0], *x.shape[dim + 1 :])
    value = value.reshape(target) if not input.ndim or (not value.ndim and 1 in target) else value
    return apply(AdvancedIndexPut((dim,), accumulate), x, value.to(x.dtype).expand(target), index).reshape(shape)


def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """Returns a copy of `input` with `alpha * source` added to its slices at `index` (1-D) along `dim`; repeats add up."""
    d = _dims.one("index_add", dim, input.ndim)
    rest = (*source.shape[:d], *source.shape[d + 1 :])
    if input.ndim and (source.ndim != input.ndim or rest != (*input.shape[:d], *input.shape[d + 1 :])):
        came = f"input {tuple(input.shape)}, source {tuple(source.shape)}"
        raise ShapeError(f"index_add: source must have the sizes of the input but along dim {dim}; came {came}")
    return _put(input, d, index, source if alpha == 1 else source * alpha, True)


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Returns a copy of `input` with `source` in place of its slices at `index` (1-D) along `dim`."""
    return _put(input, _dims.one("index_copy", dim, input.ndim), index, source, False)


def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """Returns a copy of `input` with a number in its slices at `index` (1-D) along `dim`."""
    held = value if isinstance(value, Tensor) else full((), value, dtype=input.dtype)
    if index._traced is None:
        index = from_numpy(np.unique(index._data))  # the gradient of the value counts each place once
    return _put(input, _dims.one("index_fill", dim, input.ndim), index, held, False)


def index_reduce(input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True) -> Tensor:
    """Returns a copy of `input` in which slices of `source` are combined at `index`; "prod", "mean", "amax" or "amin"."""
    d = _dims.one("index_reduce", dim, input.ndim)
    source = source if source.ndim else source.reshape(1)
    shape = (1,) * d + (index.numel(),) + (1,) * (source.ndim - d - 1)
    return scatter_reduce(input, d, index.reshape(shape).expand(tuple(source.shape)), source, reduce, include_self=include_self)


def index_put(input: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> Tensor:
    """Returns a copy of `input` with `values` at (or added at, if `accumulate`) the index tensors, one per dimension."""
    key = tuple(slice(None) if i is None else i for i in indices)
    _, arrays = _parse(tuple(input.shape), key)
    dims = tuple(sorted(arrays))
    return apply(AdvancedIndexPut(dims, accumulate), input, values.to(input.dtype), *(arrays[d] for d in dims))


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """Returns a copy of `input` with the elements of `source`, in order, where `mask` (bool, broadcast) holds."""
    shape = broadcast_shapes("masked_scatter", input.shape, mask.shape)
    places = mask.expand(shape)._data.ravel().nonzero()[0]
    if len(places) > source.numel():
        raise ArgumentError(f"masked_scatter: the mask selects {len(places)} elements, source has {source.numel()}")
    flat = input.expand(shape).reshape(-1)
    values = narrow(source.reshape(-1), 0, 0, len(places))
    return apply(AdvancedIndexPut((0,)), flat, values, from_numpy(places)).reshape(shape)


def take(input: Tensor, index: Tensor) -> Tensor:
    """Returns the elements of the flattened input at `index` (int64), in its shape."""
    return input.reshape(-1)[index.reshape(-1).to(int64)].reshape(tuple(index.shape))


def fill(input: Tensor, value: Any) -> Tensor:
    """Returns a tensor like `input` with one value everywhere; a 0-dim tensor gets its gradient."""
    if isinstance(value, Tensor):
        return value.to(input.dtype).expand(tuple(input.shape)).clone()
    return where(full(tuple(input.shape), True), full_like(input, value), input) if input.requires_grad else full_like(input, value)
