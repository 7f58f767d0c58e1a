# SPDX-License-Identifier: Apache-2.0
"""Launches `elementwise.cu`: every operator of the table in `expressions.cuh`, its names and arguments read from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penlight.backends.cuda import launch, layout, source, wrapper

_LISTS = ("unary", "slope", "binary", "fraction", "compare", "test")
# The tile of transpose: kTile x kTileRows threads in elementwise.cu; and what CUDA allows in the second and third dimension.
_TILE, _TILE_ROWS, _MAX_GRID = 32, 8, 65_535
# Bounds that do not bind, for arguments that are None.
_UNBOUND = {"low": float("-inf"), "high": float("inf")}


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """`exp` for the expression `exp` of the list `unary`, `exp.backward` for that of `slope`, and so on."""
    run = Elementwise(xp, launcher)
    found: dict[str, wrapper.Wrapper] = {"cast": run.cast, "where": run.where, "clone": run.clone, "contiguous": run.contiguous}
    found |= {"channels_last": run.channels_last, "cat": run.cat, "pad": run.pad}
    for name in _LISTS:
        for kernel in source.kernels("elementwise")[name].variants():
            if name == "slope":
                found[f"{kernel.operation}.backward"] = _slope(kernel, run)
            elif name in ("unary", "test"):
                found[kernel.operation] = _one(kernel, run)
            else:
                found[kernel.operation] = _two(kernel, run)
    return found


def _one(kernel: source.Kernel, run: Elementwise) -> wrapper.Wrapper:
    def forward(operator: Any, x: Any) -> Any:
        return run(kernel, (x,), numbers=_numbers(operator))

    return forward


def _two(kernel: source.Kernel, run: Elementwise) -> wrapper.Wrapper:
    def forward(operator: Any, a: Any, b: Any) -> Any:
        return run(kernel, (a, b)) if a.dtype == b.dtype else NotImplemented

    return forward


def _slope(kernel: source.Kernel, run: Elementwise) -> wrapper.Wrapper:
    def backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any) -> Any:
        saved = output if operator.saves_output else x
        if getattr(saved, "dtype", None) != grad.dtype or not hasattr(saved, "strides"):
            return NotImplemented
        result = run(kernel, (grad, saved), numbers=_numbers(operator))
        return result if result is NotImplemented else (result,)

    return backward


def _numbers(operator: Any) -> list[float]:
    return [_UNBOUND[name] if value is None else value for name, value in operator.field_values().items()]


class Elementwise:
    """Runs kernels whose parameters are inputs, `y`, `count`, `layout` and at most two numbers p and q."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._launcher = launcher
        self._kernels = source.kernels("elementwise")

    def __call__(
        self, kernel: source.Kernel, inputs: Sequence[Any], numbers: Sequence[float] = (), dtype: Any = None, out: Any = None
    ) -> Any:
        """The result for inputs that broadcast, in `out` where that is given; NotImplemented where the kernel has no such instance.

        The dtype is that of the last input, or bool where the kernel writes bool, unless `dtype` says another one.
        """
        first = inputs[-1]
        name = str(first.dtype)
        if name not in kernel.dtypes:
            return NotImplemented
        shape = _broadcast(inputs) if out is None else out.shape
        pointers = [parameter.name for parameter in kernel.parameters if parameter.kind == "pointer"]
        if out is None:
            out = self._empty(shape, inputs, self._xp.bool_ if kernel.name in ("compare", "test") else dtype or first.dtype)
        widest = max(out.dtype.itemsize, first.dtype.itemsize)
        described = layout.describe(shape, (out, *inputs), 16 // widest)
        if described is None or out.size >= layout.MAX_COUNT:
            return NotImplemented
        values = {**dict(zip(pointers, (*inputs, out), strict=True)), "count": out.size, "layout": described}
        values.update(zip("pq", (*numbers, 0.0, 0.0), strict=False))
        wrapper.launch(self._launcher, kernel, name, launch.elements(out.size, widest), values)
        return out

    def _empty(self, shape: tuple[int, ...], inputs: Sequence[Any], dtype: Any) -> Any:
        """Memory for a result, its dimensions in the order of the first whole input: channels-last stays what it is."""
        for array in inputs:
            if array.shape == shape and array.ndim > 1 and not array.flags.c_contiguous and 0 not in array.strides:
                return self._xp.empty_like(array, dtype)
        return self._xp.empty(shape, dtype)

    def copied(self, x: Any, out: Any) -> Any:
        """Copies elements of any dtype of 1, 2, 4 or 8 bytes into `out`, whose shape x broadcasts to."""
        name = {1: "bool", 2: "float16", 4: "float32", 8: "int64"}.get(x.dtype.itemsize)
        if name is None or x.dtype != out.dtype:
            return NotImplemented
        if out.size and (tiled := layout.transposed(out.shape, (out, x))) is not None and self._transposed(x, out, name, tiled):
            return out
        result = self(self._kernels["copy"], (x.view(name),), out=out.view(name))
        return result if result is NotImplemented else out

    def _transposed(self, x: Any, out: Any, name: str, tiled: Any) -> bool:
        batches, columns, rows = (int(size) for size in tiled["sizes"][:3])
        blocks = (-(-columns // _TILE), -(-rows // _TILE), min(batches, _MAX_GRID))
        if blocks[1] > _MAX_GRID:
            return False
        values = {"x": x.view(name), "y": out.view(name), "layout": tiled}
        wrapper.launch(self._launcher, self._kernels["transpose"], name, launch.Grid(blocks, (_TILE, _TILE_ROWS, 1)), values)
        return True

    def contiguous(self, operator: Any, x: Any) -> Any:
        """x in row-major order without gaps; itself where it is."""
        return x if x.flags.c_contiguous else self.copied(x, self._xp.empty(x.shape, x.dtype))

    def clone(self, operator: Any, x: Any) -> Any:
        """A copy, its dimensions in the same order in memory."""
        return self.copied(x, self._xp.empty(x.shape, x.dtype) if 0 in x.strides else self._xp.empty_like(x))

    def channels_last(self, operator: Any, x: Any) -> Any:
        """A copy with dimension 1 innermost."""
        out = self._xp.moveaxis(self._xp.empty((x.shape[0], *x.shape[2:], x.shape[1]), x.dtype), -1, 1)
        return self.copied(x, out)

    def cat(self, operator: Any, *parts: Any) -> Any:
        """Each part copied to its place."""
        shape = list(parts[0].shape)
        shape[operator.dim] = sum(part.shape[operator.dim] for part in parts)
        if any(_without(part.shape, operator.dim) != _without(tuple(shape), operator.dim) for part in parts):
            return NotImplemented
        out, start = self._xp.empty(tuple(shape), parts[0].dtype), 0
        for part in parts:
            stop = start + part.shape[operator.dim]
            place = (*(slice(None),) * operator.dim, slice(start, stop))
            if self.copied(part, out[place]) is NotImplemented:
                return NotImplemented
            start = stop
        return out

    def pad(self, operator: Any, x: Any) -> Any:
        """The padding, then the elements at their place."""
        if str(x.dtype) not in source.TYPES:
            return NotImplemented
        sizes = [before + size + after for size, (before, after) in zip(x.shape, operator.pads, strict=True)]
        inner = x[tuple(slice(max(-b, 0), n + min(a, 0)) for n, (b, a) in zip(x.shape, operator.pads, strict=True))]
        out = self._xp.full(sizes, operator.value, x.dtype)
        place = tuple(slice(max(b, 0), max(b, 0) + n) for n, (b, _) in zip(inner.shape, operator.pads, strict=True))
        return NotImplemented if self.copied(inner, out[place]) is NotImplemented else out

    def cast(self, operator: Any, x: Any) -> Any:
        """The values in another dtype."""
        target = operator.dtype.numpy
        if str(target) not in self._kernels["cast"].operations:
            return NotImplemented
        return self(self._kernels["cast"].of(str(target)), (x,), dtype=target)

    def where(self, operator: Any, condition: Any, a: Any, b: Any) -> Any:
        """a where the condition holds, else b."""
        if a.dtype != b.dtype or str(condition.dtype) != "bool":
            return NotImplemented
        return self(self._kernels["where"], (condition, a, b))


def _broadcast(inputs: Sequence[Any]) -> tuple[int, ...]:
    """The common shape; a copy of numpy.broadcast_shapes, which takes 5 us."""
    shape = inputs[0].shape
    for array in inputs[1:]:
        if array.shape != shape:
            shape = _common(shape, array.shape)
    return shape


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    ndim = max(len(a), len(b))
    a, b = (1,) * (ndim - len(a)) + a, (1,) * (ndim - len(b)) + b
    if any(m != n and 1 not in (m, n) for m, n in zip(a, b, strict=True)):
        raise ValueError(f"shapes {a} and {b} do not broadcast")
    return tuple(n if m == 1 else m for m, n in zip(a, b, strict=True))


def _without(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return shape[:dim] + shape[dim + 1 :]
