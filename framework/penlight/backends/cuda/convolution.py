# SPDX-License-Identifier: Apache-2.0
"""Launches `convolution.cu` and `depthwise.cu`: conv2d and its two gradients, for where cuDNN is missing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penlight.backends.cuda import launch, source, wrapper

# kResultRows, kResultColumns, the bytes of depth of a step, and kTileThreads of the kernels.
_ROWS, _COLUMNS, _STEP_BYTES, _THREADS = 128, 64, 64, 128
_CHUNK_BYTES = 16
# Pixels are summed in parts until about this many blocks share the work of a weight's gradient: some for each processor of a GPU.
_WANTED_BLOCKS, _MAX_SPLITS, _MIN_SPLIT_STEPS = 512, 64, 8
_MAX_COUNT = 2**31 - 1
_MAX_GRID = 65_535


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name."""
    convolution = Convolution(xp, launcher)
    return {
        "conv2d": convolution.forward,
        "conv2d_input_grad": convolution.input_gradient,
        "conv2d_weight_grad": convolution.weight_gradient,
    }


class Convolution:
    """`conv2d`, `conv2d_input_grad` and `conv2d_weight_grad`.

    Products want channels last and a multiple of 16 bytes of them; images that lie so are read in place, others are copied once.
    """

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._launcher = launcher
        self._kernels = {**source.kernels("convolution"), **source.kernels("depthwise")}

    def forward(self, operator: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        """(N, O, OH, OW), in the order of dimensions that x has in memory."""
        out = operator.output_size(x.shape[2:], weight.shape[2:])
        arrays = (x, weight) if bias is None else (x, weight, bias)
        if min(out) < 1 or x.shape[1] != weight.shape[1] * operator.groups or not _takes(operator, weight, *arrays):
            return NotImplemented
        y = self._image((x.shape[0], weight.shape[0], *out), x)
        bias = None if bias is None else self._xp.ascontiguousarray(bias)
        values = _geometry(operator, x.shape, weight.shape, out)
        if weight.shape[1] == 1 and operator.groups > 1:
            values.update(self._depthwise(x, y, operator), x=x, weight=self._xp.ascontiguousarray(weight), bias=bias, y=y)
            self._launch("depthwise_forward", y, launch.elements(y.size, _CHUNK_BYTES), values)
            return y
        channels, filters = weight.shape[1], weight.shape[0] // operator.groups
        values.update(x=self._packed(x, operator.groups), weight=self._filters(weight, operator.groups), bias=bias, y=y)
        values.update(_strides("to", y), channels=self._padded(channels, x), filters=filters)
        self._launch("convolution_forward", y, _grid(y.size // max(y.shape[1], 1), filters, operator.groups), values)
        return y

    def input_gradient(self, operator: Any, grad: Any, weight: Any) -> Any:
        """(N, C, *size), in the order of dimensions that grad has in memory."""
        groups, channels = operator.groups, weight.shape[1]
        if grad.shape[1] != weight.shape[0] or not _takes(operator, weight, grad, weight):
            return NotImplemented
        grad_x = self._image((grad.shape[0], channels * groups, *operator.size), grad)
        if grad_x.size > _MAX_COUNT:
            return NotImplemented
        values = _geometry(operator, grad_x.shape, weight.shape, grad.shape[2:])
        if channels == 1 and groups > 1:
            values.update(self._depthwise(grad_x, grad, operator), x=grad_x, y=grad, weight=self._xp.ascontiguousarray(weight))
            self._launch("depthwise_input", grad, launch.elements(grad_x.size, _CHUNK_BYTES), values)
            return grad_x
        filters = weight.shape[0] // groups
        values.update(grad=self._packed(grad, groups), weight=self._filters(weight, groups), grad_x=grad_x, filters=filters)
        values.update(channels=self._padded(channels, grad), padded_filters=self._padded(filters, grad), real_channels=channels)
        grid = _grid(grad_x.size // max(grad_x.shape[1], 1), channels, groups)
        self._launch("convolution_input", grad, grid, {**values, **_strides("to", grad_x)})
        return grad_x

    def weight_gradient(self, operator: Any, x: Any, grad: Any) -> Any:
        """(O, C / groups, KH, KW); sums over many pixels are made in parts, which are then added in their order."""
        groups = operator.groups
        shape = (grad.shape[1], x.shape[1] // groups, *operator.kernel)
        if not _takes(operator, grad, x, grad):
            return NotImplemented
        grad_weight = self._xp.empty(shape, x.dtype)
        values = _geometry(operator, x.shape, shape, grad.shape[2:])
        if shape[1] == 1 and groups > 1:
            values.update(self._depthwise(x, grad, operator), x=x, y=grad, grad_weight=grad_weight)
            grid = launch.Grid((shape[2] * shape[3], shape[0], 1), (launch.THREADS, 1, 1))
            self._launch("depthwise_weight", x, grid, values)
            return grad_weight
        values.update(x=self._packed(x, groups), grad=self._packed(grad, groups), groups=groups, grad_weight=grad_weight)
        values.update(channels=self._padded(shape[1], x), real_channels=shape[1], taps=shape[2] * shape[3])
        values.update(filters=shape[0] // groups, padded_filters=self._padded(shape[0] // groups, x))
        self._sum_in_parts(values, grad.size // shape[0])
        return grad_weight

    def _sum_in_parts(self, values: dict[str, Any], pixels: int) -> None:
        rows, columns, groups = values["padded_filters"], values["channels"] * values["taps"], values["groups"]
        array = values["grad_weight"]
        grid = _grid(rows, columns, groups)
        steps = -(-pixels * array.itemsize // _STEP_BYTES)
        splits = max(1, min(_MAX_SPLITS, _WANTED_BLOCKS // math.prod(grid.blocks), steps // _MIN_SPLIT_STEPS, _MAX_GRID // groups))
        values["split_steps"] = -(-steps // splits)
        values["splits"] = -(-steps // values["split_steps"])
        values["partial"] = self._xp.empty((values["splits"], groups, rows, columns), np.float32)
        grid = launch.Grid((*grid.blocks[:2], groups * values["splits"]), grid.threads)
        self._launch("convolution_weight", array, grid, values)
        self._launch("convolution_weight_sum", array, launch.elements(array.size, _CHUNK_BYTES), values)

    def _launch(self, name: str, array: Any, grid: launch.Grid, values: dict[str, Any]) -> None:
        bound = {key: self._address(value) if hasattr(value, "strides") else value for key, value in values.items()}
        wrapper.launch(self._launcher, self._kernels[name], str(array.dtype), grid, bound)

    def _address(self, array: Any) -> Any:
        return np.uint64(self._launcher.pointer(array))

    def _image(self, shape: tuple[int, ...], like: Any) -> Any:
        if _is_channels_last(like):
            n, c, h, w = shape
            return self._xp.empty((n, h, w, c), like.dtype).transpose(0, 3, 1, 2)
        return self._xp.empty(shape, like.dtype)

    def _padded(self, channels: int, array: Any) -> int:
        chunk = _CHUNK_BYTES // array.itemsize
        return -(-channels // chunk) * chunk

    def _packed(self, image: Any, groups: int) -> Any:
        """(N, H, W, groups, channels) contiguous, with channels padded by zeros; the image's own memory where it lies so."""
        n, c, h, w = image.shape
        last = image.transpose(0, 2, 3, 1)
        padded = self._padded(c // groups, image)
        if padded == c // groups:
            aligned = last if self._launcher.pointer(last) % _CHUNK_BYTES == 0 else self._xp.array(last, order="C")
            return self._xp.ascontiguousarray(aligned)
        result = self._xp.zeros((n, h, w, groups, padded), image.dtype)
        result[..., : c // groups] = last.reshape(n, h, w, groups, c // groups)
        return result

    def _filters(self, weight: Any, groups: int) -> Any:
        """(O, KH, KW, channels) contiguous, with channels padded by zeros."""
        return self._packed(weight, 1)

    def _depthwise(self, x: Any, y: Any, operator: Any) -> dict[str, Any]:
        values: dict[str, Any] = {**_strides("x", x), **_strides("y", y), "filters": y.shape[1]}
        values.update(many=y.shape[1] // operator.groups, channels_last=_is_channels_last(y))
        return values


def _takes(operator: Any, weight: Any, *arrays: Any) -> bool:
    if not wrapper.takes(*arrays) or any(0 in a.shape or a.size > _MAX_COUNT for a in arrays):
        return False
    return min(operator.stride) >= 1 and operator.groups <= _MAX_GRID and weight.shape[0] <= _MAX_GRID * _COLUMNS


def _geometry(operator: Any, x: tuple[int, ...], weight: tuple[int, ...], out: Any) -> dict[str, Any]:
    values = {"batch": x[0], "height": x[2], "width": x[3], "out_height": out[0], "out_width": out[1]}
    values.update(kernel_height=weight[2], kernel_width=weight[3])
    for name in ("stride", "padding", "dilation"):
        values[f"{name}_y"], values[f"{name}_x"] = getattr(operator, name)
    return values


def _strides(name: str, image: Any) -> dict[str, int]:
    parts = ("batch", "channel", "row", "column")
    return {f"{name}_{part}": stride // image.itemsize for part, stride in zip(parts, image.strides, strict=True)}


def _is_channels_last(image: Any) -> bool:
    """Whether channels are innermost; an image of one channel, or of one pixel, counts as in PyTorch's default order."""
    return image.shape[1] > 1 and math.prod(image.shape[2:]) > 1 and image.strides[1] < min(image.strides[2:])


def _grid(rows: int, columns: int, depth: int) -> launch.Grid:
    return launch.Grid((-(-rows // _ROWS), -(-columns // _COLUMNS), depth), (_THREADS, 1, 1))
