# SPDX-License-Identifier: Apache-2.0
"""Launches `norm.cu`: layer normalisation over the last dimensions."""

from __future__ import annotations

import math
from typing import Any

from penlight.backends.cuda import launch, source, wrapper

# The tile of layer_norm_partial: kColumns x kRowLanes threads in norm.cu.
_COLUMNS, _ROW_LANES = 32, 8
# Rows of the first stage's blocks: few enough partial sums that the second stage is short.
_ROWS_PER_CHUNK, _MAX_CHUNKS = 256, 512


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name."""
    norm = LayerNorm(xp, launcher)
    return {"layer_norm": norm.forward, "layer_norm.backward": norm.backward}


class LayerNorm:
    """`layer_norm` with optional weight and bias; rows are what is normalised together."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._launcher = launcher
        self._kernels = source.kernels("norm")

    def forward(self, operator: Any, x: Any, weight: Any, bias: Any) -> Any:
        """The result, and per row 1 / sqrt(var + eps) and the mean."""
        if not _takes(operator, x, weight, bias):
            return NotImplemented
        values = self._values(operator, x, weight, bias)
        statistics = (*x.shape[: x.ndim - operator.dims], *(1,) * operator.dims)
        values["y"] = self._xp.empty(x.shape, x.dtype)
        values["rstd"], values["mean"] = (self._xp.empty(statistics, self._xp.float32) for _ in range(2))
        self._launch("layer_norm_forward", values)
        return values["y"], values["rstd"], values["mean"]

    def backward(self, operator: Any, needs: Any, grad: Any, output: Any, x: Any, weight: Any, bias: Any) -> Any:
        """Gradients of x, weight and bias, None where not needed."""
        if grad[0] is None or grad[1] is not None or grad[2] is not None:
            return NotImplemented
        if not _takes(operator, x, weight, bias) or not wrapper.takes(grad[0], x):
            return NotImplemented
        xp = self._xp
        values = self._values(operator, x, weight, bias)
        values.update(
            grad=xp.ascontiguousarray(grad[0]),
            grad_x=xp.empty(x.shape, x.dtype),
            means=xp.empty(values["rows"], xp.float32),
            rstds=xp.empty(values["rows"], xp.float32),
            grad_weight=xp.empty(weight.shape, weight.dtype) if needs[1] else None,
            grad_bias=xp.empty(bias.shape, bias.dtype) if needs[2] else None,
        )
        self._launch("layer_norm_backward", values)  # also where only the parameters need it: it leaves the moments
        if needs[1] or needs[2]:
            parameter_gradients(self._xp, self._launcher, values)
        return values["grad_x"], values["grad_weight"], values["grad_bias"]

    def _values(self, operator: Any, x: Any, weight: Any, bias: Any) -> dict[str, Any]:
        contiguous = self._xp.ascontiguousarray
        columns = math.prod(x.shape[x.ndim - operator.dims :])
        return {
            "x": contiguous(x),
            "weight": None if weight is None else contiguous(weight),
            "bias": None if bias is None else contiguous(bias),
            "rows": x.size // columns,
            "columns": columns,
            "eps": operator.eps,
        }

    def _launch(self, name: str, values: dict[str, Any], grid: launch.Grid | None = None) -> None:
        grid = grid or launch.rows(values["rows"], values["columns"])
        wrapper.launch(self._launcher, self._kernels[name], str(values["x"].dtype), grid, values)


def parameter_gradients(xp: Any, launcher: wrapper.Launcher, values: dict[str, Any]) -> None:
    """Fills grad_weight and grad_bias of `values`, where they are wanted, from grad, x, means and rstds there."""
    rows, columns, kernels = values["rows"], values["columns"], source.kernels("norm")
    rows_per_chunk = max(_ROWS_PER_CHUNK, -(-rows // _MAX_CHUNKS))
    chunks = -(-rows // rows_per_chunk)
    partial = xp.empty((2, chunks, columns), xp.float32)
    values.update(partial_weight=partial[0], partial_bias=partial[1], chunks=chunks, rows_per_chunk=rows_per_chunk)
    tiles = launch.Grid((-(-columns // _COLUMNS), chunks, 1), (_COLUMNS, _ROW_LANES, 1))
    for name, grid in (("layer_norm_partial", tiles), ("layer_norm_parameters", launch.elements(columns, 16))):
        wrapper.launch(launcher, kernels[name], str(values["x"].dtype), grid, values)


def _takes(operator: Any, x: Any, weight: Any, bias: Any) -> bool:
    parameters = [array for array in (weight, bias) if array is not None]
    tail = x.shape[x.ndim - operator.dims :]
    return wrapper.takes(x, *parameters) and x.size > 0 and all(parameter.shape == tail for parameter in parameters)
