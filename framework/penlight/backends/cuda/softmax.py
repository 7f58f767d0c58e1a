# SPDX-License-Identifier: Apache-2.0
"""Launches `softmax.cu`: softmax and log_softmax over the last dimension."""

from __future__ import annotations

from typing import Any

from penlight.backends.cuda import launch, source, wrapper


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """`softmax` for the kernel `softmax_forward`, `softmax.backward` for `softmax_backward`, and so on."""
    found: dict[str, wrapper.Wrapper] = {}
    for kernel in source.kernels("softmax").values():
        operator, direction = kernel.name.rsplit("_", 1)
        if direction == "forward":
            found[operator] = _forward(kernel, xp, launcher)
        else:
            found[f"{operator}.backward"] = _backward(kernel, xp, launcher)
    return found


def _forward(kernel: source.Kernel, xp: Any, launcher: wrapper.Launcher) -> wrapper.Wrapper:
    def forward(operator: Any, x: Any) -> Any:
        if not wrapper.takes(x) or not _over_last(operator, x):
            return NotImplemented
        x = xp.ascontiguousarray(x)
        y = xp.empty(x.shape, x.dtype)
        wrapper.launch(launcher, kernel, str(x.dtype), launch.rows(*_rows(x)), {"x": x, "y": y, **_sizes(x)})
        return y

    return forward


def _backward(kernel: source.Kernel, xp: Any, launcher: wrapper.Launcher) -> wrapper.Wrapper:
    def backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any) -> Any:
        if not wrapper.takes(grad, output) or not _over_last(operator, output):
            return NotImplemented
        grad, output = xp.ascontiguousarray(grad), xp.ascontiguousarray(output)
        grad_x = xp.empty(grad.shape, grad.dtype)
        values = {"grad": grad, "output": output, "grad_x": grad_x, **_sizes(grad)}
        wrapper.launch(launcher, kernel, str(grad.dtype), launch.rows(*_rows(grad)), values)
        return (grad_x,)

    return backward


def _over_last(operator: Any, x: Any) -> bool:
    return x.ndim > 0 and x.size > 0 and operator.dim in (-1, x.ndim - 1)


def _rows(x: Any) -> tuple[int, int]:
    return x.size // x.shape[-1], x.shape[-1]


def _sizes(x: Any) -> dict[str, int]:
    rows, columns = _rows(x)
    return {"rows": rows, "columns": columns}
