# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of two operands with broadcasting, powers, limits and choices."""

from __future__ import annotations

from typing import Any, ClassVar

from penlight.dtype import bool_, int64
from penlight.ops.broadcast import broadcast_shapes, constant, floating, operand, promote, reduced, same_dtype, unbroadcast
from penlight.ops.dispatch import apply, shortcut
from penlight.ops.elementwise import Unary, ceil, floor, log
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import of, sample, shapes
from penlight.tensor import Tensor

_BINARY = (
    sample(of(3, 4), of(3, 4)),
    sample(of(2, 3, 4), of(4)),
    sample(of(3, 1), of(1, 4)),
    sample(of(), of(2, 3)),
    sample(of(0, 3), of(3)),
    sample(of(5, 3, strided=True), of(5, 3)),
)


_APART = (sample(of(3, 4, distinct=True), of(3, 1, low=-1.9, high=2.1, distinct=True)), sample(of(0), of(0)))


_DIVISOR = tuple(sample(s.inputs[0], of(*s.inputs[1].shape, low=0.5, high=2)) for s in _BINARY if s.inputs[1])


class Binary(Operator):
    """Two inputs of one dtype that broadcast."""

    samples: ClassVar[tuple[Any, ...]] = _BINARY

    def infer(self, a: Spec, b: Spec) -> Spec:
        return Spec(broadcast_shapes(self.name, a.shape, b.shape), same_dtype(self.name, a, b))


@register
class Add(Binary):
    """a + b"""

    name = "add"
    complex_gradient = True
    onnx = "Add"
    saves_inputs = False
    samples = (*_BINARY, sample(of(3, dtype="int64"), of(2, 1, dtype="int64")))

    def forward(self, xp, a, b):
        return xp.add(a, b)

    def vjp(self, grad, output, a, b):
        return unbroadcast(grad, a), unbroadcast(grad, b)

    def backward(self, xp, needs, grad, output, a, b):
        return reduced(grad, a) if needs[0] else None, reduced(grad, b) if needs[1] else None


@register
class Sub(Binary):
    """a - b"""

    name = "sub"
    complex_gradient = True
    onnx = "Sub"
    saves_inputs = False

    def forward(self, xp, a, b):
        return xp.subtract(a, b)

    def vjp(self, grad, output, a, b):
        return unbroadcast(grad, a), unbroadcast(-grad, b) if b.requires_grad else None

    def backward(self, xp, needs, grad, output, a, b):
        return reduced(grad, a) if needs[0] else None, reduced(-grad, b) if needs[1] else None


@register
class Mul(Binary):
    """a * b"""

    name = "mul"
    onnx = "Mul"
    saves_inputs = "others"

    def forward(self, xp, a, b):
        return xp.multiply(a, b)

    def vjp(self, grad, output, a, b):
        ga = unbroadcast(grad * b, a) if a.requires_grad else None
        return ga, unbroadcast(grad * a, b) if b.requires_grad else None

    def backward(self, xp, needs, grad, output, a, b):
        return reduced(grad * b, a) if needs[0] else None, reduced(grad * a, b) if needs[1] else None


@register
class Div(Binary):
    """a / b, floating point"""

    name = "div"
    onnx = "Div"
    samples = _DIVISOR

    def forward(self, xp, a, b):
        return xp.true_divide(a, b)

    def vjp(self, grad, output, a, b):
        ga = grad / b
        return unbroadcast(ga, a) if a.requires_grad else None, unbroadcast(-ga * (a / b), b) if b.requires_grad else None

    def backward(self, xp, needs, grad, output, a, b):
        ga = grad / b
        return reduced(ga, a) if needs[0] else None, reduced(-ga * (a / b), b) if needs[1] else None


@register
class FloorDivide(Binary):
    """The largest integer <= a / b, in the dtype of the inputs"""

    name = "floor_divide"
    samples = (*_DIVISOR[:3], sample(of(7, dtype="int64", low=-9, high=9), of(7, dtype="int64", low=1, high=5)))

    def forward(self, xp, a, b):
        return xp.floor_divide(a, b)

    def vjp(self, grad, output, a, b):
        return unbroadcast(grad * 0.0, a), unbroadcast(grad * 0.0, b)


@register
class Remainder(Binary):
    """a - b * floor(a / b): the sign is the divisor's, as in Python"""

    name = "remainder"
    samples = (sample(of(3, 4, low=2.1, high=2.9), of(1, 4, low=0.9, high=1.0)), sample(of(0), of(0)))

    def forward(self, xp, a, b):
        return xp.remainder(a, b)

    def vjp(self, grad, output, a, b):
        return unbroadcast(grad, a), unbroadcast(-grad * floor_divide(a, b), b) if b.requires_grad else None


@register
class Pow(Binary):
    """a ** b"""

    name = "pow"
    onnx = "Pow"
    saves_output = True
    samples = (
        sample(of(3, 4, low=0.5, high=2), of(3, 4)),
        sample(of(3, low=0.5, high=2), of()),
        sample(of(0), of(0)),
        sample(of(2, 1, low=0.5, high=2), of(3)),
    )

    def forward(self, xp, a, b):
        if b.dtype.kind == "i" and (b < 0).any():
            return _whole_power(xp, a, b)
        return xp.power(a, b)

    def vjp(self, grad, output, a, b):
        ga = unbroadcast(grad * b * pow(a, b - 1), a) if a.requires_grad else None
        if not b.requires_grad:
            return ga, None
        # 0 ** b has the gradient 0, not 0 * log(0)
        logarithm = where(a > 0, log(where(a > 0, a, 1.0)), 0.0)
        return ga, unbroadcast(grad * output * logarithm, b)


def _whole_power(xp: Any, a: Any, b: Any) -> Any:
    """Powers of integers, some of them negative: 1 / a ** n towards 0, and 0 for a = 0, as in PyTorch."""
    sign = xp.where(b % 2 == 0, 1, a)
    inverse = xp.where(xp.abs(a) == 1, sign, 0)
    return xp.where(b < 0, inverse, xp.power(a, xp.maximum(b, 0))).astype(a.dtype, copy=False)


@register
class PowScalar(Unary):
    """x ** exponent for a fixed exponent"""

    name = "pow_scalar"
    samples = (
        shapes(3, 4, exponent=2.0),
        sample(of(3, 4, low=0.5), exponent=-0.5),
        shapes(0, exponent=3.0),
        sample(of(5, 3, low=0.5, strided=True), exponent=1.5),
    )

    exponent: float = 2.0

    def forward(self, xp, x):
        if self.exponent == 2:
            return xp.multiply(x, x)
        if self.exponent == 3:
            return x * x * x
        return xp.power(x, x.dtype.type(self.exponent))

    def vjp(self, grad, output, x):
        if self.exponent == 2:
            return (grad * (x * 2.0),)
        return (grad * (pow(x, self.exponent - 1) * self.exponent),)

    def backward(self, xp, needs, grad, output, x):
        slope = x if self.exponent == 2 else xp.power(x, x.dtype.type(self.exponent - 1))
        return (grad * (slope * x.dtype.type(self.exponent)),)


def _extremum(grad: Tensor, chosen: Tensor, other: Tensor, wins: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of maximum and minimum: all to the winner, half to each on a tie, as in PyTorch."""
    share = where(chosen == other, grad * 0.5, where(wins, grad, 0.0))
    return unbroadcast(share, chosen), unbroadcast(grad - share, other)


@register
class Maximum(Binary):
    """The larger of a and b; NaN if either is"""

    name = "maximum"
    onnx = "Max"
    samples = _APART

    def forward(self, xp, a, b):
        return xp.maximum(a, b)

    def vjp(self, grad, output, a, b):
        return _extremum(grad, a, b, a > b)


@register
class Minimum(Binary):
    """The smaller of a and b; NaN if either is"""

    name = "minimum"
    onnx = "Min"
    samples = _APART

    def forward(self, xp, a, b):
        return xp.minimum(a, b)

    def vjp(self, grad, output, a, b):
        return _extremum(grad, a, b, a < b)


@register
class Where(Operator):
    """a where the condition holds, else b; all three broadcast"""

    name = "where"
    onnx = "Where"
    saves_inputs = (True, False)
    samples = (
        sample(of(3, 4, dtype="bool", low=0), of(3, 4), of(3, 4)),
        sample(of(3, 1, dtype="bool", low=0), of(4), of()),
        sample(of(0, dtype="bool", low=0), of(0), of(1)),
    )

    def infer(self, condition: Spec, a: Spec, b: Spec) -> Spec:
        return Spec(broadcast_shapes("where", condition.shape, a.shape, b.shape), same_dtype("where", a, b))

    def forward(self, xp, condition, a, b):
        return xp.where(condition, a, b)

    def vjp(self, grad, output, condition, a, b):
        ga = unbroadcast(where(condition, grad, 0.0), a) if a.requires_grad else None
        return None, ga, unbroadcast(where(condition, 0.0, grad), b) if b.requires_grad else None

    def backward(self, xp, needs, grad, output, condition, a, b):
        zero = grad.dtype.type(0)
        ga = reduced(xp.where(condition, grad, zero), a) if needs[1] else None
        return None, ga, reduced(xp.where(condition, zero, grad), b) if needs[2] else None


@register
class Clamp(Unary):
    """min(max(x, low), high); a bound that is None does not bind"""

    name = "clamp"
    samples = (
        sample(of(3, 4, distinct=True), low=-1.01, high=1.01),
        sample(of(5, distinct=True), low=0.01, high=None),
        sample(of(0), low=None, high=1.0),
    )

    low: float | None = None
    high: float | None = None

    def forward(self, xp, x):
        return xp.clip(x, self.low, self.high)

    def vjp(self, grad, output, x):
        inside = None
        for bound, holds in ((self.low, _ge), (self.high, _le)):
            if bound is not None:
                inside = holds(x, bound) if inside is None else inside & holds(x, bound)
        return (grad if inside is None else where(inside, grad, 0.0),)

    def backward(self, xp, needs, grad, output, x):
        inside = xp.ones(x.shape, dtype=bool)
        if self.low is not None:
            inside &= x >= self.low
        if self.high is not None:
            inside &= x <= self.high
        return (xp.where(inside, grad, grad.dtype.type(0)),)


@shortcut("binary", Add)
def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Returns `input + alpha * other`, broadcast and promoted."""
    a, b = promote(input, other)
    return apply(_ADD, a, b if alpha == 1 else mul(b, alpha))


@shortcut("binary", Sub)
def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """Returns `input - alpha * other`, broadcast and promoted."""
    a, b = promote(input, other)
    return apply(_SUB, a, b if alpha == 1 else mul(b, alpha))


@shortcut("binary", Mul)
def mul(input: Any, other: Any) -> Tensor:
    """Returns `input * other`, broadcast and promoted."""
    a, b = promote(input, other)
    return apply(_MUL, a, b)


@shortcut("binary", Div)
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """Returns `input / other`; integers become float32 first, unless `rounding_mode` is "floor" or "trunc"."""
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        quotient, kind = div(input, other), promote(input, other)[0].dtype
        return where(quotient < 0, ceil(quotient), floor(quotient)).to(kind)
    a, b = promote(input, other)
    if not a.dtype.is_floating_point:
        a, b = floating(a), floating(b)
    return apply(_DIV, a, b)


def floor_divide(input: Any, other: Any) -> Tensor:
    """Returns the largest integer <= `input / other`, in the promoted dtype."""
    return apply(_FLOOR_DIVIDE, *promote(input, other))


def remainder(input: Any, other: Any) -> Tensor:
    """Returns `input` modulo `other`, with the sign of `other`, as `%` in Python."""
    return apply(_REMAINDER, *promote(input, other))


def pow(input: Any, exponent: Any) -> Tensor:
    """Returns `input ** exponent`, broadcast and promoted."""
    if isinstance(exponent, (int, float)) and isinstance(input, Tensor) and input.dtype.is_floating_point:
        if exponent == 1:
            return input
        if exponent == 0:
            return mul(input, 0.0) + 1.0
        return apply(PowScalar(float(exponent)), input)
    return apply(_POW, *promote(input, exponent))


@shortcut("binary", Maximum)
def maximum(input: Any, other: Any) -> Tensor:
    """Returns the larger element of the two, broadcast; NaN if either is NaN."""
    return apply(_MAXIMUM, *promote(input, other))


@shortcut("binary", Minimum)
def minimum(input: Any, other: Any) -> Tensor:
    """Returns the smaller element of the two, broadcast; NaN if either is NaN."""
    return apply(_MINIMUM, *promote(input, other))


def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """Returns `input` where `condition` (bool) holds, else `other`; all three broadcast."""
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = operand(input)
        input = constant(input.item(), input.dtype, condition) if condition.device.type != "cpu" else input
    return apply(_WHERE, condition, *promote(input, other))


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Returns `input` limited to [min, max]; bounds are numbers or tensors, or None for no bound."""
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        lower = input if min is None else maximum(input, min)
        return lower if max is None else minimum(lower, max)
    convert = float if input.dtype.is_floating_point else int
    return apply(Clamp(None if min is None else convert(min), None if max is None else convert(max)), input)


def square(input: Tensor) -> Tensor:
    """Returns input ** 2; int64 for truth values."""
    if input.dtype.is_floating_point:
        return pow(input, 2)
    x = input.to(int64) if input.dtype is bool_ else input
    return mul(x, x)


def _ge(a: Tensor, bound: float) -> Tensor:
    return a >= bound


def _le(a: Tensor, bound: float) -> Tensor:
    return a <= bound


_ADD, _SUB, _MUL, _DIV, _POW, _WHERE = Add(), Sub(), Mul(), Div(), Pow(), Where()
_FLOOR_DIVIDE, _REMAINDER, _MAXIMUM, _MINIMUM = FloorDivide(), Remainder(), Maximum(), Minimum()
