# SPDX-License-Identifier: Apache-2.0
"""Launches `pool.cu`: maxima and means of windows and their gradients, in both orders of memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.backends.cuda import launch, source, wrapper

Pair = tuple[int, int]


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name; kernels and operators have the same names."""
    run = Pool(xp, launcher)
    names = ("max_pool2d", "max_pool2d_index", "max_pool2d_grad", "max_pool2d_read", "avg_pool2d", "avg_pool2d_grad")
    return {**{name: getattr(run, name) for name in names}, "max_pool2d.backward": run.max_backward}


class Pool:
    """Windows over (N, C, H, W)."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._launcher = launcher
        self._kernels = source.kernels("pool")

    def max_pool2d(self, operator: Any, x: Any) -> Any:
        """The largest of each window."""
        return self._down("max_pool2d", operator, x, x.dtype)

    def max_pool2d_index(self, operator: Any, x: Any) -> Any:
        """The tap that it is."""
        return self._down("max_pool2d_index", operator, x, self._xp.int64)

    def avg_pool2d(self, operator: Any, x: Any) -> Any:
        """The mean of each window."""
        return self._down("avg_pool2d", operator, x, x.dtype)

    def max_pool2d_grad(self, operator: Any, x: Any, winners: Any) -> Any:
        """Elements back at the taps that won."""
        return self._up("max_pool2d_grad", operator, x, operator.size, winners=winners)

    def avg_pool2d_grad(self, operator: Any, x: Any) -> Any:
        """Elements spread over their windows."""
        return self._up("avg_pool2d_grad", operator, x, operator.size)

    def max_pool2d_read(self, operator: Any, x: Any, winners: Any) -> Any:
        """The elements at the taps that won."""
        return self._run("max_pool2d_read", operator, x, x.shape[2:], winners.shape[2:], winners.shape, x.dtype, winners=winners)

    def max_backward(self, operator: Any, needs: Any, grad: Any, output: Any, x: Any) -> Any:
        """The gradient of `max_pool2d`."""
        if not wrapper.takes(grad, x):
            return NotImplemented
        winners = self.max_pool2d_index(operator, x)
        if winners is NotImplemented:
            return NotImplemented
        return (self._up("max_pool2d_grad", operator, grad, x.shape[2:], winners=winners),)

    def _down(self, kernel: str, operator: Any, x: Any, dtype: Any) -> Any:
        if x.ndim != 4:
            return NotImplemented
        out = operator.output_size(x.shape[2:])
        return self._run(kernel, operator, x, x.shape[2:], out, (*x.shape[:2], *out), dtype)

    def _up(self, kernel: str, operator: Any, x: Any, size: Pair, **more: Any) -> Any:
        return self._run(kernel, operator, x, size, x.shape[2:], (*x.shape[:2], *size), x.dtype, **more)

    def _run(self, kernel: str, operator: Any, x: Any, size: Pair, out: Pair, shape: Any, dtype: Any, **more: Any) -> Any:
        if not wrapper.takes(x) or any(str(array.dtype) != "int64" for array in more.values()):
            return NotImplemented
        xp = self._xp
        is_last = not x.flags.c_contiguous and xp.moveaxis(x, 1, -1).flags.c_contiguous
        arrays = {"x": x, **more}
        if is_last:
            arrays, shape = {name: xp.moveaxis(array, 1, -1) for name, array in arrays.items()}, (shape[0], *shape[2:], shape[1])
        values: dict[str, Any] = {name: xp.ascontiguousarray(array) for name, array in arrays.items()}
        y = xp.empty(shape, dtype)
        values.update(y=y, winners=values.get("winners", y), count=y.size, window=_window(operator, x.shape[1], is_last, size, out))
        wrapper.launch(self._launcher, self._kernels[kernel], str(x.dtype), launch.elements(y.size, 4 * y.itemsize), values)
        return xp.moveaxis(y, -1, 1) if is_last else y


def _window(operator: Any, channels: int, is_last: bool, size: Pair, out: Pair) -> np.ndarray:
    kernel, stride, padding, dilation, _ = operator.arguments()
    window = np.zeros((), source.WINDOW)
    given = {"channels": channels, "is_last": is_last, "size": size, "out": out, "kernel": kernel, "stride": stride}
    given |= {"padding": padding, "dilation": dilation, "counts_padding": getattr(operator, "count_include_pad", False)}
    for name, value in given.items():
        window[name] = value
    return window
