# SPDX-License-Identifier: Apache-2.0
"""Launches `norm.cu`: layer normalisation over the last dimension."""

from __future__ import annotations

from typing import Any

from penlight.backends.cuda import launch, source, wrapper

# The tile of layer_norm_partial: kColumns x kRowLanes threads in norm.cu.
_COLUMNS, _ROW_LANES = 32, 8
_ROWS_PER_CHUNK = 256


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name."""
    norm = LayerNorm(xp, launcher)
    return {"layer_norm": norm.forward, "layer_norm.backward": norm.backward}


class LayerNorm:
    """`layer_norm` with optional weight and bias."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._launcher = launcher
        self._kernels = source.kernels("norm")

    def forward(self, operator: Any, x: Any, weight: Any = None, bias: Any = None) -> Any:
        """The normalised x, scaled and shifted."""
        if not self._takes(operator, x, weight, bias):
            return NotImplemented
        values = self._values(operator, x, weight, bias)
        values["y"] = self._xp.empty(x.shape, x.dtype)
        self._launch("layer_norm_forward", values)
        return values["y"]

    def backward(self, operator: Any, needs: Any, grad: Any, output: Any, x: Any, weight: Any = None, bias: Any = None) -> Any:
        """Gradients of x, weight and bias (None where the input is absent)."""
        if not self._takes(operator, x, weight, bias) or not wrapper.takes(grad, x):
            return NotImplemented
        xp = self._xp
        values = self._values(operator, x, weight, bias)
        values.update(
            grad=xp.ascontiguousarray(grad),
            grad_x=xp.empty(x.shape, x.dtype),
            means=xp.empty(values["rows"], xp.float32),
            inverse_deviations=xp.empty(values["rows"], xp.float32),
            grad_weight=None if weight is None else xp.empty(weight.shape, weight.dtype),
            grad_bias=None if bias is None else xp.empty(bias.shape, bias.dtype),
        )
        self._launch("layer_norm_backward", values)
        if weight is not None or bias is not None:
            self._parameters(values)
        return values["grad_x"], values["grad_weight"], values["grad_bias"]

    def _parameters(self, values: dict[str, Any]) -> None:
        rows, columns = values["rows"], values["columns"]
        chunks = -(-rows // _ROWS_PER_CHUNK)
        partial = self._xp.empty((2, chunks, columns), self._xp.float32)
        values.update(partial_weight=partial[0], partial_bias=partial[1], chunks=chunks, rows_per_chunk=_ROWS_PER_CHUNK)
        self._launch("layer_norm_partial", values, launch.Grid((-(-columns // _COLUMNS), chunks, 1), (_COLUMNS, _ROW_LANES, 1)))
        self._launch("layer_norm_parameters", values, launch.elements(columns, 16))

    def _values(self, operator: Any, x: Any, weight: Any, bias: Any) -> dict[str, Any]:
        contiguous = self._xp.ascontiguousarray
        return {
            "x": contiguous(x),
            "weight": None if weight is None else contiguous(weight),
            "bias": None if bias is None else contiguous(bias),
            "rows": x.size // x.shape[-1],
            "columns": x.shape[-1],
            "eps": operator.eps,
        }

    def _launch(self, name: str, values: dict[str, Any], grid: launch.Grid | None = None) -> None:
        grid = grid or launch.rows(values["rows"], values["columns"])
        wrapper.launch(self._launcher, self._kernels[name], str(values["x"].dtype), grid, values)

    def _takes(self, operator: Any, x: Any, weight: Any, bias: Any) -> bool:
        parameters = [array for array in (weight, bias) if array is not None]
        return wrapper.takes(x, *parameters) and x.ndim > 0 and x.size > 0 and all(p.shape == x.shape[-1:] for p in parameters)
