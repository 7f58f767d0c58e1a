# SPDX-License-Identifier: Apache-2.0
"""Launches the kernels of `norm.cu` for RMS norm over the last dimensions."""

from __future__ import annotations

import math
from typing import Any

from penlight.backends.cuda import launch, norm, source, wrapper


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name."""
    kernels = source.kernels("norm")

    def run(name: str, values: dict[str, Any]) -> None:
        grid = launch.rows(values["rows"], values["columns"])
        wrapper.launch(launcher, kernels[name], str(values["x"].dtype), grid, values)

    def described(operator: Any, x: Any, weight: Any) -> dict[str, Any]:
        columns = math.prod(x.shape[x.ndim - operator.dims :])
        weight = None if weight is None else xp.ascontiguousarray(weight)
        sizes = {"rows": x.size // columns, "columns": columns, "eps": operator.eps}
        return {"x": xp.ascontiguousarray(x), "weight": weight, **sizes}

    def forward(operator: Any, x: Any, weight: Any) -> Any:
        """The result, and per row 1 / sqrt(mean(x^2) + eps)."""
        if not _takes(operator, x, weight):
            return NotImplemented
        values = described(operator, x, weight)
        values["y"] = xp.empty(x.shape, x.dtype)
        values["rstd"] = xp.empty((*x.shape[: x.ndim - operator.dims], *(1,) * operator.dims), xp.float32)
        run("rms_norm_forward", values)
        return values["y"], values["rstd"]

    def backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any, weight: Any) -> Any:
        """Gradients of x and weight, None where not needed."""
        if grad[0] is None or grad[1] is not None or not _takes(operator, x, weight) or not wrapper.takes(grad[0], x):
            return NotImplemented
        values = described(operator, x, weight)
        values["grad"] = xp.ascontiguousarray(grad[0])
        values["rstds"] = xp.ascontiguousarray(output[1])
        values["grad_x"] = xp.empty(x.shape, x.dtype) if needs[0] else None
        if needs[0]:
            run("rms_norm_backward", values)
        values.update(means=None, grad_weight=xp.empty(weight.shape, weight.dtype) if needs[1] else None, grad_bias=None)
        if needs[1]:
            norm.parameter_gradients(xp, launcher, values)
        return values["grad_x"], values["grad_weight"]

    return {"rms_norm": forward, "rms_norm.backward": backward}


def _takes(operator: Any, x: Any, weight: Any) -> bool:
    if not wrapper.takes(x, *(() if weight is None else (weight,))) or x.size == 0:
        return False
    return weight is None or weight.shape == x.shape[x.ndim - operator.dims :]
