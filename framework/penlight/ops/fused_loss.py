# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy that leaves its gradient where others leave log-probabilities (Hsu et al. 2024, Liger Kernel)."""

from __future__ import annotations

from typing import Any

from penlight.errors import ShapeError
from penlight.ops.arithmetic import where
from penlight.ops.operator import NotExported, Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import index, of, sample
from penlight.ops.softmax import log_softmax_array


@register
class FusedCrossEntropy(Operator):
    """Per row of x (N, C): the loss of `cross_entropy`, and its gradient (N, C) as second output.

    With the classes' weights w, t the target and s the smoothing: -sum(wanted * log p), where wanted[c] = (1 - s) * w[t] at
    c = t, plus s / C * w[c]; 0 where t is `ignore_index`. The gradient is sum(wanted) * p - wanted: in 16 bits it loses less
    than the exponential of a rounded log p. `weight` itself gets no gradient; `cross_entropy` does without this operator then.
    """

    name = "fused_cross_entropy"
    saves_inputs, saves_output = (False, True, True), True
    outputs = 2
    private_outputs = 1
    onnx = NotExported("a trace records cross_entropy, which gives the same")
    samples = (
        sample(of(4, 5), index(4, high=5), None),
        sample(of(4, 5), index(4, high=5), None, label_smoothing=0.1),
        sample(of(6, 3), index(6, high=3), None, ignore_index=1),
        sample(of(0, 3), index(0, high=3), None),
    )

    ignore_index: int = -100
    label_smoothing: float = 0.0

    def infer(self, x: Spec, target: Spec, weight: Spec | None = None) -> tuple[Spec, Spec]:
        from penlight.ops.loss import CrossEntropy  # late: that module takes this operator

        if weight is not None and tuple(weight.shape) != (x.shape[1],):
            raise ShapeError(f"fused_cross_entropy: weight {tuple(weight.shape)} must have shape ({x.shape[1]},)")
        return CrossEntropy(self.ignore_index, self.label_smoothing).infer(x, target)

    def forward(self, xp, x, target, weight):
        logp = log_softmax_array(xp, x, 1)
        kept = (target != self.ignore_index)[:, None]
        wanted = self._wanted(xp, x, target, weight) * kept
        # 0 * -inf is 0 here: a class that nobody wants costs nothing
        losses = -xp.where(wanted == 0, x.dtype.type(0), wanted * logp).sum(axis=1)
        return losses.astype(x.dtype), xp.exp(logp) * wanted.sum(axis=1, keepdims=True) - wanted

    def _wanted(self, xp, x, target, weight):
        classes = x.shape[1]
        rows, safe = xp.arange(x.shape[0]), xp.where(target != self.ignore_index, target, 0)
        weights = xp.ones(classes, x.dtype) if weight is None else weight
        wanted = xp.zeros(x.shape, x.dtype) + weights * x.dtype.type(self.label_smoothing / classes)
        wanted[rows, safe] += weights[safe] * x.dtype.type(1 - self.label_smoothing)
        return wanted

    def backward(self, xp, needs, grad, output, x, target, weight):
        if grad[0] is None or grad[1] is not None:
            return NotImplemented  # the gradient has a gradient in a second derivative only
        return grad[0][:, None] * output[1], None, None

    def vjp(self, grad, output, x, target, weight):
        slopes = output[1]
        gx: Any = 0.0 if grad[0] is None else grad[0].unsqueeze(1) * slopes
        if grad[1] is not None:
            gx = gx + self._second(grad[1], slopes, target, weight)
        return gx, None, None

    def _second(self, grad, slopes, target, weight):
        """Through sum(wanted) * p, where p comes from the slopes again."""
        classes, kept = slopes.shape[1], target != self.ignore_index
        safe = where(kept, target, 0)
        chosen: Any = 1.0 if weight is None else weight.index_select(0, safe).unsqueeze(1)
        smooth: Any = self.label_smoothing / classes * (1.0 if weight is None else weight)
        wanted = safe.one_hot(classes).to(slopes.dtype) * chosen * (1.0 - self.label_smoothing) + smooth
        total = wanted.sum(1, keepdim=True)
        p = (slopes + wanted) / where(total == 0, 1.0, total)
        through = total * p * (grad - (grad * p).sum(1, keepdim=True))
        return where(kept.unsqueeze(1), through, 0.0)
