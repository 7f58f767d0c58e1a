# SPDX-License-Identifier: Apache-2.0
"""Bits of integers; on bools the logical operators."""

from __future__ import annotations

from typing import Any, ClassVar

from penlight.dtype import bool_
from penlight.errors import DTypeError
from penlight.ops import compare
from penlight.ops.arithmetic import Binary
from penlight.ops.broadcast import promote
from penlight.ops.dispatch import apply
from penlight.ops.elementwise import Unary
from penlight.ops.operator import NotDifferentiable
from penlight.ops.registry import register
from penlight.ops.samples import of, sample
from penlight.tensor import Tensor

_INTEGERS = NotDifferentiable("integers have no gradient")
_SAMPLES = (
    sample(of(3, 4, dtype="int64", low=-9, high=9), of(4, dtype="int64", low=-9, high=9)),
    sample(of(0, dtype="int64"), of(0, dtype="int64")),
)
_SHIFTS = (sample(of(3, 4, dtype="int64", low=0, high=99), of(4, dtype="int64", low=0, high=9)), _SAMPLES[1])


class _Bits(Binary):
    gradient = _INTEGERS
    samples: ClassVar[tuple[Any, ...]] = _SAMPLES


@register
class BitwiseAnd(_Bits):
    """a & b"""

    name = "bitwise_and"
    onnx = "BitwiseAnd"

    def forward(self, xp, a, b):
        return xp.bitwise_and(a, b)


@register
class BitwiseOr(_Bits):
    """a | b"""

    name = "bitwise_or"
    onnx = "BitwiseOr"

    def forward(self, xp, a, b):
        return xp.bitwise_or(a, b)


@register
class BitwiseXor(_Bits):
    """a ^ b"""

    name = "bitwise_xor"
    onnx = "BitwiseXor"

    def forward(self, xp, a, b):
        return xp.bitwise_xor(a, b)


@register
class BitwiseNot(Unary):
    """~x"""

    name = "bitwise_not"
    onnx = "BitwiseNot"
    gradient = _INTEGERS
    samples = (sample(of(3, 4, dtype="int64", low=-9, high=9)), sample(of(0, dtype="int64")))

    def forward(self, xp, x):
        return xp.invert(x)


@register
class LeftShift(_Bits):
    """a * 2 ** b; bits that leave the width are lost"""

    name = "bitwise_left_shift"
    samples = _SHIFTS

    def forward(self, xp, a, b):
        return xp.left_shift(a, b)


@register
class RightShift(_Bits):
    """a // 2 ** b"""

    name = "bitwise_right_shift"
    samples = _SHIFTS

    def forward(self, xp, a, b):
        return xp.right_shift(a, b)


def _whole(name: str, a: Any, b: Any) -> tuple[Tensor, Tensor]:
    a, b = promote(a, b)
    if a.dtype.kind > 1:
        raise DTypeError(f"{name}: expected bool or integer tensors, came {a.dtype}; convert with .to(penlight.int64)")
    return a, b


def bitwise_and(input: Any, other: Any) -> Tensor:
    """Returns `input & other` of integers or bools, broadcast."""
    a, b = _whole("bitwise_and", input, other)
    return compare.logical_and(a, b) if a.dtype is bool_ else apply(BitwiseAnd(), a, b)


def bitwise_or(input: Any, other: Any) -> Tensor:
    """Returns `input | other` of integers or bools, broadcast."""
    a, b = _whole("bitwise_or", input, other)
    return compare.logical_or(a, b) if a.dtype is bool_ else apply(BitwiseOr(), a, b)


def bitwise_xor(input: Any, other: Any) -> Tensor:
    """Returns `input ^ other` of integers or bools, broadcast."""
    a, b = _whole("bitwise_xor", input, other)
    return compare.logical_xor(a, b) if a.dtype is bool_ else apply(BitwiseXor(), a, b)


def bitwise_not(input: Tensor) -> Tensor:
    """Returns the bits of an integer turned over; `not` of a bool."""
    a, _ = _whole("bitwise_not", input, input)
    return compare.logical_not(a) if a.dtype is bool_ else apply(BitwiseNot(), a)


def bitwise_left_shift(input: Any, other: Any) -> Tensor:
    """Returns the bits of `input` moved up by `other` places, integers, broadcast."""
    return apply(LeftShift(), *_whole("bitwise_left_shift", input, other))


def bitwise_right_shift(input: Any, other: Any) -> Tensor:
    """Returns the bits of `input` moved down by `other` places, integers, broadcast."""
    return apply(RightShift(), *_whole("bitwise_right_shift", input, other))
