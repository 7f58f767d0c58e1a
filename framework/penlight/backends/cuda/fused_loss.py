# SPDX-License-Identifier: Apache-2.0
"""Launches `fused_loss.cu`: cross-entropy whose forward pass writes the gradient."""

from __future__ import annotations

from typing import Any

from penlight.backends.cuda import launch, source, wrapper
from penlight.backends.cuda.loss import takes_classes


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name."""
    loss = FusedCrossEntropy(xp, launcher)
    return {"fused_cross_entropy": loss.forward, "fused_cross_entropy.backward": loss.backward}


class FusedCrossEntropy:
    """`fused_cross_entropy`: losses (N,) and their gradients (N, C) in one launch; backward scales the rows."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._launcher = launcher
        self._kernels = source.kernels("fused_loss")

    def forward(self, operator: Any, x: Any, target: Any, weight: Any = None) -> Any:
        """The losses and their gradients."""
        if not takes_classes(x, target) or (weight is not None and not wrapper.takes(x, weight)):
            return NotImplemented
        contiguous = self._xp.ascontiguousarray
        losses, slopes = self._xp.empty(target.shape, x.dtype), self._xp.empty(x.shape, x.dtype)
        values = {"x": contiguous(x), "target": contiguous(target), "weight": None if weight is None else contiguous(weight)}
        values.update(operator.field_values(), factor=None, losses=losses, slopes=slopes)
        self._launch("fused_cross_entropy_forward", x, values)
        return losses, slopes

    def backward(self, operator: Any, needs: Any, grad: Any, output: Any, x: Any, target: Any, weight: Any = None) -> Any:
        """The gradient of the logits."""
        if grad[0] is None or grad[1] is not None or not wrapper.takes(grad[0], output[1]) or output[1].size == 0:
            return NotImplemented
        grad_x = self._xp.empty(output[1].shape, output[1].dtype)
        contiguous = self._xp.ascontiguousarray
        values = {"grad": contiguous(grad[0]), "slopes": contiguous(output[1]), "grad_x": grad_x}
        self._launch("fused_cross_entropy_backward", grad_x, values)
        return grad_x, None, None

    def _launch(self, name: str, array: Any, values: dict[str, Any]) -> None:
        rows, columns = array.shape
        values.update(rows=rows, columns=columns)
        wrapper.launch(self._launcher, self._kernels[name], str(array.dtype), launch.rows(rows, columns), values)
