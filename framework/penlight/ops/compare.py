# SPDX-License-Identifier: Apache-2.0
"""Comparison and logic: bool results, no gradient."""

from __future__ import annotations

from typing import Any, ClassVar

from penlight.dtype import bool_
from penlight.ops.broadcast import broadcast_shapes, promote, same_dtype
from penlight.ops.dispatch import apply
from penlight.ops.operator import NotDifferentiable, Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import boolean, of, sample, shapes
from penlight.tensor import Tensor

_TRUTH = NotDifferentiable("the result is a truth value")
_PAIRS = (
    sample(of(3, 4), of(3, 4)),
    sample(of(3, 1, dtype="int64"), of(4, dtype="int64")),
    sample(of(0), of(0)),
)
_TRUTHS = (sample(boolean(3, 4), boolean(4)), sample(boolean(0), boolean(0)))


class Comparison(Operator):
    """Two inputs of one dtype that broadcast; the result is bool."""

    gradient = _TRUTH
    samples: ClassVar[tuple[Any, ...]] = _PAIRS

    def infer(self, a: Spec, b: Spec) -> Spec:
        same_dtype(self.name, a, b)
        return Spec(broadcast_shapes(self.name, a.shape, b.shape), bool_)


@register
class Equal(Comparison):
    """a == b; NaN equals nothing"""

    name = "eq"
    onnx = "Equal"

    def forward(self, xp, a, b):
        return xp.equal(a, b)


@register
class NotEqual(Comparison):
    """a != b"""

    name = "ne"

    def forward(self, xp, a, b):
        return xp.not_equal(a, b)


@register
class Less(Comparison):
    """a < b"""

    name = "lt"
    onnx = "Less"

    def forward(self, xp, a, b):
        return xp.less(a, b)


@register
class LessEqual(Comparison):
    """a <= b"""

    name = "le"
    onnx = "LessOrEqual"

    def forward(self, xp, a, b):
        return xp.less_equal(a, b)


@register
class Greater(Comparison):
    """a > b"""

    name = "gt"
    onnx = "Greater"

    def forward(self, xp, a, b):
        return xp.greater(a, b)


@register
class GreaterEqual(Comparison):
    """a >= b"""

    name = "ge"
    onnx = "GreaterOrEqual"

    def forward(self, xp, a, b):
        return xp.greater_equal(a, b)


@register
class LogicalAnd(Comparison):
    """a and b, of bools"""

    name = "logical_and"
    onnx = "And"
    samples = _TRUTHS

    def forward(self, xp, a, b):
        return xp.logical_and(a, b)


@register
class LogicalOr(Comparison):
    """a or b, of bools"""

    name = "logical_or"
    onnx = "Or"
    samples = _TRUTHS

    def forward(self, xp, a, b):
        return xp.logical_or(a, b)


@register
class LogicalXor(Comparison):
    """Either a or b, of bools"""

    name = "logical_xor"
    onnx = "Xor"
    samples = _TRUTHS

    def forward(self, xp, a, b):
        return xp.logical_xor(a, b)


class Test(Operator):
    """One input; the result is bool."""

    gradient = _TRUTH
    samples: ClassVar[tuple[Any, ...]] = (shapes(3, 4), shapes(0))

    def infer(self, x: Spec) -> Spec:
        return Spec(x.shape, bool_)


@register
class LogicalNot(Test):
    """not x, of bools"""

    name = "logical_not"
    onnx = "Not"
    samples = (sample(boolean(3, 4)), sample(boolean(0)))

    def forward(self, xp, x):
        return xp.logical_not(x)


@register
class IsNan(Test):
    """Whether x is NaN"""

    name = "isnan"
    onnx = "IsNaN"

    def forward(self, xp, x):
        return xp.isnan(x)


@register
class IsInf(Test):
    """Whether x is infinite"""

    name = "isinf"
    onnx = "IsInf"

    def forward(self, xp, x):
        return xp.isinf(x)


def _truth(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) and x.dtype is bool_ else x != 0


def eq(input: Any, other: Any) -> Tensor:
    """Returns whether the elements are equal, bool, broadcast."""
    return apply(Equal(), *promote(input, other))


def ne(input: Any, other: Any) -> Tensor:
    """Returns whether the elements differ, bool, broadcast."""
    return apply(NotEqual(), *promote(input, other))


def lt(input: Any, other: Any) -> Tensor:
    """Returns `input < other`, bool, broadcast."""
    return apply(Less(), *promote(input, other))


def le(input: Any, other: Any) -> Tensor:
    """Returns `input <= other`, bool, broadcast."""
    return apply(LessEqual(), *promote(input, other))


def gt(input: Any, other: Any) -> Tensor:
    """Returns `input > other`, bool, broadcast."""
    return apply(Greater(), *promote(input, other))


def ge(input: Any, other: Any) -> Tensor:
    """Returns `input >= other`, bool, broadcast."""
    return apply(GreaterEqual(), *promote(input, other))


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Returns `input and other`, where anything but 0 is true."""
    return apply(LogicalAnd(), _truth(input), _truth(other))


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Returns `input or other`, where anything but 0 is true."""
    return apply(LogicalOr(), _truth(input), _truth(other))


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Returns whether exactly one of the two is true."""
    return apply(LogicalXor(), _truth(input), _truth(other))


def logical_not(input: Tensor) -> Tensor:
    """Returns `not input`, where anything but 0 is true."""
    return apply(LogicalNot(), _truth(input))


def isnan(input: Tensor) -> Tensor:
    """Returns whether each element is NaN."""
    return apply(IsNan(), input)


def isinf(input: Tensor) -> Tensor:
    """Returns whether each element is plus or minus infinity."""
    return apply(IsInf(), input)


def isfinite(input: Tensor) -> Tensor:
    """Returns whether each element is a number."""
    return logical_not(logical_or(isnan(input), isinf(input)))
