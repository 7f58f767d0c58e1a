# SPDX-License-Identifier: Apache-2.0
"""Launches `batch_norm.cu`: batch normalisation in training and with given statistics, in both orders of memory."""

from __future__ import annotations

import math
from typing import Any

from penlight.backends.cuda import launch, source, wrapper

# The tile of channel_columns: kTile x kLanes threads in batch_norm.cu.
_TILE, _LANES = 32, 8
# Elements of a chunk at least, and blocks that fill a GPU.
_CHUNK, _BLOCKS = 4096, 1024


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name."""
    norm = BatchNorm(xp, launcher)
    found: dict[str, wrapper.Wrapper] = {"batch_norm": norm.inference, "batch_norm_training": norm.training}
    return {**found, "batch_norm_training.backward": norm.backward}


class BatchNorm:
    """Channels are dimension 1 of (N, C, ...); statistics are float32 of shape (C,)."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._launcher = launcher
        self._kernels = source.kernels("batch_norm")

    def inference(self, operator: Any, x: Any, weight: Any, bias: Any, mean: Any, var: Any) -> Any:
        """The result with given statistics."""
        if not _takes(x, weight, bias) or str(mean.dtype) != "float32" or str(var.dtype) != "float32":
            return NotImplemented
        values = self._values(operator, x)
        return self._applied(values, weight, bias, self._xp.ascontiguousarray(mean), self._xp.ascontiguousarray(var))

    def training(self, operator: Any, x: Any, weight: Any, bias: Any) -> Any:
        """The result, and the mean and the variance of the batch."""
        if not _takes(x, weight, bias):
            return NotImplemented
        values = self._values(operator, x)
        values.update(grad=None, mean=None, variance=None)
        self._sums("moments", values)
        mean, variance = (self._xp.empty(values["channels"], self._xp.float32) for _ in range(2))
        values.update(mean=mean, variance=variance, step=values["spatial"])
        self._launch("batch_norm_moments", launch.elements(values["channels"], 16), values)
        return self._applied(values, weight, bias, mean, variance), mean, variance

    def backward(self, operator: Any, needs: Any, grad: Any, output: Any, x: Any, weight: Any, bias: Any) -> Any:
        """Gradients of x, weight and bias, None where not needed."""
        if grad[0] is None or grad[1] is not None or grad[2] is not None:
            return NotImplemented
        if not _takes(x, weight, bias) or not wrapper.takes(grad[0], x) or str(output[1].dtype) != "float32":
            return NotImplemented
        xp, values = self._xp, self._values(operator, x)
        values.update(grad=self._arranged(grad[0], values), mean=output[1], variance=output[2], weight=weight)
        self._sums("gradients", values)
        channels = values["channels"]
        values.update(
            sums=xp.empty((channels, 2), xp.float32),
            grad_weight=xp.empty(channels, x.dtype) if needs[1] else None,
            grad_bias=xp.empty(channels, x.dtype) if needs[2] else None,
        )
        self._launch("batch_norm_parameters", launch.elements(channels, 16), values)
        if needs[0]:
            values["grad_x"] = xp.empty_like(values["x"])
            self._launch("batch_norm_input", launch.elements(x.size, x.itemsize), values)
        grad_x = self._back(values["grad_x"], values) if needs[0] else None
        return grad_x, values["grad_weight"], values["grad_bias"]

    def _applied(self, values: dict[str, Any], weight: Any, bias: Any, mean: Any, variance: Any) -> Any:
        y = self._xp.empty_like(values["x"])
        values.update(weight=weight, bias=bias, mean=mean, variance=variance, y=y)
        self._launch("batch_norm_apply", launch.elements(y.size, y.itemsize), values)
        return self._back(y, values)

    def _values(self, operator: Any, x: Any) -> dict[str, Any]:
        """x without gaps, channels last where it was that already, and its sizes."""
        channels = x.shape[1]
        is_last = x.ndim > 2 and not x.flags.c_contiguous and self._xp.moveaxis(x, 1, -1).flags.c_contiguous
        values = {"is_last": is_last, "channels": channels, "count": x.size, "length": x.size // channels, "eps": operator.eps}
        values["spatial"] = 1 if is_last else math.prod(x.shape[2:])
        values["x"] = self._arranged(x, values)
        return values

    def _arranged(self, array: Any, values: dict[str, Any]) -> Any:
        return self._xp.ascontiguousarray(self._xp.moveaxis(array, 1, -1) if values["is_last"] else array)

    def _back(self, array: Any, values: dict[str, Any]) -> Any:
        return self._xp.moveaxis(array, -1, 1) if values["is_last"] else array

    def _sums(self, name: str, values: dict[str, Any]) -> None:
        """Two sums per channel and chunk, in values["partial"]."""
        channels, length = values["channels"], values["length"]
        by_columns = values["spatial"] == 1
        blocks = -(-channels // _TILE) if by_columns else channels
        wanted = max(min(_BLOCKS // blocks, length * (_TILE if by_columns else 1) // _CHUNK), 1)
        values["chunk"] = -(-length // wanted)
        values["chunks"] = -(-length // values["chunk"])
        values["partial"] = self._xp.empty((values["chunks"], channels, 2), self._xp.float32)
        threads = (_TILE, _LANES, 1) if by_columns else (launch.THREADS, 1, 1)
        kernel = "channel_columns" if by_columns else "channel_rows"
        self._launch(kernel, launch.Grid((blocks, values["chunks"], 1), threads), values, name)

    def _launch(self, kernel: str, grid: launch.Grid, values: dict[str, Any], expression: str = "") -> None:
        chosen = self._kernels[kernel].of(expression) if expression else self._kernels[kernel]
        wrapper.launch(self._launcher, chosen, str(values["x"].dtype), grid, values)


def _takes(x: Any, weight: Any, bias: Any) -> bool:
    parameters = [array for array in (weight, bias) if array is not None]
    whole = all(array.shape == x.shape[1:2] and array.flags.c_contiguous for array in parameters)
    return wrapper.takes(x, *parameters) and x.ndim > 1 and x.size > 0 and whole
