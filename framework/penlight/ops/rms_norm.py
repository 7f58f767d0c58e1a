# SPDX-License-Identifier: Apache-2.0
"""RMS norm: one operator where the backend has a kernel for it, its formula elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from penlight.backends.backend import backend_of
from penlight.errors import ShapeError
from penlight.ops.dispatch import apply
from penlight.ops.norm import statistics_type, tail_shape
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import of, sample
from penlight.tape import mode
from penlight.tensor import Tensor


@register
class RmsNorm(Operator):
    """x / sqrt(mean(x^2) + eps) over the last `dims` dimensions, times weight if given; and per row 1 / sqrt(mean(x^2) + eps)"""

    name = "rms_norm"
    outputs = 2
    private_outputs = 1
    saves_output = True
    samples = (
        sample(of(3, 4), of(4)),
        sample(of(2, 3, 4), of(3, 4), dims=2),
        sample(of(3, 5), None),
        sample(of(0, 4), of(4)),
        sample(of(5, 3, strided=True), of(3)),
    )

    dims: int = 1
    eps: float = 1e-5

    def infer(self, x: Spec, weight: Spec | None = None) -> tuple[Spec, Spec]:
        lead = len(x.shape) - self.dims
        if weight is not None and tuple(weight.shape) != tuple(x.shape[lead:]):
            raise ShapeError(f"rms_norm: weight {tuple(weight.shape)} must be the last sizes of {tuple(map(int, x.shape))}")
        return x, Spec((*x.shape[:lead], *(1,) * self.dims), statistics_type(x.dtype))

    def _axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(range(ndim - self.dims, ndim))

    def forward(self, xp, x, weight):
        mean = xp.square(x).mean(axis=self._axes(x.ndim), keepdims=True, dtype=x.dtype)
        rstd = 1 / xp.sqrt(mean + x.dtype.type(self.eps))
        result = x * rstd
        return result if weight is None else result * weight, rstd

    def backward(self, xp, needs, grad, output, x, weight):
        if grad[0] is None or grad[1] is not None:
            return NotImplemented  # the row statistics have a gradient in a second derivative only
        axes, rest = self._axes(x.ndim), tuple(range(x.ndim - self.dims))
        rstd = output[1].astype(x.dtype, copy=False)
        normal = x * rstd
        gw = (grad[0] * normal).sum(axis=rest) if needs[1] else None
        if not needs[0]:
            return None, gw
        scaled = grad[0] if weight is None else grad[0] * weight
        result = scaled - normal * (scaled * normal).mean(axis=axes, keepdims=True)
        result *= rstd
        return result, gw

    def vjp(self, grad, output, x, weight):
        axes, rest = self._axes(x.ndim), tuple(range(x.ndim - self.dims))
        rstd, size = output[1], max(math.prod(x.shape[x.ndim - self.dims :]), 1)
        g = grad[0] if grad[0] is not None else x * 0.0
        scaled = g if weight is None else g * weight
        g_rstd: Any = (scaled * x).sum(axes, keepdim=True)
        if grad[1] is not None:
            g_rstd = g_rstd + grad[1]
        gw = (g * (x * rstd)).sum(rest) if weight is not None and weight.requires_grad else None
        return scaled * rstd + x * (g_rstd * (rstd * rstd * rstd) * (-1.0 / size)), gw


def rms_norm(
    input: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Returns input / sqrt(mean(input^2) + eps) over the last dimensions, times weight (Zhang, Sennrich 2019)."""
    tail = tail_shape("rms_norm", input, normalized_shape)
    dims = tuple(range(-len(tail), 0))
    eps = 1.1920929e-07 if eps is None else eps  # the machine epsilon of float32
    if _has_kernel(input, weight, tail):
        return apply(RmsNorm(len(tail), float(eps)), input, weight)[0]
    result = input * ((input * input).mean(dims, keepdim=True) + eps).rsqrt()
    return result if weight is None else result * weight


def _has_kernel(input: Tensor, weight: Tensor | None, tail: tuple[int, ...]) -> bool:
    """Where the backend has a kernel for it; a trace has the plain operators, which every model format knows."""
    if mode.tracer is not None or (weight is not None and (tuple(weight.shape) != tail or weight.dtype is not input.dtype)):
        return False
    return backend_of(input._data).kernel(RmsNorm.name) is not None
