# SPDX-License-Identifier: Apache-2.0
"""Launches `reduction.cu`: sums, products and extremes over any dimensions of arrays in any order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from penlight.backends.cuda import launch, layout, source, wrapper

# The tile of reduce_columns: kColumns x kRowLanes threads in reduction.cu.
_COLUMNS, _ROW_LANES = 32, 8
# Elements of a chunk at least, and blocks that fill a GPU: fewer results than that are computed in chunks.
_CHUNK, _BLOCKS = 2048, 512
_MAX_GRID_Z = 65_535

Dims = tuple[int, ...]


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name."""
    run = Reduce(xp, launcher)
    found = {name: _over_dims(run, name) for name in source.expressions()["reduce"]}
    found |= {"mean": _over_dims(run, "sum", _mean_scale), "sum_to": _sum_to(run)}
    found |= {"any": _truth(run, "amax"), "all": _truth(run, "amin")}
    return found | {name: _position(run, name) for name in source.expressions()["position"]}


def _mean_scale(count: int) -> float:
    return 1.0 / count if count else math.nan


def _over_dims(run: Reduce, name: str, scale: Callable[[int], float] = lambda count: 1.0) -> wrapper.Wrapper:
    def forward(operator: Any, x: Any) -> Any:
        return run(name, x, operator.dims, operator.keepdim, scale)

    return forward


def _truth(run: Reduce, name: str) -> wrapper.Wrapper:
    def forward(operator: Any, x: Any) -> Any:
        return run(name, x, operator.dims, operator.keepdim) if str(x.dtype) == "bool" else NotImplemented

    return forward


def _sum_to(run: Reduce) -> wrapper.Wrapper:
    def forward(operator: Any, x: Any) -> Any:
        return run.sum_to(x, operator.shape)

    return forward


def _position(run: Reduce, name: str) -> wrapper.Wrapper:
    def forward(operator: Any, x: Any) -> Any:
        return run.position(name, x, operator.dim, operator.keepdim)

    return forward


class Reduce:
    """Runs the kernels of `reduction.cu`."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._launcher = launcher
        self._kernels = source.kernels("reduction")

    def __call__(
        self, name: str, x: Any, dims: Dims, keepdim: bool, scale: Callable[[int], float] = lambda count: 1.0, dtype: Any = None
    ) -> Any:
        """The reduction `name` of x over `dims`, finally times scale(count); NotImplemented where there is no such instance."""
        if str(x.dtype) not in source.TYPES or (name in ("sum", "prod") and str(x.dtype) == "bool"):
            return NotImplemented
        dims = tuple(sorted(d % x.ndim for d in dims))
        count = math.prod(x.shape[d] for d in dims)
        if x.size >= layout.MAX_COUNT or (count == 0 and name in ("amax", "amin") and str(x.dtype) != "bool"):
            return NotImplemented
        kept = [size for d, size in enumerate(x.shape) if d not in dims]
        y = self._xp.empty(kept, x.dtype)
        values = {"x": x, "y": y, "partial": None, "scale": scale(count), "length": count}
        ran = self._columns(name, values, x, dims) if self._is_columns(x, dims) else self._rows(name, values, x, dims)
        if not ran:
            return NotImplemented
        return y.reshape([1 if d in dims else size for d, size in enumerate(x.shape)]) if keepdim else y

    def sum_to(self, x: Any, shape: tuple[int, ...]) -> Any:
        """The sum over what broadcasting from `shape` repeated."""
        lead = x.ndim - len(shape)
        ones = tuple(lead + i for i, size in enumerate(shape) if size == 1 and x.shape[lead + i] != 1)
        result = self("sum", x, (*range(lead), *ones), False)
        return result if result is NotImplemented else result.reshape(shape)

    def _is_columns(self, x: Any, dims: Dims) -> bool:
        """Whether `dims` are neighbours of a gapless array and not the last ones."""
        together = bool(dims) and dims[-1] - dims[0] == len(dims) - 1
        return together and x.flags.c_contiguous and math.prod(x.shape[dims[-1] + 1 :]) >= _ROW_LANES

    def _columns(self, name: str, values: dict[str, Any], x: Any, dims: Dims) -> bool:
        outer, inner = math.prod(x.shape[: dims[0]]), math.prod(x.shape[dims[-1] + 1 :])
        values.update(outer=outer, inner=inner)
        tiles = -(-inner // _COLUMNS)
        chunks = self._plan_chunks(values, tiles * outer, _CHUNK // _COLUMNS, x)
        grid = launch.Grid((tiles, chunks, min(outer, _MAX_GRID_Z)), (_COLUMNS, _ROW_LANES, 1))
        self._stages("reduce_columns", name, values, grid, x)
        return True

    def _rows(self, name: str, values: dict[str, Any], x: Any, dims: Dims) -> bool:
        others = tuple(d for d in range(x.ndim) if d not in dims)
        moved = x.transpose(others + dims)
        first = moved[(slice(None),) * len(others) + (0,) * len(dims)] if values["length"] else values["y"]
        last = moved[(0,) * len(others)] if x.size else x
        kept, reduced = layout.describe(first.shape, (first,), 1, in_order=True), layout.describe(last.shape, (last,), 1)
        if kept is None or reduced is None:
            return False
        rows = math.prod(first.shape)
        values.update(kept=kept, reduced=reduced, rows=rows, outer=rows, inner=1)
        chunks = self._plan_chunks(values, rows, _CHUNK, x)
        grid = launch.rows(rows, values["chunk"])
        self._stages("reduce_rows", name, values, launch.Grid((grid.blocks[0], chunks, 1), grid.threads), x)
        return True

    def _plan_chunks(self, values: dict[str, Any], blocks: int, least: int, x: Any) -> int:
        """The number of chunks, and memory for their results where there are several."""
        length = values["length"]
        wanted = min(max(_BLOCKS // max(blocks, 1), 1), -(-length // least)) if length else 1
        values["chunk"] = -(-length // wanted)
        values["chunks"] = chunks = -(-length // values["chunk"]) if length else 1
        if chunks > 1:
            kind = self._xp.float32 if str(x.dtype) in source.ELEMENTS else x.dtype
            values["partial"] = self._xp.empty(values["outer"] * chunks * values["inner"], kind)
        return chunks

    def _stages(self, first: str, name: str, values: dict[str, Any], grid: launch.Grid, x: Any) -> None:
        dtype = str(x.dtype)
        wrapper.launch(self._launcher, self._kernels[first].of(name), dtype, grid, values)
        if values["chunks"] > 1:
            second = launch.elements(values["y"].size, 16)
            wrapper.launch(self._launcher, self._kernels["reduce_chunks"].of(name), dtype, second, values)

    def position(self, name: str, x: Any, dim: int, keepdim: bool) -> Any:
        """The place of the extreme element along `dim`, int64."""
        if not wrapper.takes(x) or not x.size or x.shape[dim] >= 1 << 31:
            return NotImplemented
        x = self._xp.ascontiguousarray(x)
        kept = [size for d, size in enumerate(x.shape) if d != dim]
        y = self._xp.empty(kept, self._xp.int64)
        sizes = {"outer": math.prod(x.shape[:dim]), "length": x.shape[dim], "inner": math.prod(x.shape[dim + 1 :])}
        wrapper.launch(
            self._launcher, self._kernels["position"].of(name), str(x.dtype), launch.rows(y.size, 1), {"x": x, "y": y, **sizes}
        )
        return self._xp.expand_dims(y, dim) if keepdim else y
