# SPDX-License-Identifier: Apache-2.0
"""Matrix inverses and decompositions by LAPACK, with gradients; leading dimensions are batches."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from penlight.backends.backend import backend_of, visiting
from penlight.ops.arithmetic import where
from penlight.ops.dispatch import apply
from penlight.ops.mask import tril, triu
from penlight.ops.matmul import matmul
from penlight.ops.operator import NotExported, Operator, Spec
from penlight.ops.rearrange import diag_embed, diagonal
from penlight.ops.registry import register
from penlight.ops.samples import of, sample, shapes
from penlight.ops.shape import cat, narrow
from penlight.tensor import Tensor, from_array

_NO_ONNX = NotExported("ONNX has no eigenvalues or singular values")
_SQUARE = (shapes(3, 3), shapes(2, 4, 4))


class _Square(Operator):
    samples: ClassVar[tuple[Any, ...]] = _SQUARE

    def infer(self, a: Spec) -> Any:
        return a


@register
class Inverse(_Square):
    """The inverse of square matrices"""

    name = "inverse"
    saves_inputs, saves_output = False, True

    def forward(self, xp, a):
        return xp.linalg.inv(a)

    def vjp(self, grad, output, a):
        return (-matmul(matmul(output.mT, grad), output.mT),)


@register
class Solve(Operator):
    """X of A X = B, for square A (..., N, N) and B (..., N, K) of the same batch"""

    name = "solve"
    saves_output = True
    samples = (sample(of(3, 3), of(3, 2)), sample(of(2, 3, 3), of(2, 3, 1)))

    def infer(self, a: Spec, b: Spec) -> Spec:
        return b

    def forward(self, xp, a, b):
        return xp.linalg.solve(a, b)

    def vjp(self, grad, output, a, b):
        gb = apply(Solve(), a.mT, grad)
        return -matmul(gb, output.mT), gb


@register
class Det(_Square):
    """The determinants of square matrices"""

    name = "det"
    onnx = "Det"
    saves_output = True
    samples = (shapes(3, 3), shapes(2, 4, 4), shapes(1, 1))

    def infer(self, a: Spec) -> Spec:
        return Spec(a.shape[:-2], a.dtype)

    def forward(self, xp, a):
        return xp.linalg.det(a)

    def vjp(self, grad, output, a):
        return (grad.unsqueeze((-2, -1)) * _cofactors(a, output),)


def _cofactors(a: Tensor, det: Tensor) -> Tensor:
    """det * inverse.T; by singular values where a matrix has no inverse."""
    data = a._data
    with visiting(data):
        if not data.size or np.linalg.cond(data).max() < 1e12:
            return det.unsqueeze((-2, -1)) * apply(Inverse(), a).mT
        u, s, vh = np.linalg.svd(data)
        others = np.stack([np.delete(s, k, axis=-1).prod(axis=-1) for k in range(s.shape[-1])], axis=-1)
        sign = np.linalg.det(u) * np.linalg.det(vh)
        return from_array(sign[..., None, None] * ((u * others[..., None, :]) @ vh))


@register
class SlogDet(_Square):
    """The signs and the logarithms of the magnitudes of determinants"""

    name = "slogdet"
    outputs = 2

    def infer(self, a: Spec) -> tuple[Spec, Spec]:
        return Spec(a.shape[:-2], a.dtype), Spec(a.shape[:-2], a.dtype)

    def forward(self, xp, a):
        sign, size = xp.linalg.slogdet(a)
        return xp.asarray(sign), xp.asarray(size)

    def vjp(self, grad, output, a):
        if grad[1] is None:
            return (a * 0.0,)
        return (grad[1].unsqueeze((-2, -1)) * apply(Inverse(), a).mT,)


@register
class Cholesky(_Square):
    """The lower L with L L.T = A, of symmetric positive definite A; only the lower triangle of A is read"""

    name = "cholesky"
    saves_inputs, saves_output = False, True
    samples = (sample(of(1, 1, low=0.5)), sample(of(3, 1, 1, low=0.5)))

    def forward(self, xp, a):
        return xp.linalg.cholesky(a)

    def vjp(self, grad, output, a):
        middle = tril(matmul(output.mT, grad))
        middle = middle - 0.5 * diag_embed(diagonal(middle, 0, -2, -1))
        inverse = apply(Inverse(), output)
        result = matmul(matmul(inverse.mT, middle), inverse)
        return ((result + result.mT) * 0.5,)


@register
class Eigh(_Square):
    """Eigenvalues in growing order and eigenvectors of symmetric matrices"""

    name = "eigh"
    onnx = _NO_ONNX
    outputs = 2
    saves_inputs, saves_output = False, True
    samples = (sample(of(1, 1)), sample(of(2, 1, 1)))

    lower: bool = True

    def infer(self, a: Spec) -> tuple[Spec, Spec]:
        return Spec(a.shape[:-1], a.dtype), a

    def forward(self, xp, a):
        values, vectors = xp.linalg.eigh(a, "L" if self.lower else "U")
        return values, vectors

    def vjp(self, grad, output, a):
        values, vectors = output
        inner = None if grad[0] is None else diag_embed(grad[0])
        if grad[1] is not None:
            turned = matmul(vectors.mT, grad[1])
            turned = (turned - turned.mT) * 0.5 * _inverse_gaps(values)
            inner = turned if inner is None else inner + turned
        assert inner is not None  # a node runs when one of its gradients is known
        return (matmul(matmul(vectors, inner), vectors.mT),)


def _inverse_gaps(values: Tensor) -> Tensor:
    """1 / (v_j - v_i), and 0 on the diagonal."""
    gaps = values.unsqueeze(-2) - values.unsqueeze(-1)
    zero = gaps == 0
    return where(zero, 0.0, 1.0 / where(zero, 1.0, gaps))


@register
class Svd(Operator):
    """U (..., M, K), S (..., K), Vh (..., K, N) with U diag(S) Vh = A; square U and Vh if `full`"""

    name = "svd"
    onnx = _NO_ONNX
    outputs = 3
    saves_inputs, saves_output = False, True
    samples = (shapes(1, 1), sample(of(2, 1, 1)))

    full: bool = False

    def infer(self, a: Spec) -> tuple[Spec, Spec, Spec]:
        *lead, m, n = a.shape
        k = m if m < n else n
        u, v = (m, n) if self.full else (k, k)
        return Spec((*lead, m, u), a.dtype), Spec((*lead, k), a.dtype), Spec((*lead, v, n), a.dtype)

    def forward(self, xp, a):
        u, s, vh = xp.linalg.svd(a, full_matrices=self.full)
        return u, s, vh

    def vjp(self, grad, output, a):
        u, s, vh = output
        gu, gs, gvh = grad
        k = s.shape[-1]
        if self.full:
            u, vh = narrow(u, u.ndim - 1, 0, k), narrow(vh, vh.ndim - 2, 0, k)
            gu = None if gu is None else narrow(gu, gu.ndim - 1, 0, k)
            gvh = None if gvh is None else narrow(gvh, gvh.ndim - 2, 0, k)
        return (svd_gradient(u, s, vh, gu, gs, gvh),)


def svd_gradient(u: Tensor, s: Tensor, vh: Tensor, gu: Any, gs: Any, gvh: Any) -> Tensor:
    """The gradient of A (Townsend 2016, "Differentiating the Singular Value Decomposition")."""
    inner = diag_embed(gs if gs is not None else s * 0.0)
    gaps = _inverse_gaps(s * s) if gu is not None or gvh is not None else None
    result = None
    if gu is not None:
        turned = matmul(u.mT, gu)
        inner = inner + (turned - turned.mT) * gaps * s.unsqueeze(-2)
    if gvh is not None:
        turned = matmul(vh, gvh.mT)
        inner = inner + s.unsqueeze(-1) * ((turned - turned.mT) * gaps)
    result = matmul(matmul(u, inner), vh)
    if gu is not None and u.shape[-2] > u.shape[-1]:
        scaled = gu / s.unsqueeze(-2)
        result = result + matmul(scaled - matmul(u, matmul(u.mT, scaled)), vh)
    if gvh is not None and vh.shape[-1] > vh.shape[-2]:
        scaled = gvh / s.unsqueeze(-1)
        result = result + matmul(u, scaled - matmul(matmul(scaled, vh.mT), vh))
    return result


@register
class Qr(Operator):
    """Q (..., M, K) with orthonormal columns and upper R (..., K, N) with Q R = A"""

    name = "qr"
    outputs = 2
    saves_output = True
    samples = (shapes(3, 3), shapes(4, 3), shapes(3, 4), shapes(2, 3, 2))

    complete: bool = False

    def infer(self, a: Spec) -> tuple[Spec, Spec]:
        *lead, m, n = a.shape
        k = m if m < n or self.complete else n
        return Spec((*lead, m, k), a.dtype), Spec((*lead, k, n), a.dtype)

    def forward(self, xp, a):
        q, r = xp.linalg.qr(a, mode="complete" if self.complete else "reduced")
        return q, r

    def vjp(self, grad, output, a):
        q, r = output
        gq = q * 0.0 if grad[0] is None else grad[0]
        gr = r * 0.0 if grad[1] is None else grad[1]
        m, n = a.shape[-2], a.shape[-1]
        if m >= n:
            return (_qr_gradient(q, r, gq, gr),)
        rest = narrow(a, a.ndim - 1, m, n - m)
        gr1, gr2 = narrow(gr, gr.ndim - 1, 0, m), narrow(gr, gr.ndim - 1, m, n - m)
        first = _qr_gradient(q, narrow(r, r.ndim - 1, 0, m), gq + matmul(rest, gr2.mT), gr1)
        return (cat([first, matmul(q, gr2)], a.ndim - 1),)


def _qr_gradient(q: Tensor, r: Tensor, gq: Tensor, gr: Tensor) -> Tensor:
    inner = triu(matmul(gr, r.mT) - matmul(q.mT, gq))
    inner = inner + inner.mT - diag_embed(diagonal(inner, 0, -2, -1))
    return apply(Solve(), r, (gq + matmul(q, inner)).mT).mT


@register
class Pinv(Operator):
    """The pseudo-inverse; singular values below the tolerance count as 0"""

    name = "pinv"
    onnx = _NO_ONNX
    saves_output = True
    samples = (shapes(3, 2), shapes(2, 2, 4))

    rtol: Any = 1e-15  # a number, or nested tuples of one per matrix
    hermitian: bool = False  # only the lower triangle is read

    def infer(self, a: Spec) -> Spec:
        return Spec((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)

    def forward(self, xp, a):
        if self.hermitian:
            a = xp.tril(a) + xp.tril(a, -1).swapaxes(-1, -2)
        return xp.linalg.pinv(a, xp.asarray(self.rtol)) if a.size else xp.zeros(self.infer(a).shape, a.dtype)

    def vjp(self, grad, output, a):
        p, g = output, grad.mT
        if a.shape[-2] <= a.shape[-1]:
            k = matmul(g, p)
            kp = matmul(k, p.mT)
            return (-matmul(p, k).mT + kp - matmul(matmul(a, p), kp) + matmul(matmul(p.mT, p), g - matmul(k, a)),)
        k = matmul(p, g)
        pk = matmul(p.mT, k)
        return (-matmul(k, p).mT + matmul(matmul(g - matmul(a, k), p), p.mT) + pk - matmul(matmul(pk, p), a),)


@register
class Lu(_Square):
    """P, L, U with P L U = A and partial pivoting, by Gaussian elimination"""

    name = "lu"
    outputs = 3
    saves_inputs, saves_output = False, True

    def infer(self, a: Spec) -> tuple[Spec, Spec, Spec]:
        *lead, m, n = a.shape
        k = m if m < n else n
        return Spec((*lead, m, m), a.dtype), Spec((*lead, m, k), a.dtype), Spec((*lead, k, n), a.dtype)

    def forward(self, xp, a):
        compact, rows = lu_arrays(a)
        m, n = a.shape[-2:]
        k = min(m, n)
        permutation = xp.zeros((*a.shape[:-2], m, m), dtype=a.dtype)
        np.put_along_axis(permutation, rows[..., None, :], 1, axis=-2)
        lower = xp.tril(compact[..., :k], -1) + xp.eye(m, k, dtype=a.dtype)
        return permutation, lower, xp.triu(compact[..., :k, :])

    def vjp(self, grad, output, a):
        p, lower, upper = output
        m, n, k = lower.shape[-2], upper.shape[-1], lower.shape[-1]
        gl = lower * 0.0 if grad[1] is None else grad[1]
        gu = upper * 0.0 if grad[2] is None else grad[2]
        l1, u1 = narrow(lower, lower.ndim - 2, 0, k), narrow(upper, upper.ndim - 1, 0, k)
        if m == n:
            inner = tril(matmul(l1.mT, gl), -1) + triu(matmul(gu, u1.mT))
            return (matmul(p, _both(l1, inner, u1)),)
        if m < n:  # A = [A1 A2]: U2 = L^-1 P^T A2
            u2, gu1 = narrow(upper, upper.ndim - 1, k, n - k), narrow(gu, gu.ndim - 1, 0, k)
            gu2 = narrow(gu, gu.ndim - 1, k, n - k)
            inner = tril(matmul(l1.mT, gl) - matmul(gu2, u2.mT), -1) + triu(matmul(gu1, u1.mT))
            return (matmul(p, cat([_both(l1, inner, u1), apply(Solve(), l1.mT, gu2)], a.ndim - 1)),)
        l2, gl1 = narrow(lower, lower.ndim - 2, k, m - k), narrow(gl, gl.ndim - 2, 0, k)
        gl2 = narrow(gl, gl.ndim - 2, k, m - k)
        inner = tril(matmul(l1.mT, gl1), -1) + triu(matmul(gu, u1.mT) - matmul(l2.mT, gl2))
        return (matmul(p, cat([_both(l1, inner, u1), apply(Solve(), u1, gl2.mT).mT], a.ndim - 2)),)


def _both(lower: Tensor, inner: Tensor, upper: Tensor) -> Tensor:
    """L^-T X U^-T"""
    return apply(Solve(), upper, apply(Solve(), lower.mT, inner).mT).mT


def lu_arrays(a: Any) -> tuple[Any, Any]:
    """L and U in one array, and the row of A that each row came from; step by step over whole batches."""
    xp = backend_of(a).xp
    a = a.copy()
    m, n = a.shape[-2:]
    rows = xp.broadcast_to(xp.arange(m), a.shape[:-1]).copy()
    flat, order = a.reshape(-1, m, n), rows.reshape(-1, m)
    batch = xp.arange(len(flat))
    for k in range(min(m, n)):
        best = k + xp.abs(flat[:, k:, k]).argmax(axis=1) if m > k and len(flat) else xp.zeros(0, xp.int64)
        flat[batch, k], flat[batch, best] = flat[batch, best], flat[batch, k]
        order[batch, k], order[batch, best] = order[batch, best], order[batch, k]
        pivot = flat[:, k : k + 1, k]
        flat[:, k + 1 :, k] /= xp.where(pivot == 0, 1, pivot)
        flat[:, k + 1 :, k + 1 :] -= flat[:, k + 1 :, k, None] * flat[:, k, None, k + 1 :]
    return flat.reshape(a.shape), order.reshape(rows.shape)
