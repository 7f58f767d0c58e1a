# SPDX-License-Identifier: Apache-2.0
"""Parts of complex numbers. Gradients follow PyTorch: the gradient of z is that of its real part plus i times the other."""

from __future__ import annotations

import math

from penlight.dtype import complex64, complex128, float32, float64
from penlight.errors import DTypeError, ShapeError
from penlight.ops.arithmetic import where
from penlight.ops.dispatch import apply
from penlight.ops.elementwise import cos, sin
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import shapes
from penlight.ops.shape import stack
from penlight.ops.trigonometry import atan2
from penlight.tensor import Tensor


@register
class ToComplex(Operator):
    """x + 0i"""

    name = "to_complex"
    saves_inputs = False
    complex_gradient = True
    samples = (shapes(3, 4), shapes(0))

    def infer(self, x: Spec) -> Spec:
        return Spec(x.shape, complex128 if x.dtype is float64 else complex64)

    def forward(self, xp, x):
        return x.astype(xp.complex128 if x.dtype == xp.float64 else xp.complex64)

    def vjp(self, grad, output, x):
        return (real(grad),)


@register
class ToImaginary(ToComplex):
    """0 + xi"""

    name = "to_imaginary"

    def forward(self, xp, x):
        return ToComplex.forward(self, xp, x) * 1j

    def vjp(self, grad, output, x):
        return (imag(grad),)


class _Part(Operator):
    saves_inputs = False
    complex_gradient = True
    samples = (shapes(3, 4), shapes(0))

    def infer(self, x: Spec) -> Spec:
        return Spec(x.shape, {complex64: float32, complex128: float64}.get(x.dtype, x.dtype))


@register
class Real(_Part):
    """The real part, as a copy"""

    name = "real"

    def forward(self, xp, x):
        return x.real.copy()

    def vjp(self, grad, output, x):
        return (apply(ToComplex(), grad) if x.dtype.kind == 3 else grad,)


@register
class Imag(_Part):
    """The imaginary part, as a copy"""

    name = "imag"

    def forward(self, xp, x):
        return x.imag.copy()

    def vjp(self, grad, output, x):
        return (apply(ToImaginary(), grad) if x.dtype.kind == 3 else grad * 0.0,)


@register
class Conj(Operator):
    """The imaginary part turned over"""

    name = "conj"
    saves_inputs = False
    complex_gradient = True
    samples = (shapes(3, 4), shapes(0))

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, xp, x):
        return xp.conj(x)

    def vjp(self, grad, output, x):
        return (conj(grad),)


def real(input: Tensor) -> Tensor:
    """Returns the real part; the input itself where it is real."""
    return apply(Real(), input) if input.dtype.kind == 3 else input


def conj(input: Tensor) -> Tensor:
    """Returns the complex conjugate; the input itself where it is real."""
    return apply(Conj(), input) if input.dtype.kind == 3 else input


def imag(input: Tensor) -> Tensor:
    """Returns the imaginary part of a complex tensor.

    Raises:
        DTypeError: the input is real.
    """
    if input.dtype.kind != 3:
        raise DTypeError(f"imag: expected a complex tensor, came {input.dtype}; a real one has no imaginary part")
    return apply(Imag(), input)


def to_complex(input: Tensor) -> Tensor:
    """Returns the input as complex64, or complex128 for float64 and complex128."""
    if input.dtype.kind == 3:
        return input
    return apply(ToComplex(), input if input.dtype.is_floating_point else input.to(float32))


def angle(input: Tensor) -> Tensor:
    """Returns the angle of each number: 0 or pi for a real one."""
    if input.dtype.kind == 3:
        return atan2(imag(input), real(input))
    zero = input * 0.0 if input.dtype.kind == 2 else input.to(float32) * 0.0
    return where(input < 0, zero + math.pi, zero)


def is_complex(input: Tensor) -> bool:
    """Returns whether the dtype is complex."""
    return input.dtype.kind == 3


def conj_physical(input: Tensor) -> Tensor:
    """Returns the complex conjugate; `conj` computes it at once here too."""
    return conj(input)


def resolve_conj(input: Tensor) -> Tensor:
    """Returns the input: no tensor waits to be conjugated here."""
    return input


def complex(real: Tensor, imag: Tensor) -> Tensor:
    """Returns real + i * imag, of two tensors of one floating-point dtype.

    Raises:
        DTypeError: the dtypes differ, or are not floating point.
    """
    if real.dtype is not imag.dtype or not real.dtype.is_floating_point:
        raise DTypeError(f"complex: expected two floating-point tensors of one dtype, came {real.dtype} and {imag.dtype}")
    return apply(ToComplex(), real) + apply(ToImaginary(), imag)


def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """Returns the numbers of the given magnitudes and angles: abs * (cos(angle) + i * sin(angle))."""
    return complex(abs * cos(angle), abs * sin(angle))


def view_as_real(input: Tensor) -> Tensor:
    """Returns the real and imaginary parts side by side in a last dimension of size 2, as a copy."""
    return stack([real(input), imag(input)], -1)


def view_as_complex(input: Tensor) -> Tensor:
    """Returns complex numbers of a last dimension of size 2 that holds their parts, as a copy.

    Raises:
        ShapeError: the last dimension has another size.
    """
    if not input.ndim or input.shape[-1] != 2:
        raise ShapeError(f"view_as_complex: the last dimension must have size 2, came shape {tuple(map(int, input.shape))}")
    return complex(input[..., 0], input[..., 1])
