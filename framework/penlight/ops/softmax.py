# SPDX-License-Identifier: Apache-2.0
"""Softmax and its logarithm."""

from __future__ import annotations

from typing import Any, ClassVar

from penlight.dtype import as_dtype
from penlight.ops import dims as _dims
from penlight.ops.arithmetic import clamp
from penlight.ops.broadcast import floating
from penlight.ops.dispatch import apply, shortcut
from penlight.ops.elementwise import exp
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import of, sample, shapes
from penlight.tensor import Tensor

_SAMPLES = (shapes(3, 4, dim=1), shapes(2, 3, 4, dim=1), shapes(0, 3, dim=1), sample(of(5, 3, strided=True), dim=0))


class _AlongDim(Operator):
    samples: ClassVar[tuple[Any, ...]] = _SAMPLES
    saves_inputs, saves_output = False, True

    def infer(self, x: Spec) -> Spec:
        return x


@register
class Softmax(_AlongDim):
    """exp(x) / sum(exp(x)) along `dim`"""

    name = "softmax"
    onnx = "Softmax(axis=dim)"

    dim: int

    def forward(self, xp, x):
        return softmax_array(xp, x, self.dim)

    def vjp(self, grad, output, x):
        product = grad * output
        return (product - output * product.sum(self.dim, keepdim=True),)

    def backward(self, xp, needs, grad, output, x):
        result = grad * output
        result -= output * result.sum(axis=self.dim, keepdims=True)
        return (result,)


def softmax_array(xp: Any, x: Any, dim: int) -> Any:
    """Softmax of an array; the maximum is taken off first, so that exp cannot overflow."""
    if not x.size:
        return x.copy()
    if not x.ndim:
        return x * 0 + x.dtype.type(1)
    result = x - x.max(axis=dim, keepdims=True)
    xp.exp(result, out=result)
    result /= result.sum(axis=dim, keepdims=True)
    return result


@register
class LogSoftmax(_AlongDim):
    """x - log(sum(exp(x))) along `dim`"""

    name = "log_softmax"
    onnx = "LogSoftmax(axis=dim)"

    dim: int

    def forward(self, xp, x):
        return log_softmax_array(xp, x, self.dim)

    def vjp(self, grad, output, x):
        return (grad - exp(output) * grad.sum(self.dim, keepdim=True),)

    def backward(self, xp, needs, grad, output, x):
        return (grad - xp.exp(output) * grad.sum(axis=self.dim, keepdims=True),)


def log_softmax_array(xp: Any, x: Any, dim: int) -> Any:
    """The logarithm of softmax of an array, without computing softmax."""
    if not x.size:
        return x.copy()
    result = x - x.max(axis=dim, keepdims=True)
    result -= xp.log(xp.exp(result).sum(axis=dim, keepdims=True))
    return result


@shortcut("along", Softmax)
def softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """Returns exp(input) / sum(exp(input)) along `dim`; floating point, same shape."""
    input = floating(input) if dtype is None else input.to(as_dtype(dtype))
    return apply(Softmax(_dims.one("softmax", dim, input.ndim)), input)


@shortcut("along", LogSoftmax)
def log_softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """Returns log(softmax(input)) along `dim`, exact where softmax is tiny."""
    input = floating(input) if dtype is None else input.to(as_dtype(dtype))
    return apply(LogSoftmax(_dims.one("log_softmax", dim, input.ndim)), input)


def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """Returns log(sum(exp(input))) over `dim`, without overflow."""
    highest = clamp(input.detach().amax(dim, keepdim=True), min=-3e38 if input.dtype.itemsize >= 4 else -6e4)  # not -inf - -inf
    total = exp(input - highest).sum(dim, keepdim=True).log() + highest
    return total if keepdim else total.squeeze(dim)
