# SPDX-License-Identifier: Apache-2.0
"""Linear algebra under PyTorch's names; `penlight.linalg` is this module's public face."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.dtype import as_dtype
from penlight.errors import ArgumentError, ShapeError
from penlight.ops import dims as _dims
from penlight.ops import statistics
from penlight.ops.blend import cross as any_cross
from penlight.ops.broadcast import broadcast_shapes, floating
from penlight.ops.create import eye as new_eye
from penlight.ops.decompose import Cholesky, Det, Eigh, Inverse, Lu, Pinv, Qr, SlogDet, Solve, Svd, lu_arrays
from penlight.ops.dispatch import apply
from penlight.ops.elementwise import abs as magnitude
from penlight.ops.mask import tril, triu
from penlight.ops.matmul import matmul
from penlight.ops.precision import under_autocast
from penlight.ops.rearrange import diagonal as any_diagonal
from penlight.ops.rearrange import movedim
from penlight.ops.rearrange import vander as any_vander
from penlight.ops.results import named
from penlight.ops.shape import narrow
from penlight.tensor import Tensor, from_array, from_numpy


def check_square(name: str, a: Tensor) -> Tensor:
    """The input as floating point, if it holds square matrices."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"linalg.{name}: expected square matrices (..., N, N), came {tuple(a.shape)}")
    return floating(a)


def inv(A: Tensor) -> Tensor:
    """Returns the inverses of square matrices (..., N, N).

    Raises:
        ValueError: a matrix has no inverse.
    """
    return apply(Inverse(), check_square("inv", A))


def det(A: Tensor) -> Tensor:
    """Returns the determinants of square matrices (..., N, N)."""
    return apply(Det(), check_square("det", A))


@named("sign", "logabsdet")
def slogdet(A: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the signs of the determinants and the logarithms of their magnitudes."""
    return apply(SlogDet(), check_square("slogdet", A))


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """Returns the lower L with L L.T = A (or its transpose) of symmetric positive definite matrices."""
    lower = apply(Cholesky(), check_square("cholesky", A))
    return lower.mT if upper else lower


def _is_vector(A: Tensor, B: Tensor) -> bool:
    """Whether B holds one right-hand side per matrix instead of columns, by PyTorch's rule."""
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1]))


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """Returns X of A X = B, or of X A = B unless `left`; B is (..., N, K), or (..., N) for single right-hand sides."""
    check_square("solve", A)
    if left and _is_vector(A, B):
        return solve(A, B.unsqueeze(-1)).squeeze(-1)
    if not left:
        return solve(A.mT, B.mT).mT
    lead = broadcast_shapes("linalg.solve", A.shape[:-2], B.shape[:-2])
    return apply(Solve(), A.expand((*lead, *A.shape[-2:])), B.expand((*lead, *B.shape[-2:])))


def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """Returns X of A X = B where only the upper (or lower) triangle of A is read."""
    triangle = triu(A, int(unitriangular)) if upper else tril(A, -int(unitriangular))
    if unitriangular:
        triangle = triangle + new_eye(A.shape[-1], dtype=A.dtype)
    if not left:
        return solve(triangle.mT, B.mT).mT
    lead = broadcast_shapes("linalg.solve_triangular", A.shape[:-2], B.shape[:-2])
    return apply(Solve(), triangle.expand((*lead, *A.shape[-2:])), B.expand((*lead, *B.shape[-2:])))


@named("U", "S", "Vh")
def svd(A: Tensor, full_matrices: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Returns U, S and Vh with U diag(S) Vh = A; S falls."""
    return apply(Svd(bool(full_matrices)), floating(A))


def svdvals(A: Tensor) -> Tensor:
    """Returns the singular values of matrices, falling."""
    return apply(Svd(False), floating(A))[1]


@named("Q", "R")
def qr(A: Tensor, mode: str = "reduced") -> tuple[Tensor, Tensor]:
    """Returns Q and R with Q R = A; `mode` is "reduced", "complete" or "r" (an empty Q)."""
    if mode not in ("reduced", "complete", "r"):
        raise ArgumentError(f'linalg.qr: mode must be "reduced", "complete" or "r", came {mode!r}')
    q, r = apply(Qr(mode == "complete"), floating(A))
    return (from_array(np.zeros(0, A.dtype.numpy)), r) if mode == "r" else (q, r)


@named("eigenvalues", "eigenvectors")
def eigh(A: Tensor, UPLO: str = "L") -> tuple[Tensor, Tensor]:
    """Returns the eigenvalues, growing, and the eigenvectors of symmetric matrices, of which one triangle is read."""
    return apply(Eigh(UPLO.upper() == "L"), check_square("eigh", A))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Returns the eigenvalues of symmetric matrices, growing."""
    return eigh(A, UPLO)[0]


@named("P", "L", "U")
def lu(A: Tensor, *, pivot: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Returns P, L and U with P L U = A."""
    if not pivot:
        raise ArgumentError("linalg.lu: pivot=False is not supported; it is unstable, and PyTorch has it on CUDA only")
    return apply(Lu(), floating(A))


@named("LU", "pivots")
def lu_factor(A: Tensor, *, pivot: bool = True) -> tuple[Tensor, Tensor]:
    """Returns L and U in one matrix and the exchanges of rows (int32, counted from 1)."""
    _, lower, upper = lu(A, pivot=pivot)
    m, n, k = A.shape[-2], A.shape[-1], lower.shape[-1]
    wide = lower if m >= n else lower @ new_eye(k, n, dtype=A.dtype)
    tall = upper if m <= n else new_eye(m, k, dtype=A.dtype) @ upper
    _, rows = lu_arrays(A._data)
    return tril(wide, -1) + triu(tall), from_array(_exchanges(rows, k))


def _exchanges(rows: np.ndarray, count: int) -> np.ndarray:
    """LAPACK's form of a permutation: row k was exchanged with row pivots[k]."""
    flat = rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1])
    pivots = np.zeros((len(flat), count), np.int32)
    for line, wanted in zip(pivots, flat, strict=True):
        current = list(range(rows.shape[-1]))
        for k in range(count):
            place = current.index(wanted[k])
            current[k], current[place] = current[place], current[k]
            line[k] = place + 1
    return pivots.reshape(*rows.shape[:-1], count)


def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """Returns X of A X = B (or A.T X = B, X A = B) from what `lu_factor` returned for A."""
    size = LU.shape[-1]
    lower = tril(LU, -1) + new_eye(size, dtype=LU.dtype)
    product = matmul(lower, triu(LU))
    order = _order(pivots._data, size)
    restored = product.take_along_dim(from_numpy(np.argsort(order, axis=-1)).unsqueeze(-1), -2)
    return solve(restored.mT if adjoint else restored, B, left=left) if B.ndim > 1 else solve(restored, B)


def _order(pivots: np.ndarray, size: int) -> np.ndarray:
    flat = pivots.reshape(math.prod(pivots.shape[:-1]), pivots.shape[-1])
    result = np.broadcast_to(np.arange(size), (len(flat), size)).copy()
    for line, steps in zip(result, flat, strict=True):
        for k, place in enumerate(steps - 1):
            line[[k, place]] = line[[place, k]]
    return result.reshape(*pivots.shape[:-1], size)


def pinv(A: Tensor, rcond: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """Returns the pseudo-inverses; singular values up to max(atol, rtol * the largest) count as 0."""
    A = floating(A)
    rtol = rcond if rtol is None else rtol
    if rtol is None and atol is None:
        rtol = float(np.finfo(A.dtype.numpy).eps) * max(A.shape[-2:])
    relative, absolute = (np.asarray(t._data if isinstance(t, Tensor) else t or 0.0, np.float64) for t in (rtol, atol))
    if absolute.any() and A.numel():
        relative = np.maximum(relative, absolute / np.linalg.svd(A._data, compute_uv=False).max(axis=-1))
    return apply(Pinv(_nested(relative.tolist()), hermitian), A)


def _nested(value: Any) -> Any:
    return tuple(_nested(v) for v in value) if isinstance(value, list) else value


@named("solution", "residuals", "rank", "singular_values")
def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> tuple[Tensor, ...]:
    """Returns the least-squares solution of A X = B, the residuals, the ranks and the singular values."""
    vector = _is_vector(A, B)
    columns = B.unsqueeze(-1) if vector else B
    solution = matmul(pinv(A, rcond), columns)
    m, n = A.shape[-2:]
    empty = from_array(np.zeros(0, A.dtype.numpy))
    full = m > n and driver not in (None, "gelsy")  # as LAPACK's drivers do
    residuals = ((matmul(A, solution) - columns) ** 2).sum(-2) if full else narrow(solution.reshape(-1), 0, 0, 0)
    rank = matrix_rank(A, rtol=rcond) if driver in (None, "gelsy", "gelsd", "gelss") else from_array(np.zeros(0, np.int64))
    singular = svdvals(A).detach() if driver in ("gelsd", "gelss") else empty
    return (solution.squeeze(-1) if vector else solution), residuals, rank, singular


def matrix_rank(A: Tensor, tol: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """Returns how many singular values exceed max(atol, rtol * the largest), int64."""
    data = A._data
    values = np.abs(np.linalg.eigvalsh(data)) if hermitian else np.linalg.svd(data, compute_uv=False)
    atol = tol if atol is None else atol
    atol, rtol = (t._data if isinstance(t, Tensor) else t for t in (atol, rtol))
    if rtol is None:
        has_limit = atol is not None and (np.asarray(atol) > 0)
        rtol = np.where(has_limit, 0.0, np.finfo(data.dtype).eps * max(data.shape[-2:]))
    largest = values.max(axis=-1, initial=0.0)
    limit = np.maximum(0.0 if atol is None else atol, rtol * largest)
    return from_array(np.asarray((values > np.asarray(limit)[..., None]).sum(axis=-1)).astype(np.int64))


def matrix_power(A: Tensor, n: int) -> Tensor:
    """Returns A multiplied with itself n times; the inverse's power for negative n."""
    check_square("matrix_power", A)
    if n < 0:
        return matrix_power(inv(A), -n)
    result = None
    while n:
        if n & 1:
            result = A if result is None else matmul(result, A)
        n >>= 1
        A = matmul(A, A) if n else A
    return A * 0.0 + new_eye(A.shape[-1], dtype=A.dtype) if result is None else result


def matrix_exp(input: Tensor) -> Tensor:
    """Returns the matrix exponentials, by scaling, a Taylor polynomial and squaring."""
    a = check_square("matrix_exp", input)
    size = float(np.abs(a._data).sum(axis=-2).max(initial=0.0))
    steps = max(0, math.ceil(math.log2(size)) + 2) if size > 0.25 else 0
    scaled = a * (0.5**steps)
    term = result = new_eye(a.shape[-1], dtype=a.dtype).expand(tuple(a.shape))
    for k in range(1, 15):  # 0.25 ** 15 / 15! is far below the precision of float64
        term = matmul(term, scaled) * (1.0 / k)
        result = result + term
    for _ in range(steps):
        result = matmul(result, result)
    return result


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """Returns the product of matrices, from the left; the first and the last may be vectors."""
    result = tensors[0]
    for t in tensors[1:]:
        result = matmul(result, t)
    return result


def vector_norm(x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Returns (sum |x|^ord)^(1/ord) over `dim` (all for None)."""
    return statistics.vector_norm(x, ord, dim, keepdim, dtype=dtype)


def matrix_norm(A: Tensor, ord: Any = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Returns a norm of the matrices in `dim`: "fro", "nuc", 1, -1, 2, -2, infinity or -infinity."""
    A = A if dtype is None else A.to(as_dtype(dtype))
    rows, columns = (_dims.one("linalg.matrix_norm", d, A.ndim) for d in dim)
    if ord == "fro":
        return vector_norm(A, 2, (rows, columns), keepdim)
    if ord in ("nuc", 2, -2):
        values = svdvals(movedim(A, (rows, columns), (-2, -1)))
        result = values.sum(-1) if ord == "nuc" else values.amax(-1) if ord == 2 else values.amin(-1)
        return result.unsqueeze(tuple(sorted((rows, columns)))) if keepdim else result
    if ord not in (1, -1, math.inf, -math.inf):
        raise ArgumentError(f'linalg.matrix_norm: ord must be "fro", "nuc", 1, -1, 2, -2, inf or -inf, came {ord!r}')
    summed, kept = (rows, columns) if ord in (1, -1) else (columns, rows)
    sums = magnitude(A).sum(summed, True)
    result = sums.amax(kept, True) if ord > 0 else sums.amin(kept, True)
    return result if keepdim else result.squeeze((rows, columns))


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Returns a vector norm over one dimension (or all without `ord`), a matrix norm over two."""
    A = floating(A) if dtype is None else A.to(as_dtype(dtype))
    if ord is None:
        return vector_norm(A, 2, dim, keepdim)
    pair = dim if isinstance(dim, (tuple, list)) and len(dim) == 2 else (-2, -1) if dim is None and A.ndim == 2 else None
    return matrix_norm(A, ord, pair, keepdim) if pair is not None else vector_norm(A, ord, dim, keepdim)


@under_autocast
def cond(A: Tensor, p: Any = None) -> Tensor:
    """Returns the condition numbers: the largest by the smallest singular value, or norm(A) * norm(inverse) for a `p`."""
    if p in (None, 2, -2):
        values = svdvals(A)
        largest, smallest = narrow(values, values.ndim - 1, 0, 1), narrow(values, values.ndim - 1, values.shape[-1] - 1, 1)
        return (smallest / largest if p == -2 else largest / smallest).squeeze(-1)
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """Returns the inverse of the map from the last dimensions of A to its first `ind`."""
    rows, columns = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    return inv(A.reshape((math.prod(rows), math.prod(columns)))).reshape((*columns, *rows))


def tensorsolve(A: Tensor, B: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """Returns X with tensordot(A, X, X.ndim) = B."""
    if dims is not None:
        A = movedim(A, tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    shape = tuple(A.shape[B.ndim :])
    return solve(A.reshape((B.numel(), math.prod(shape))), B.reshape(-1)).reshape(shape)


def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """Returns the powers 0, 1, ... N - 1 of each element, as rows."""
    return any_vander(x if x.ndim else x.reshape(1), N, True)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Returns the inner products along `dim`, broadcast."""
    return (x * y).sum(dim)


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """Returns the cross products along `dim` of size 3, broadcast."""
    return any_cross(input, other, dim)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Returns the diagonals of matrices, a view."""
    return any_diagonal(A, offset, dim1, dim2)
