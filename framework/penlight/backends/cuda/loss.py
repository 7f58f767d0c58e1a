# SPDX-License-Identifier: Apache-2.0
"""Launches `loss.cu`: cross-entropy of (rows, classes) logits against class indices."""

from __future__ import annotations

from typing import Any

from penlight.backends.cuda import launch, source, wrapper


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name."""
    loss = CrossEntropy(xp, launcher)
    return {"cross_entropy": loss.forward, "cross_entropy.backward": loss.backward}


class CrossEntropy:
    """Loss and gradient of `cross_entropy`, each from one reading of the logits' rows."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._launcher = launcher
        self._kernels = source.kernels("loss")

    def forward(self, operator: Any, x: Any, target: Any, weight: Any = None) -> Any:
        """The mean or sum of the rows' losses, a scalar of x's dtype."""
        if not self._takes(operator, x, target, weight):
            return NotImplemented
        return self._total(self.rows(operator, x, target, losses=True))

    def backward(self, operator: Any, needs: Any, grad: Any, output: Any, x: Any, target: Any, weight: Any = None) -> Any:
        """The gradient of the logits; recomputing the softmax reads less memory than keeping it from the forward pass."""
        if not wrapper.takes(grad, x) or not self._takes(operator, x, target, weight):
            return NotImplemented
        values = self.rows(operator, x, target, upstream=grad, gradient=True)
        return (values["grad_x"], None, None)[: 2 if weight is None else 3]

    def rows(
        self, operator: Any, x: Any, target: Any, *, upstream: Any = None, losses: bool = False, gradient: bool = False
    ) -> dict[str, Any]:
        """One launch over the rows that computes what is asked for; a training step may ask for both.

        Returns:
            The kernel's arguments: `losses` (rows,) float32, `grad_x` (rows, classes) of x's dtype, `scale` () float32.
        """
        xp, x = self._xp, self._xp.ascontiguousarray(x)
        rows, columns = x.shape
        values = {
            "x": x,
            "target": xp.ascontiguousarray(target),
            "upstream": upstream,
            "scale": xp.empty((), xp.float32),
            "losses": xp.empty(rows, xp.float32) if losses else None,
            "grad_x": xp.empty(x.shape, x.dtype) if gradient else None,
            "rows": rows,
            "columns": columns,
            "ignore_index": operator.ignore_index,
            "smoothing": operator.label_smoothing,
            "mean": operator.reduction == "mean",
        }
        self._launch("cross_entropy_scale", x.dtype, launch.single_block(rows), values)
        self._launch("cross_entropy_rows", x.dtype, launch.rows(rows, columns), values)
        return values

    def _total(self, values: dict[str, Any]) -> Any:
        dtype = values["x"].dtype
        values["loss"] = self._xp.empty((), dtype)
        self._launch("cross_entropy_total", dtype, launch.single_block(values["rows"]), values)
        return values["loss"]

    def _launch(self, name: str, dtype: Any, grid: launch.Grid, values: dict[str, Any]) -> None:
        wrapper.launch(self._launcher, self._kernels[name], str(dtype), grid, values)

    def _takes(self, operator: Any, x: Any, target: Any, weight: Any) -> bool:
        return (
            wrapper.takes(x)
            and x.ndim == 2
            and x.size > 0
            and str(getattr(target, "dtype", "")) == "int64"
            and target.shape == x.shape[:1]
            and weight is None
            and operator.reduction in ("mean", "sum")
        )
