# SPDX-License-Identifier: Apache-2.0
"""Eigenvalues and eigenvectors of general matrices, which are complex."""

from __future__ import annotations

import numpy as np

from penlight.dtype import complex64, complex128, float64
from penlight.ops.dispatch import apply
from penlight.ops.matrix import check_square
from penlight.ops.operator import NotDifferentiable, NotExported, NotSampled, Operator, Spec
from penlight.ops.registry import register
from penlight.ops.results import named
from penlight.tensor import Tensor, from_array


@register
class Eig(Operator):
    """Eigenvalues as the first column, and eigenvectors of length 1 as the others, of square matrices"""

    name = "eig"
    onnx = NotExported("ONNX has no eigenvalues and no complex numbers")
    complex_gradient = True
    saves_inputs, saves_output = False, True
    second_derivative = NotDifferentiable("it would need gradients through complex matrix products")
    samples = NotSampled("eigenvectors have no fixed phase; tests/framework/ops/test_opinfo.py compares what does not depend on it")

    def infer(self, a: Spec) -> Spec:
        return Spec((*a.shape[:-1], a.shape[-1] + 1), complex128 if a.dtype in (float64, complex128) else complex64)

    def forward(self, xp, a):
        values, vectors = xp.linalg.eig(a)
        packed = xp.concatenate([values[..., None], vectors], axis=-1)
        return packed.astype(xp.complex128 if a.dtype in (xp.float64, xp.complex128) else xp.complex64, copy=False)

    def vjp(self, grad, output, a):
        result = self.backward(np, [True], grad._data, output._data, a)[0]
        return (from_array(result),)

    def backward(self, xp, needs, grad, output, a):
        """Boeddeker et al., "On the computation of complex-valued gradients" (2017), 4.18, with vectors of length 1."""
        values, vectors = output[..., 0], output[..., 1:]
        adjoint = xp.conj(xp.swapaxes(vectors, -1, -2))
        turned = adjoint @ grad[..., 1:]
        along = xp.real(xp.diagonal(turned, axis1=-2, axis2=-1))
        gaps = xp.conj(values[..., None, :] - values[..., :, None])
        diagonal = xp.eye(values.shape[-1], dtype=bool)
        inner = (turned - (adjoint @ vectors) * along[..., None, :]) / xp.where(diagonal, 1, gaps)
        inner = xp.where(diagonal, grad[..., :1], inner)
        result = xp.linalg.solve(adjoint, inner) @ adjoint
        return (result if a.dtype.kind == 3 else xp.real(result).astype(a.dtype.numpy, copy=False),)


@named("eigenvalues", "eigenvectors")
def eig(A: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the eigenvalues (..., N) and the eigenvectors, as columns of length 1, of (..., N, N); both complex.

    Gradients are those of functions that do not depend on the phase of the eigenvectors.
    """
    packed = apply(Eig(), check_square("eig", A))
    return packed[..., 0], packed[..., 1:]


def eigvals(A: Tensor) -> Tensor:
    """Returns the complex eigenvalues (..., N) of (..., N, N)."""
    return eig(A)[0]
