# SPDX-License-Identifier: Apache-2.0
"""Truncation, remainders with the sign of the dividend, signs."""

from __future__ import annotations

from typing import Any

from penlight.dtype import bool_
from penlight.ops.arithmetic import Binary, div, where
from penlight.ops.broadcast import broadcast_shapes, floating, promote, unbroadcast
from penlight.ops.dispatch import apply
from penlight.ops.elementwise import Step, abs, neg
from penlight.ops.elementwise import round as round_even
from penlight.ops.operator import NotDifferentiable, NotExported, Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import of, sample, shapes
from penlight.tensor import Tensor


@register
class Trunc(Step):
    """x without what is after the point"""

    name = "trunc"

    def forward(self, xp, x):
        return xp.trunc(x)


@register
class Fmod(Binary):
    """a - b * trunc(a / b): the sign is the dividend's, as in C"""

    name = "fmod"
    samples = (
        sample(of(3, 4, low=2.1, high=2.9), of(1, 4, low=0.9, high=1.0)),
        sample(of(0), of(0)),
        sample(of(7, dtype="int64", low=-9, high=9), of(7, dtype="int64", low=1, high=5)),
    )

    def forward(self, xp, a, b):
        return xp.fmod(a, b)

    def vjp(self, grad, output, a, b):
        return unbroadcast(grad, a), unbroadcast(-grad * trunc(a / b), b) if b.requires_grad else None


@register
class SignBit(Operator):
    """Whether the sign bit is set: also of -0.0"""

    name = "signbit"
    gradient = NotDifferentiable("the result is a truth value")
    samples = (shapes(3, 4), shapes(0))

    def infer(self, x: Spec) -> Spec:
        return Spec(x.shape, bool_)

    def forward(self, xp, x):
        return xp.signbit(x) if x.dtype.kind in "fV" else x < 0


@register
class NextAfter(Binary):
    """The next number of the dtype from a towards b"""

    name = "nextafter"
    onnx = NotExported("ONNX cannot step to the next number of a type")

    def forward(self, xp, a, b):
        return xp.nextafter(a, b)

    def vjp(self, grad, output, a, b):
        return unbroadcast(where(a == b, 0.0, grad), a), unbroadcast(grad * 0.0, b)  # at a = b it is taken as 0, as in PyTorch


def nextafter(input: Any, other: Any) -> Tensor:
    """Returns the next number of the dtype from `input` towards `other`, broadcast."""
    return apply(NextAfter(), *promote(input, other))


def trunc(input: Tensor) -> Tensor:
    """Returns the integer part, rounded towards 0, same dtype."""
    return apply(Trunc(), input) if input.dtype.kind >= 2 else input.clone()


def frac(input: Tensor) -> Tensor:
    """Returns what is after the point, with the sign of `input`."""
    return input - trunc(input).detach()


def fmod(input: Any, other: Any) -> Tensor:
    """Returns the remainder of `input / other` with the sign of `input`, broadcast."""
    return apply(Fmod(), *promote(input, other))


def true_divide(input: Any, other: Any) -> Tensor:
    """Returns `input / other` as floating point; see `div`."""
    return div(input, other)


def signbit(input: Tensor) -> Tensor:
    """Returns whether the sign bit is set, bool; true for -0.0."""
    return apply(SignBit(), input)


def copysign(input: Any, other: Any) -> Tensor:
    """Returns the magnitude of `input` with the sign of `other`, broadcast, floating point."""
    a, b = promote(input, other)
    a, b = floating(a), floating(b)
    shape = broadcast_shapes("copysign", a.shape, b.shape)
    a = a.expand(shape)
    flipped = where(signbit(a) == signbit(b), a, neg(a))
    return where(a == 0, where(signbit(b), -abs(a).detach(), abs(a).detach()), flipped)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Returns the nearest numbers with `decimals` digits after the point, halves to even, same dtype."""
    if not input.dtype.is_floating_point:
        return input.clone()
    if decimals == 0:
        return round_even(input)
    scale = 10.0 ** max(decimals, -decimals)
    return round_even(input * scale) / scale if decimals > 0 else round_even(input / scale) * scale
