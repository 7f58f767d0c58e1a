# SPDX-License-Identifier: Apache-2.0
"""Reading and adding by arrays of indices along one dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.errors import DTypeError, ShapeError
from penlight.ops import dims as _dims
from penlight.ops.broadcast import broadcast_shapes
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator, Shape, Spec
from penlight.ops.registry import register
from penlight.ops.samples import index, of, sample
from penlight.tensor import Tensor


@register
class Take(Operator):
    """The elements of x at `index` along `dim`; an index of any rank replaces the dimension"""

    name = "take"
    onnx = "Gather(axis=dim)"
    saves_inputs = (False, True)
    samples = (
        sample(of(5, 3), index(4, high=5), dim=0),
        sample(of(5, 3), index(2, 2, high=3), dim=1),
        sample(of(5, 3), index(0, high=5), dim=0),
        sample(of(5, 3, strided=True), index(7, high=5), dim=0),
    )

    dim: int = 0

    def infer(self, x: Spec, index: Spec) -> Spec:
        if index.dtype.kind != 1:
            raise DTypeError(f"take: expected integer indices, came {index.dtype}; convert with .to(penlight.int64)")
        return Spec((*x.shape[: self.dim], *index.shape, *x.shape[self.dim + 1 :]), x.dtype)

    def forward(self, xp, x, index):
        if index.dtype.kind not in "iu":
            raise TypeError("integer indices expected")
        return x.take(index, axis=self.dim) if xp is not np else np.take(x, index, axis=self.dim)

    def vjp(self, grad, output, x, index):
        return apply(TakeAdd(self.dim, x.shape[self.dim]), grad, index), None


@register
class TakeAdd(Operator):
    """Zeros with `size` along `dim`, and x added at `index`: the gradient of Take"""

    name = "take_add"
    saves_inputs = (False, True)
    samples = (sample(of(4, 3), index(4, high=5), dim=0, size=5), sample(of(5, 2, 2), index(2, 2, high=3), dim=1, size=3))

    dim: int
    size: int

    def infer(self, x: Spec, index: Spec) -> Spec:
        return Spec((*x.shape[: self.dim], self.size, *x.shape[self.dim + len(index.shape) :]), x.dtype)

    def forward(self, xp, x, index):
        lead = x.shape[: self.dim]
        tail = x.shape[self.dim + index.ndim :]
        rows = xp.moveaxis(x.reshape(*lead, index.size, *tail), self.dim, 0)
        flat = index.reshape(-1) % max(self.size, 1)
        result = xp.zeros((self.size, *lead, *tail), dtype=x.dtype)
        if xp is np:
            _add_rows(result, flat, rows)
        else:
            xp.add.at(result, flat, rows)
        return xp.moveaxis(result, 0, self.dim)

    def vjp(self, grad, output, x, index):
        return apply(Take(self.dim), grad, index), None


def _add_rows(result: np.ndarray, flat: np.ndarray, rows: np.ndarray) -> None:
    """result[flat] += rows with repeats: sorted and summed in runs, which is ten times faster than np.add.at."""
    if not flat.size:
        return
    order = np.argsort(flat, kind="stable")
    sorted_index = flat[order]
    starts = np.flatnonzero(np.r_[True, sorted_index[1:] != sorted_index[:-1]])
    result[sorted_index[starts]] = np.add.reduceat(rows[order], starts, axis=0)


@register
class Gather(Operator):
    """out[i][j] = x[index[i][j]][j] along `dim` 0, and so on"""

    name = "gather"
    onnx = "GatherElements(axis=dim)"
    saves_inputs = (False, True)
    samples = (
        sample(of(5, 3), index(2, 3, high=5), dim=0),
        sample(of(5, 3), index(5, 4, high=3), dim=1),
        sample(of(5, 3), index(0, 3, high=5), dim=0),
    )

    dim: int

    def infer(self, x: Spec, index: Spec) -> Spec:
        check_index("gather", index)
        if len(index.shape) != len(x.shape):
            raise ShapeError(f"gather: index has {len(index.shape)} dimensions, input has {len(x.shape)}; they must agree")
        return Spec(index.shape, x.dtype)

    def forward(self, xp, x, index):
        window = tuple(slice(None) if d == self.dim else slice(n) for d, n in enumerate(index.shape))
        return xp.take_along_axis(x[window], index, axis=self.dim)

    def vjp(self, grad, output, x, index):
        return apply(GatherAdd(self.dim, tuple(x.shape)), grad, index), None


@register
class GatherAdd(Operator):
    """Zeros of `shape` with x added where Gather along `dim` would read: the gradient of Gather"""

    name = "gather_add"
    saves_inputs = (False, True)
    samples = (sample(of(2, 3), index(2, 3, high=5), dim=0, shape=(5, 3)),)

    dim: int
    shape: Shape

    def infer(self, x: Spec, index: Spec) -> Spec:
        return Spec(self.shape, x.dtype)

    def forward(self, xp, x, index):
        result = xp.zeros(self.shape, dtype=x.dtype)
        xp.add.at(result, _along(xp, index, self.dim), x)
        return result

    def vjp(self, grad, output, x, index):
        return apply(Gather(self.dim), grad, index), None


@register
class ScatterAdd(Operator):
    """A copy of x with `source` added where `index` says along `dim`; repeated indices add up"""

    name = "scatter_add"
    saves_inputs = (False, True, False)
    samples = (
        sample(of(5, 3), index(2, 3, high=5), of(2, 3), dim=0),
        sample(of(5, 3), index(5, 4, high=3), of(5, 4), dim=1),
        sample(of(5, 3), index(0, 3, high=5), of(0, 3), dim=0),
    )

    dim: int

    def infer(self, x: Spec, index: Spec, source: Spec) -> Spec:
        check_index("scatter_add", index)
        return x

    def forward(self, xp, x, index, source):
        result = x.copy()
        source = source[tuple(slice(n) for n in index.shape)]
        xp.add.at(result, _along(xp, index, self.dim), source)
        return result

    def vjp(self, grad, output, x, index, source):
        return grad, None, apply(Gather(self.dim), grad, index)


def _along(xp: Any, index: Any, dim: int) -> tuple[Any, ...]:
    grids = xp.ogrid[tuple(slice(n) for n in index.shape)]
    return tuple(index if d == dim else grid for d, grid in enumerate(grids))


def check_index(operator: str, spec: Spec) -> None:
    if spec.dtype.kind != 1:
        raise DTypeError(f"{operator}: expected integer indices, came {spec.dtype}; convert with .to(penlight.int64)")


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Returns the slices of `input` at the integer `index` (1-D) along `dim`."""
    if not input.ndim:
        return input.clone()
    if not index.ndim:
        index = index.reshape(1)
    return apply(Take(_dims.one("index_select", dim, input.ndim)), input, index)


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Returns `out[i][j] = input[index[i][j]][j]` for dim 0, and so on, in the shape of `index` (int64)."""
    if not index.numel():
        return input.reshape(-1)[:0].reshape(tuple(index.shape))
    if not input.ndim or not index.ndim:
        held = input if input.ndim else input.reshape(1)
        return apply(Gather(0), held, index.reshape(-1)).reshape(tuple(index.shape))
    return apply(Gather(_dims.one("gather", dim, input.ndim)), input, index)


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Returns `gather`, with the other dimensions broadcast; of the flattened input for None."""
    if dim is None:
        return apply(Gather(0), input.reshape(-1), indices.reshape(-1))
    d = _dims.one("take_along_dim", dim, input.ndim)
    rest = broadcast_shapes("take_along_dim", *((*t.shape[:d], 1, *t.shape[d + 1 :]) for t in (input, indices)))
    full = input.expand(*rest[:d], input.shape[d], *rest[d + 1 :])
    return apply(Gather(d), full, indices.expand(*rest[:d], indices.shape[d], *rest[d + 1 :]))


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Returns a copy of `input` with `src` added where `index` (int64) says along `dim`."""
    if src.dtype is not input.dtype:
        raise DTypeError(f"scatter_add: expected src of the input's {input.dtype}, came {src.dtype}; use src.to(input.dtype)")
    if not input.ndim or not index.ndim:
        whole = apply(ScatterAdd(0), input.reshape(-1), index.reshape(-1), src.reshape(-1))
        return whole.reshape(tuple(input.shape))
    return apply(ScatterAdd(_dims.one("scatter_add", dim, input.ndim)), input, index, src)
