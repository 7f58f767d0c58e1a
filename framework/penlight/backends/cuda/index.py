# SPDX-License-Identifier: Apache-2.0
"""Launches `index.cu`: rows by index, gather, scatter, and their gradients, which add in a fixed order."""

from __future__ import annotations

import math
from typing import Any

from penlight.backends.cuda import launch, layout, source, wrapper

# Constants of index.cu: kDigits keys to a block and a pass of eight bits, kScanned threads.
_DIGITS, _BITS, _SCANNED = 256, 8, 1024
_MAX_COUNT = 1 << 31


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name."""
    run = Index(xp, launcher)
    names = ("take", "embedding", "gather", "scatter", "take_add", "gather_add", "scatter_add")
    return {name: getattr(run, name) for name in names}


class Index:
    """Operators with an int64 array of indices; others are declined."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._launcher = launcher
        self._kernels = source.kernels("index")

    def embedding(self, operator: Any, weight: Any, index: Any) -> Any:
        """Rows of (V, D)."""
        return self._take(weight, index, 0) if weight.ndim == 2 else NotImplemented

    def take(self, operator: Any, x: Any, index: Any) -> Any:
        """An index in place of a dimension."""
        return self._take(x, index, operator.dim)

    def _take(self, x: Any, index: Any, dim: int) -> Any:
        if not _moves(x, index) or not x.shape[dim]:
            return NotImplemented
        x, index = self._xp.ascontiguousarray(x), self._xp.ascontiguousarray(index)
        y = self._xp.empty((*x.shape[:dim], *index.shape, *x.shape[dim + 1 :]), x.dtype)
        sizes = {"outer": math.prod(x.shape[:dim]), "size": x.shape[dim], "inner": math.prod(x.shape[dim + 1 :])}
        grid = launch.elements(y.size, y.itemsize)
        self._launch("take", _bits(x), grid, x=_bits_of(x), index=index, y=_bits_of(y), count=index.size, **sizes)
        return y

    def gather(self, operator: Any, x: Any, index: Any) -> Any:
        """y[i][j] = x[index[i][j]][j] and so on."""
        if not _moves(x, index) or x.ndim != index.ndim or not x.ndim or not x.size:
            return NotImplemented
        y = self._xp.empty(index.shape, x.dtype)
        described = layout.describe(index.shape, (y, _without(x, operator.dim, index.shape), index), 1)
        if described is None:
            return NotImplemented
        sizes = _along(x, operator.dim)
        grid = launch.elements(y.size, 16)
        self._launch("gather", _bits(x), grid, x=_bits_of(x), index=index, y=_bits_of(y), count=y.size, layout=described, **sizes)
        return y

    def scatter(self, operator: Any, x: Any, index: Any, written: Any) -> Any:
        """A copy of x with `written` where the index says."""
        if not _moves(x, index) or x.dtype != written.dtype or x.ndim != index.ndim or not x.ndim or not x.size:
            return NotImplemented
        y = self._xp.array(x, order="C")
        operands = (index, _without(y, operator.dim, index.shape), self._xp.broadcast_to(written, index.shape))
        described = layout.describe(index.shape, operands, 1, in_order=True)
        if described is None:
            return NotImplemented
        values = {"index": index, "y": _bits_of(y), "source": _bits_of(written), "layout": described, "count": index.size}
        self._launch("scatter", _bits(x), launch.elements(index.size, 16), **values, **_along(y, operator.dim))
        return y

    def take_add(self, operator: Any, x: Any, index: Any) -> Any:
        """The gradient of `take`."""
        dim, size = operator.dim, operator.size
        if not _adds(x, index) or not size:
            return NotImplemented
        shape = (*x.shape[:dim], size, *x.shape[dim + index.ndim :])
        y = self._xp.zeros(shape, x.dtype)
        flat = self._xp.ascontiguousarray(index).reshape(-1)
        described = layout.describe(flat.shape, (flat, self._xp.broadcast_to(y.reshape(-1)[:1], flat.shape)), 1, in_order=True)
        keys = self._keys(flat, described, {"size": size, "stride": 1})
        sizes = {"outer": math.prod(shape[:dim]), "size": size, "inner": math.prod(shape[dim + 1 :])}
        return self._add(y, x, *self._sorted(keys, size), sizes)

    def gather_add(self, operator: Any, x: Any, index: Any) -> Any:
        """The gradient of `gather`."""
        return self._add_at(self._xp.zeros(operator.shape, x.dtype), x, index, operator.dim)

    def scatter_add(self, operator: Any, x: Any, index: Any, added: Any) -> Any:
        """A copy of x with `added` added where the index says."""
        if getattr(added, "dtype", None) != x.dtype or x.ndim != index.ndim:
            return NotImplemented
        return self._add_at(self._xp.array(x, order="C"), added[tuple(slice(n) for n in index.shape)], index, operator.dim)

    def _add_at(self, y: Any, x: Any, index: Any, dim: int) -> Any:
        if not _adds(x, index) or not y.ndim or y.size >= _MAX_COUNT:
            return NotImplemented
        if not y.size or not index.size:
            return y
        described = layout.describe(index.shape, (index, _without(y, dim, index.shape)), 1, in_order=True)
        if described is None:
            return NotImplemented
        keys = self._keys(index, described, _along(y, dim))
        return self._add(y, x, *self._sorted(keys, y.size), {"outer": 1, "size": y.size, "inner": 1})

    def _keys(self, index: Any, described: Any, sizes: dict[str, int]) -> Any:
        keys = self._xp.empty(index.size, self._xp.int64)
        grid = launch.elements(index.size, 16)
        self._launch("find_keys", "float32", grid, index=index, keys=keys, count=index.size, layout=described, **sizes)
        return keys

    def _sorted(self, keys: Any, limit: int) -> tuple[Any, Any]:
        """Keys below `limit` in order, and where each came from; equal ones stay in theirs."""
        blocks, order = -(-keys.size // _DIGITS), None
        counts = self._xp.empty(_DIGITS * blocks, self._xp.int32)
        grid, one = launch.Grid((blocks, 1, 1), (_DIGITS, 1, 1)), launch.Grid((min(blocks, 1), 1, 1), (_SCANNED, 1, 1))
        for shift in range(0, max((limit - 1).bit_length(), 1), _BITS):
            given = {"keys": keys, "count": keys.size, "shift": shift}
            self._launch("radix_count", "float32", grid, counts=counts, **given)
            self._launch("radix_scan", "float32", one, counts=counts, count=counts.size)
            moved = self._xp.empty(keys.size, self._xp.int64), self._xp.empty(keys.size, self._xp.int64)
            given |= {"order": order, "starts": counts, "moved_keys": moved[0], "moved_order": moved[1]}
            self._launch("radix_place", "float32", grid, **given)
            keys, order = moved
        return keys, order

    def _add(self, y: Any, x: Any, keys: Any, order: Any, sizes: dict[str, int]) -> Any:
        values = {"keys": keys, "order": order, "x": self._xp.ascontiguousarray(x), "y": y, "count": keys.size, **sizes}
        self._launch("add_sorted", str(x.dtype), launch.elements(x.size, 16), **values)
        return y

    def _launch(self, kernel: str, dtype: str, grid: launch.Grid, **values: Any) -> None:
        wrapper.launch(self._launcher, self._kernels[kernel], dtype, grid, values)


# Elements that are only moved go as what has their size.
_SIZES = {1: "bool", 2: "float16", 4: "float32", 8: "int64"}


def _bits(x: Any) -> str:
    return _SIZES[x.dtype.itemsize]


def _bits_of(x: Any) -> Any:
    return x.view(_bits(x))


def _moves(x: Any, index: Any) -> bool:
    return str(index.dtype) == "int64" and x.dtype.itemsize in _SIZES and max(x.size, index.size) < _MAX_COUNT


def _adds(x: Any, index: Any) -> bool:
    return str(index.dtype) == "int64" and wrapper.takes(x) and max(x.size, index.size) < _MAX_COUNT


def _without(x: Any, dim: int, shape: tuple[int, ...]) -> Any:
    """x where the index reads it, its dimension `dim` as one element that is the same for every index."""
    return x[tuple(slice(1) if d == dim else slice(size) for d, size in enumerate(shape))]


def _along(x: Any, dim: int) -> dict[str, int]:
    return {"size": x.shape[dim], "stride": x.strides[dim] // x.itemsize}
