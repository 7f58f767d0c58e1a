# SPDX-License-Identifier: Apache-2.0
"""Launches `attention.cu` and `attention_gradient.cu`: attention of float16 and bfloat16 without a matrix of probabilities."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from penlight.backends.cuda import launch, source, wrapper

# kBlockRows, kTileThreads and kTileWarps of the kernels.
_ROWS, _THREADS, _WARPS = 64, 128, 4
_MAX_GRID = 65_535
_CHUNK = 8  # elements to 16 bytes


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name."""
    attention = FlashAttention(xp, launcher)
    return {"flash_attention": attention.forward, "flash_attention.backward": attention.backward}


@dataclass(frozen=True)
class Heads:
    """How the leading dimensions of a call become batch and heads; `group` heads of q read one head of k and v."""

    lead: tuple[int, ...]
    batch: int
    heads: int
    group: int

    def queries(self, array: Any) -> Any:
        """(batch, heads, rows, width) of what has the leading dimensions of q."""
        return array.reshape(self.batch, self.heads, *array.shape[-2:])

    def keys(self, array: Any) -> Any:
        """(batch, heads / group, rows, width)."""
        return array.reshape(self.batch, self.heads // self.group, *array.shape[-2:])


class FlashAttention:
    """`flash_attention` for heads of up to 128 elements; keys may have fewer heads than queries (1 in the last leading ones)."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._launcher = launcher
        self._forward = source.kernels("attention")["attention_forward"]
        self._gradient = source.kernels("attention_gradient")

    def forward(self, operator: Any, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        """The result, and log(sum(exp(scores))) of each row in float32."""
        heads = _heads(q, k, v, mask)
        if heads is None:
            return NotImplemented
        q4, k4, v4 = self._rows(heads.queries(q)), self._rows(heads.keys(k)), self._rows(heads.keys(v))
        output = self._empty(q4)
        sums = self._xp.empty((*q4.shape[:3], 1), np.float32)
        values = self._values(operator, heads, {"q": q4, "k": k4, "v": v4, "output": output}, mask)
        self._launch(self._forward, q4, launch.Grid((_tiles(q4), *_grid(q4)), (_THREADS, 1, 1)), {**values, "log_sums": sums})
        return self._as_given(output, q), sums.reshape(*heads.lead, q.shape[-2])

    def backward(self, operator: Any, needs: Any, grad: Any, output: Any, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        """Gradients of q, k and v, None where not needed; declines where the mask needs one."""
        if grad[0] is None or grad[1] is not None or (needs[3:] and needs[3]) or not wrapper.takes(grad[0], q):
            return NotImplemented
        heads = _heads(q, k, v, mask)
        if heads is None:
            return NotImplemented
        arrays = {"q": self._rows(heads.queries(q)), "k": self._rows(heads.keys(k)), "v": self._rows(heads.keys(v))}
        arrays["grad"] = self._rows(heads.queries(grad[0]))
        values = self._values(operator, heads, arrays, mask)
        values["log_sums"] = self._xp.ascontiguousarray(output[1])
        values["dots"] = self._dots(arrays["grad"], self._rows(heads.queries(output[0])))
        grad_q = grad_k = grad_v = None
        if needs[1] or needs[2]:
            grad_k, grad_v = (self._as_given(a, k) for a in self._backward("attention_backward_keys", "k", arrays, values))
        if needs[0]:
            grad_q = self._as_given(self._backward("attention_backward_queries", "q", arrays, values)[0], q)
        return grad_q, grad_k if needs[1] else None, grad_v if needs[2] else None, None

    def _dots(self, grad: Any, output: Any) -> Any:
        dots = self._xp.empty(grad.shape[:3], np.float32)
        values = {**self._described({"grad": grad, "output": output}), "dots": dots, "queries": grad.shape[2]}
        values["width"] = grad.shape[3]
        grid = launch.Grid((-(-grad.shape[2] // _WARPS), *_grid(grad)), (_THREADS, 1, 1))
        wrapper.launch(self._launcher, self._gradient["attention_dots"], str(grad.dtype), grid, values)
        return dots

    def _backward(self, name: str, kept: str, arrays: dict[str, Any], values: dict[str, Any]) -> list[Any]:
        """What a kernel of the gradient writes, in the shape of the array whose rows its blocks keep."""
        kernel, shape = self._gradient[name], arrays[kept].shape
        names = [parameter.name for parameter in kernel.parameters if parameter.written]
        written = {name: self._xp.empty(shape, arrays[kept].dtype) for name in names}
        into = dict(zip(("into_batch", "into_head", "into_row"), _strides(next(iter(written.values()))), strict=True))
        grid = launch.Grid((_tiles(arrays[kept]), *_grid(arrays[kept])), (_THREADS, 1, 1))
        self._launch(kernel, arrays[kept], grid, {**values, **written, **into})
        return list(written.values())

    def _launch(self, kernel: source.Kernel, array: Any, grid: launch.Grid, values: dict[str, Any]) -> None:
        variant = kernel.of(next(number for number in kernel.operations if int(number) >= array.shape[3]))
        wrapper.launch(self._launcher, variant, str(array.dtype), grid, values)

    def _values(self, operator: Any, heads: Heads, arrays: dict[str, Any], mask: Any) -> dict[str, Any]:
        q, k = arrays["q"], arrays["k"]
        values = {**self._described(arrays), "queries": q.shape[2], "keys": k.shape[2], "width": q.shape[3], "group": heads.group}
        values.update(is_causal=operator.is_causal, scale=operator.scale, **self._mask(heads, mask, q.shape[2], k.shape[2]))
        return values

    def _mask(self, heads: Heads, mask: Any, queries: int, keys: int) -> dict[str, Any]:
        values: dict[str, Any] = {"mask": None, "allowed": None, "mask_of": None}
        strides = [0, 0, 0, 0]
        if mask is not None:
            whole = heads.queries(self._xp.broadcast_to(mask, (*heads.lead, queries, keys)))
            strides = [stride // whole.itemsize for stride in whole.strides]
            values["mask_of"] = whole  # may be a copy, which lives until the launch
            values["allowed" if whole.dtype == bool else "mask"] = self._address(whole)
        return {**values, **dict(zip(("mask_batch", "mask_head", "mask_row", "mask_column"), strides, strict=True))}

    def _described(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Addresses and strides by the names of the kernels' arguments."""
        values: dict[str, Any] = {}
        for name, array in arrays.items():
            values[name] = self._address(array)
            values.update(zip((f"{name}_batch", f"{name}_head", f"{name}_row"), _strides(array), strict=True))
        return values

    def _address(self, array: Any) -> Any:
        return np.uint64(self._launcher.pointer(array))

    def _rows(self, array: Any) -> Any:
        """The array with rows that start at multiples of 16 bytes and have a multiple of 16 bytes; itself where they do."""
        width = array.shape[-1]
        if width % _CHUNK:
            padded = self._xp.zeros((*array.shape[:-1], -(-width // _CHUNK) * _CHUNK), array.dtype)
            padded[..., :width] = array
            return padded
        is_aligned = all(s % 16 == 0 for s in array.strides[:-1]) and self._launcher.pointer(array) % 16 == 0
        return array if is_aligned and array.strides[-1] == array.itemsize else self._xp.array(array, order="C")

    def _empty(self, array: Any) -> Any:
        """Like `array`, in its order of heads and rows: (batch, rows, heads, width) in memory comes back so."""
        batch, heads, rows, width = array.shape
        if array.strides[1] < array.strides[2]:
            return self._xp.empty((batch, rows, heads, width), array.dtype).swapaxes(1, 2)
        return self._xp.empty(array.shape, array.dtype)

    def _as_given(self, array: Any, given: Any) -> Any:
        """Without the padding, in the shape of an input."""
        width = given.shape[-1]
        array = array[..., :width] if array.shape[-1] != width else array
        return array.reshape(given.shape)


def _tiles(array: Any) -> int:
    return -(-array.shape[2] // _ROWS)


def _grid(array: Any) -> tuple[int, int]:
    return array.shape[1], array.shape[0]


def _strides(array: Any) -> tuple[int, ...]:
    return tuple(stride // array.itemsize for stride in array.strides[:3])


def _heads(q: Any, k: Any, v: Any, mask: Any) -> Heads | None:
    """None for what the kernels do not take."""
    if not wrapper.takes(q, k, v) or q.itemsize != 2 or 0 in (q.size, k.size) or q.shape[-1] > 128 or v.shape != k.shape:
        return None
    if mask is not None and str(mask.dtype) not in ("bool", str(q.dtype)):
        return None
    found = heads_of(q.shape[:-2], k.shape[:-2])
    return found if found and max(found.batch, found.heads) <= _MAX_GRID else None


@functools.lru_cache(maxsize=256)
def heads_of(queries: tuple[int, ...], keys: tuple[int, ...]) -> Heads | None:
    """How leading dimensions of q and of k become batch and heads; None where keys are shared in another way."""
    if len(keys) > len(queries):
        return None
    keys = (1,) * (len(queries) - len(keys)) + keys
    for split in range(len(queries), -1, -1):
        if keys[:split] == queries[:split] and set(keys[split:]) <= {1}:
            batch = queries[0] if len(queries) > 1 and split > 0 else 1
            return Heads(queries, batch, math.prod(queries) // batch, math.prod(queries[split:]))
    return None
