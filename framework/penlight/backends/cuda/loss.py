# SPDX-License-Identifier: Apache-2.0
"""Launches `loss.cu`: cross-entropy of (N, C) logits against (N,) int64 classes."""

from __future__ import annotations

from typing import Any

from penlight.backends.cuda import launch, source, wrapper


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name."""
    loss = CrossEntropy(xp, launcher)
    return {"cross_entropy": loss.forward, "cross_entropy.backward": loss.backward}


class CrossEntropy:
    """`cross_entropy`: losses (N,) and log-probabilities (N, C) in one launch, the gradient in another."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._launcher = launcher
        self._kernels = source.kernels("loss")

    def forward(self, operator: Any, x: Any, target: Any) -> Any:
        """The losses and the log-probabilities."""
        if not takes_classes(x, target):
            return NotImplemented
        losses = self._xp.empty(target.shape, x.dtype)
        log_probabilities = self._xp.empty(x.shape, x.dtype)
        self._launch("cross_entropy_forward", operator, target, {"x": x}, losses=losses, log_probabilities=log_probabilities)
        return losses, log_probabilities

    def backward(self, operator: Any, needs: Any, grad: Any, output: Any, x: Any, target: Any) -> Any:
        """The gradient of the logits from the saved log-probabilities."""
        if grad[0] is None or grad[1] is not None or not takes_classes(output[1], target) or not wrapper.takes(grad[0], output[1]):
            return NotImplemented
        grad_x = self._xp.empty(output[1].shape, output[1].dtype)
        inputs = {"log_probabilities": output[1], "grad": grad[0]}
        self._launch("cross_entropy_backward", operator, target, inputs, grad_x=grad_x)
        return grad_x, None

    def _launch(self, name: str, operator: Any, target: Any, inputs: dict[str, Any], **outputs: Any) -> None:
        values = {key: self._xp.ascontiguousarray(array) for key, array in {**inputs, "target": target}.items()}
        logits = next(iter(values.values()))
        rows, columns = logits.shape
        values.update(outputs, rows=rows, columns=columns, **operator.field_values())
        wrapper.launch(self._launcher, self._kernels[name], str(logits.dtype), launch.rows(rows, columns), values)


def takes_classes(x: Any, target: Any) -> bool:
    """Whether these are logits (N, C) and classes (N,) that the kernels of a loss take."""
    is_class = str(getattr(target, "dtype", "")) == "int64"
    return wrapper.takes(x) and x.ndim == 2 and x.size > 0 and is_class and target.shape == x.shape[:1]
