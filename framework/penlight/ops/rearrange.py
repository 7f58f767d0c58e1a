# SPDX-License-Identifier: Apache-2.0
"""Diagonals, grids, repeats and the other rearrangements that are made of simpler views."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.dtype import int64
from penlight.errors import ArgumentError, ShapeError
from penlight.ops import dims as _dims
from penlight.ops import shape as _shape
from penlight.ops.broadcast import broadcast_shapes as _broadcast
from penlight.ops.create import arange, zeros
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator, Shape, Spec
from penlight.ops.precision import under_autocast
from penlight.ops.registry import register
from penlight.ops.samples import shapes
from penlight.ops.shape import cat, expand, narrow, permute, reshape, stack
from penlight.tape import mode
from penlight.tensor import Tensor, from_numpy


@register
class Diagonal(Operator):
    """The elements (i, i + offset) of the dimensions `dim1` and `dim2`, as a new last dimension: a view"""

    name = "diagonal"
    saves_inputs = False
    is_view = True
    samples = (shapes(3, 4, offset=0, dim1=0, dim2=1), shapes(3, 2, 4, offset=1, dim1=0, dim2=2), shapes(0, 3, offset=0))

    offset: int = 0
    dim1: int = 0
    dim2: int = 1

    def infer(self, x: Spec) -> Spec:
        rest = tuple(n for d, n in enumerate(x.shape) if d not in (self.dim1, self.dim2))
        return Spec((*rest, diagonal_size(x.shape[self.dim1], x.shape[self.dim2], self.offset)), x.dtype)

    def forward(self, xp, x):
        result = x.diagonal(self.offset, self.dim1, self.dim2)
        if x.flags.writeable if xp is np else False:
            result.flags.writeable = True  # NumPy protects it; our views may be written to
        return result

    def vjp(self, grad, output, x):
        return (apply(DiagonalScatter(self.offset, self.dim1, self.dim2, tuple(x.shape)), grad),)


@register
class DiagonalScatter(Operator):
    """Zeros of `shape` with x as the diagonal of `dim1` and `dim2`: the gradient of Diagonal"""

    name = "diagonal_scatter"
    saves_inputs = False
    samples = (shapes(3, offset=0, dim1=0, dim2=1, shape=(3, 4)), shapes(2, 3, offset=1, dim1=0, dim2=2, shape=(3, 2, 4)))

    offset: int
    dim1: int
    dim2: int
    shape: Shape

    def infer(self, x: Spec) -> Spec:
        return Spec(self.shape, x.dtype)

    def forward(self, xp, x):
        result = xp.zeros(self.shape, dtype=x.dtype)
        rows = xp.arange(x.shape[-1]) + max(-self.offset, 0)
        xp.moveaxis(result, (self.dim1, self.dim2), (-2, -1))[..., rows, rows + self.offset] = x
        return result

    def vjp(self, grad, output, x):
        return (apply(Diagonal(self.offset, self.dim1, self.dim2), grad),)


@register
class Unfold(Operator):
    """Windows of `size` elements along `dim`, `step` apart, as a new last dimension"""

    name = "unfold_dim"
    saves_inputs = False
    is_view = True
    samples = (shapes(7, 2, dim=0, size=3, step=2), shapes(2, 5, dim=1, size=2, step=1))

    dim: int
    size: int
    step: int

    def infer(self, x: Spec) -> Spec:
        windows = (x.shape[self.dim] - self.size) // self.step + 1
        return Spec((*x.shape[: self.dim], windows, *x.shape[self.dim + 1 :], self.size), x.dtype)

    def forward(self, xp, x):
        view = xp.lib.stride_tricks.sliding_window_view(x, self.size, self.dim, **({"writeable": True} if xp is np else {}))
        return view[(slice(None),) * self.dim + (slice(None, None, self.step),)]

    def vjp(self, grad, output, x):
        return (apply(UnfoldAdd(self.dim, self.size, self.step, x.shape[self.dim]), grad),)


@register
class UnfoldAdd(Operator):
    """The windows added back where they came from, `length` elements along `dim`: the gradient of Unfold"""

    name = "unfold_dim_add"
    saves_inputs = False
    samples = (shapes(3, 2, 3, dim=0, size=3, step=2, length=7), shapes(2, 4, 2, dim=1, size=2, step=1, length=5))

    dim: int
    size: int
    step: int
    length: int

    def infer(self, x: Spec) -> Spec:
        return Spec((*x.shape[: self.dim], self.length, *x.shape[self.dim + 1 : -1]), x.dtype)

    def forward(self, xp, x):
        result = xp.zeros(self.infer(x).shape, dtype=x.dtype)  # infer reads the shape only
        windows = x.shape[self.dim]
        for k in range(self.size):
            place = slice(k, k + self.step * (windows - 1) + 1, self.step) if windows else slice(0, 0)
            result[(slice(None),) * self.dim + (place,)] += x[..., k]
        return result

    def vjp(self, grad, output, x):
        return (apply(Unfold(self.dim, self.size, self.step), grad),)


def diagonal_size(rows: int, columns: int, offset: int) -> int:
    """How many elements a diagonal has."""
    return max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Returns a view of the elements (i, i + offset) of two dimensions, as a new last dimension."""
    a, b = _dims.one("diagonal", dim1, input.ndim), _dims.one("diagonal", dim2, input.ndim)
    if a == b:
        raise ArgumentError(f"diagonal: dim1 and dim2 must differ, came {dim1} and {dim2}")
    return apply(Diagonal(offset, a, b), input)


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Returns zeros with the last dimension of `input` as the diagonal of two new dimensions."""
    ndim = input.ndim + 1
    a, b = _dims.one("diag_embed", dim1, ndim), _dims.one("diag_embed", dim2, ndim)
    size = input.shape[-1] + max(offset, -offset)
    rest = iter(input.shape[:-1])
    shape = tuple(size if d in (a, b) else next(rest) for d in range(ndim))
    if a > b:
        a, b, offset = b, a, -offset
    return apply(DiagonalScatter(offset, a, b, shape), input)


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """Returns the diagonal of a matrix, or the matrix with a vector as its diagonal."""
    return diag_embed(input, diagonal) if input.ndim == 1 else apply(Diagonal(diagonal), input)


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """Returns a matrix with the flattened input as its diagonal."""
    return diag_embed(input.reshape(-1), offset)


@under_autocast
def trace(input: Tensor) -> Tensor:
    """Returns the sum of the diagonal of a matrix."""
    return diagonal(input).sum()


def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Returns a copy of `input` with `src` as its diagonal."""
    result = input.clone()
    diagonal(result, offset, dim1, dim2).copy_(src)
    return result


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """Returns the slice at `index` along `dim`, without it: a view."""
    return input[(slice(None),) * _dims.one("select", dim, input.ndim) + (int(index),)]


def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """Returns a copy of `input` with `src` at `index` along `dim`."""
    result = input.clone()
    select(result, dim, index).copy_(src)
    return result


def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """Returns a copy of `input` with `src` in the range start:end:step along `dim`."""
    result = input.clone()
    result[(slice(None),) * _dims.one("slice_scatter", dim, input.ndim) + (slice(start, end, step),)] = src
    return result


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Returns windows of `size` elements along a dimension, `step` apart, as a new last dimension."""
    if not input.ndim:
        return input.reshape(1)[:size]
    return apply(Unfold(_dims.one("unfold", dimension, input.ndim), size, step), input)


def broadcast_to(input: Tensor, shape: Sequence[int]) -> Tensor:
    """Returns `input.expand(shape)`."""
    return expand(input, tuple(shape))


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """Returns the shape that all broadcast to; a number counts as a shape of one dimension."""
    return _broadcast("broadcast_shapes", *((s,) if isinstance(s, int) else tuple(s) for s in shapes))


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Returns views of all tensors in their common shape."""
    shape = _broadcast("broadcast_tensors", *(t.shape for t in tensors))
    return tuple(t.expand(shape) for t in tensors)


def tile(input: Tensor, *dims: Any) -> Tensor:
    """Returns the input repeated along its last dimensions; missing ones count as 1."""
    times = _dims.shape_arguments(dims)
    return _shape.repeat(input, (1,) * (input.ndim - len(times)) + tuple(times))


def repeat_interleave(input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None) -> Tensor:
    """Returns each element repeated in place along `dim` (of the flattened input for None), all equally or one by one.

    With one argument, an integer tensor of repeats, it returns the indices instead.
    """
    counts = input if repeats is None else repeats
    if isinstance(counts, Tensor) and counts._traced is not None:
        mode.tracer.refuse_data_shape("repeat_interleave()")
    if repeats is None:
        return from_numpy(np.repeat(np.arange(input.numel()), input._data))
    if dim is None:
        input, dim = input.reshape(-1), 0
    input = input if input.ndim else input.reshape(1)
    d = _dims.one("repeat_interleave", dim, input.ndim)
    if isinstance(repeats, Tensor):
        repeats = repeats.item() if repeats.numel() == 1 else np.asarray(repeats._data)
    if isinstance(repeats, (list, tuple)):
        repeats = np.asarray(repeats)
    if not isinstance(repeats, np.ndarray):
        shape = tuple(input.shape)
        single = reshape(input, (*shape[: d + 1], 1, *shape[d + 1 :]))
        wide = expand(single, (*shape[: d + 1], int(repeats), *shape[d + 1 :]))
        return reshape(wide, (*shape[:d], shape[d] * int(repeats), *shape[d + 1 :]))
    places = np.repeat(np.arange(input.shape[d]), repeats)
    return input.index_select(d, from_numpy(places))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Returns one grid per 1-D tensor, in the shape of all their sizes; "xy" exchanges the first two dimensions.

    Raises:
        ArgumentError: another word for `indexing`.
    """
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise ArgumentError(f'meshgrid: indexing must be "ij" or "xy", came {indexing!r}')
    sizes = tuple(t.numel() for t in tensors)
    grids = []
    for d, t in enumerate(tensors):
        single = reshape(t, (1,) * d + (sizes[d],) + (1,) * (len(sizes) - d - 1))
        grids.append(expand(single, sizes))
    swap = indexing == "xy" and len(sizes) > 1
    return tuple(g.transpose(0, 1) if swap else g for g in grids)


def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Returns a view with dimensions moved to other places; the rest keeps its order."""
    origins = [source] if isinstance(source, int) else list(source)
    targets = [destination] if isinstance(destination, int) else list(destination)
    moved = {
        _dims.one("movedim", t, input.ndim): _dims.one("movedim", s, input.ndim) for s, t in zip(origins, targets, strict=True)
    }
    rest = iter([d for d in range(input.ndim) if d not in moved.values()])
    return permute(input, tuple(moved[d] if d in moved else next(rest) for d in range(input.ndim)))


def ravel(input: Tensor) -> Tensor:
    """Returns the elements in one dimension."""
    return reshape(input, (-1,)) if input.numel() else reshape(input, (0,))


def fliplr(input: Tensor) -> Tensor:
    """Returns the input reversed along dimension 1."""
    return _shape.flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """Returns the input reversed along dimension 0."""
    return _shape.flip(input, 0)


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Returns the input turned by 90 degrees `k` times, from the first of `dims` towards the second."""
    a, b = (_dims.one("rot90", d, input.ndim) for d in dims)
    turns = k % 4
    if turns == 0:
        return input.clone()
    if turns == 2:
        return _shape.flip(input, (a, b))
    return _shape.flip(input.transpose(a, b), a) if turns == 1 else _shape.flip(input, a).transpose(a, b)


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Returns views split into so many nearly equal parts, or at the listed indices, along `dim`."""
    d = _dims.one("tensor_split", dim, input.ndim)
    size = input.shape[d]
    cuts = indices_or_sections.tolist() if isinstance(indices_or_sections, Tensor) else indices_or_sections
    if isinstance(cuts, int):
        small, extra = divmod(size, cuts)
        bounds = list(itertools.accumulate([0] + [small + (k < extra) for k in range(cuts)]))
    else:
        inner = [max(c + size, 0) if c < 0 else min(c, size) for c in cuts]
        bounds = [0, *inner, size]
    return tuple(narrow(input, d, a, max(b - a, 0)) for a, b in itertools.pairwise(bounds))


def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Returns `tensor_split` along dimension 1 (0 for a vector)."""
    return tensor_split(input, indices_or_sections, 0 if input.ndim == 1 else 1)


def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Returns `tensor_split` along dimension 0."""
    return tensor_split(input, indices_or_sections, 0)


def dsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Returns `tensor_split` along dimension 2."""
    return tensor_split(input, indices_or_sections, 2)


def _each(tensors: tuple[Any, ...], function: Any) -> Any:
    """`function` of one tensor, or of each of several."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
        return tuple(function(t) for t in tensors)
    return function(tensors[0]) if len(tensors) == 1 else tuple(function(t) for t in tensors)


def atleast_1d(*tensors: Any) -> Any:
    """Returns tensors with at least one dimension."""
    return _each(tensors, lambda t: t if t.ndim else t.reshape(1))


def atleast_2d(*tensors: Any) -> Any:
    """Returns tensors with at least two dimensions; a vector becomes a row."""
    return _each(tensors, lambda t: t if t.ndim > 1 else t.reshape(1, -1))


def atleast_3d(*tensors: Any) -> Any:
    """Returns tensors with at least three dimensions; a vector becomes (1, N, 1), a matrix (N, M, 1)."""
    return _each(tensors, lambda t: t if t.ndim > 2 else t.unsqueeze(-1) if t.ndim == 2 else t.reshape(1, -1, 1))


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Returns the tensors joined along dimension 1 (0 for vectors)."""
    parts = [atleast_1d(t) for t in tensors]
    return cat(parts, 0 if parts[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Returns the tensors joined along dimension 0; vectors become rows."""
    return cat([atleast_2d(t) for t in tensors], 0)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Returns the tensors joined along dimension 2."""
    return cat([atleast_3d(t) for t in tensors], 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Returns vectors as columns (and matrices as they are) side by side."""
    return cat([t.reshape(-1, 1) if t.ndim <= 1 else t for t in tensors], 1)


def block_diag(*tensors: Tensor) -> Tensor:
    """Returns a matrix with the given ones along its diagonal, zeros elsewhere."""
    parts = [atleast_2d(t) for t in tensors]
    parts = _shape.promote_all(parts)
    width = sum(p.shape[1] for p in parts)
    rows, start = [], 0
    for p in parts:
        left = zeros(p.shape[0], start, dtype=p.dtype)
        right = zeros(p.shape[0], width - start - p.shape[1], dtype=p.dtype)
        rows.append(cat([left, p, right], 1))
        start += p.shape[1]
    return cat(rows, 0)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Returns all combinations of one element per vector, as rows; a single vector stays."""
    if len(tensors) == 1:
        return tensors[0].clone()
    return stack([g.reshape(-1) for g in meshgrid(*tensors)], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Returns all combinations of `r` elements of a vector, as rows."""
    chosen = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = list(chosen(range(input.numel()), r))
    if not r:
        return input[:0]
    return input[from_numpy(np.asarray(places, dtype=np.int64).reshape(-1, r))]


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = int64, **options: Any) -> Tensor:
    """Returns the places (2, N) of the lower triangle of a (row, col) matrix, row by row."""
    return from_numpy(np.stack(np.tril_indices(row, offset, col))).to(dtype or int64)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = int64, **options: Any) -> Tensor:
    """Returns the places (2, N) of the upper triangle of a (row, col) matrix, row by row."""
    return from_numpy(np.stack(np.triu_indices(row, offset, col))).to(dtype or int64)


def unravel_index(indices: Tensor, shape: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Returns the coordinates of flat indices in `shape`, one tensor per dimension."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    result = []
    for size in reversed(sizes):
        result.append(indices.remainder(size))
        indices = indices.floor_divide(size)
    return tuple(reversed(result))


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Returns the powers of a vector as columns, from the highest down unless `increasing`."""
    count = x.shape[-1] if N is None else N
    powers = arange(count) if increasing else arange(count).flip(0)
    return x.unsqueeze(-1).pow(powers.to(x.dtype))


def constant_pad_nd(input: Tensor, pad: Sequence[int], value: float = 0) -> Tensor:
    """Returns the input padded with a number; see `nn.functional.pad`."""
    if len(pad) % 2:
        raise ShapeError(f"constant_pad_nd: expected pairs (before, after), came {tuple(pad)}")
    return _shape.pad(input, pad, "constant", value)
