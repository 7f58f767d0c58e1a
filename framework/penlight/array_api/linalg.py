# SPDX-License-Identifier: Apache-2.0
"""The linalg extension: 23 functions. Products have gradients; decompositions are LAPACK's through NumPy, without."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from penlight.array_api import statistical
from penlight.array_api.array import Array, arrays_of, check_array, is_recorded, module_of, wrap
from penlight.array_api.elementwise import FUNCTIONS
from penlight.array_api.manipulation import axes_of, axis_of, expand_dims, moveaxis, reshape
from penlight.array_api.manipulation import matrix_transpose as matrix_transpose
from penlight.array_api.promotion import check_kind, in_dtype, result_type
from penlight.errors import ArgumentError, ShapeError
from penlight.ops.matmul import matmul as matmul_operator

_conj, _multiply = FUNCTIONS["conj"], FUNCTIONS["multiply"]


class EighResult(NamedTuple):
    """Of `eigh`."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """Of `qr`."""

    Q: Array
    R: Array


class SlogdetResult(NamedTuple):
    """Of `slogdet`."""

    sign: Array
    logabsdet: Array


class SVDResult(NamedTuple):
    """Of `svd`."""

    U: Array
    S: Array
    Vh: Array


def _matrices(name: str, *values: Any) -> list[Any]:
    check_array(name, *values)
    for x in values:
        check_kind(name, "floating-point", x.dtype)
        if x.ndim < 2:
            raise ShapeError(f"{name}: expected matrices, came shape {tuple(x.shape)}")
    return arrays_of(name, *values)


def matmul(x1: Any, x2: Any, /) -> Array:
    """Returns the matrix product; 1-dim arrays count as a row on the left and a column on the right."""
    check_array("matmul", x1, x2)
    check_kind("matmul", "numeric", x1.dtype, x2.dtype)
    dtype = result_type(x1, x2)
    a, b = in_dtype(x1, dtype), in_dtype(x2, dtype)
    if not (a.ndim and b.ndim):
        raise ShapeError("matmul: expected at least 1 dimension, came a 0-dim array; use multiply")
    if is_recorded(a, b):
        return wrap(matmul_operator(a, b))
    return wrap(module_of(a).matmul(a._data, b._data))


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Array:
    """Returns the products summed along a dimension, x1 conjugated; the other dimensions broadcast."""
    check_array("vecdot", x1, x2)
    check_kind("vecdot", "numeric", x1.dtype, x2.dtype)
    if not -builtins.min(x1.ndim, x2.ndim) <= axis < 0:
        raise ArgumentError(f"vecdot: axis must be in [-{builtins.min(x1.ndim, x2.ndim)}, -1], came {axis}")
    if x1.shape[axis] != x2.shape[axis]:
        raise ShapeError(f"vecdot: sizes {x1.shape[axis]} and {x2.shape[axis]} along axis {axis} differ")
    left = moveaxis(_conj(x1) if x1.dtype.kind == 3 else x1, axis, -1)
    right = moveaxis(x2, axis, -1)
    product = matmul(expand_dims(left, -2), expand_dims(right, -1))
    return reshape(product, product.shape[:-2])


def tensordot(x1: Any, x2: Any, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Array:
    """Returns products summed over pairs of dimensions: the last of x1 with the first of x2, or the given ones."""
    check_array("tensordot", x1, x2)
    check_kind("tensordot", "numeric", x1.dtype, x2.dtype)
    if isinstance(axes, int):
        lefts, rights = list(range(x1.ndim - axes, x1.ndim)), list(range(axes))
    else:
        lefts, rights = [axis_of("tensordot", a, x1.ndim) for a in axes[0]], [axis_of("tensordot", a, x2.ndim) for a in axes[1]]
    if [x1.shape[i] for i in lefts] != [x2.shape[i] for i in rights]:
        raise ShapeError(f"tensordot: sizes along {lefts} of {tuple(x1.shape)} and {rights} of {tuple(x2.shape)} differ")
    keep1 = [i for i in range(x1.ndim) if i not in lefts]
    keep2 = [i for i in range(x2.ndim) if i not in rights]
    inner = math.prod(x1.shape[i] for i in lefts)
    shape = [x1.shape[i] for i in keep1] + [x2.shape[i] for i in keep2]
    a = reshape(_ordered(x1, keep1 + lefts), (math.prod(x1.shape[i] for i in keep1), inner))
    b = reshape(_ordered(x2, rights + keep2), (inner, math.prod(x2.shape[i] for i in keep2)))
    return reshape(matmul(a, b), shape)


def _ordered(x: Any, order: list[int]) -> Any:
    return moveaxis(x, tuple(order), tuple(range(x.ndim))) if x.ndim else x


def outer(x1: Any, x2: Any, /) -> Array:
    """Returns all products of the elements of two 1-dim arrays."""
    check_array("outer", x1, x2)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ShapeError(f"outer: expected 1-dim arrays, came {tuple(x1.shape)} and {tuple(x2.shape)}")
    return _multiply(expand_dims(x1, 1), expand_dims(x2, 0))


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Array:
    """Returns the cross products of vectors of 3 along a dimension; the other dimensions broadcast."""
    check_array("cross", x1, x2)
    check_kind("cross", "numeric", x1.dtype, x2.dtype)
    if not -builtins.min(x1.ndim, x2.ndim) <= axis < builtins.min(x1.ndim, x2.ndim):
        raise IndexError(f"cross: axis {axis} is outside the dimensions")
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ShapeError(f"cross: expected vectors of 3, came {x1.shape[axis]} and {x2.shape[axis]}")
    dtype = result_type(x1, x2)
    a, b = arrays_of("cross", in_dtype(x1, dtype), in_dtype(x2, dtype))
    return wrap(module_of(x1).cross(a, b, axis=axis))


def diagonal(x: Any, /, *, offset: int = 0) -> Array:
    """Returns the diagonals of the last two dimensions."""
    check_array("diagonal", x)
    return wrap(arrays_of("diagonal", x)[0].diagonal(offset, -2, -1).copy())


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """Returns the sums of the diagonals of the last two dimensions."""
    return statistical.sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def cholesky(x: Any, /, *, upper: bool = False) -> Array:
    """Returns L with x = L L^H of positive definite matrices, or with `upper` U with x = U^H U."""
    array = _matrices("cholesky", x)[0]
    lower = module_of(x).linalg.cholesky(array)
    return wrap(lower.swapaxes(-1, -2).conj() if upper else lower)


def det(x: Any, /) -> Array:
    """Returns the determinants."""
    return wrap(module_of(x).linalg.det(_matrices("det", x)[0]))


def slogdet(x: Any, /) -> SlogdetResult:
    """Returns the signs and the logarithms of the absolute values of the determinants."""
    return SlogdetResult(*(wrap(a) for a in module_of(x).linalg.slogdet(_matrices("slogdet", x)[0])))


def eigh(x: Any, /) -> EighResult:
    """Returns the eigenvalues, in ascending order, and eigenvectors of symmetric or Hermitian matrices."""
    return EighResult(*(wrap(a) for a in module_of(x).linalg.eigh(_matrices("eigh", x)[0])))


def eigvalsh(x: Any, /) -> Array:
    """Returns the eigenvalues of symmetric or Hermitian matrices, in ascending order."""
    return wrap(module_of(x).linalg.eigvalsh(_matrices("eigvalsh", x)[0]))


def inv(x: Any, /) -> Array:
    """Returns the inverses."""
    return wrap(module_of(x).linalg.inv(_matrices("inv", x)[0]))


def pinv(x: Any, /, *, rtol: Any = None) -> Array:
    """Returns the pseudo-inverses; singular values below rtol times the largest count as 0."""
    array = _matrices("pinv", x)[0]
    limit = builtins.max(array.shape[-2:]) * np.finfo(array.dtype).eps if rtol is None else getattr(rtol, "_data", rtol)
    return wrap(module_of(x).linalg.pinv(array, rcond=limit))


def solve(x1: Any, x2: Any, /) -> Array:
    """Returns the solutions of x1 @ result = x2; a 1-dim x2 is one right-hand side for all matrices of x1."""
    check_array("solve", x1, x2)
    dtype = result_type(x1, x2)
    check_kind("solve", "floating-point", dtype)
    a, b = arrays_of("solve", in_dtype(x1, dtype), in_dtype(x2, dtype))
    result = module_of(x1).linalg.solve(a, b[..., None] if b.ndim == 1 else b)
    return wrap(result[..., 0] if b.ndim == 1 else result)


def matrix_power(x: Any, n: int, /) -> Array:
    """Returns the matrices multiplied with themselves n times; their inverses where n is negative."""
    return wrap(module_of(x).linalg.matrix_power(_matrices("matrix_power", x)[0], n))


def matrix_rank(x: Any, /, *, rtol: Any = None) -> Array:
    """Returns how many singular values are above rtol times the largest, int64."""
    array = _matrices("matrix_rank", x)[0]
    values = module_of(x).linalg.svd(array, compute_uv=False)
    limit = builtins.max(array.shape[-2:]) * np.finfo(array.dtype).eps if rtol is None else getattr(rtol, "_data", rtol)
    bound = values.max(axis=-1, initial=0, keepdims=True) * np.asarray(limit)[..., None]
    return wrap((values > bound).sum(axis=-1, dtype=np.int64))


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """Returns the norms of the last two dimensions."""
    return wrap(module_of(x).linalg.norm(_matrices("matrix_norm", x)[0], axis=(-2, -1), keepdims=keepdims, ord=ord))


def vector_norm(x: Any, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ord: Any = 2) -> Array:
    """Returns the norm of order `ord` over dimensions, all by default."""
    check_array("vector_norm", x)
    check_kind("vector_norm", "floating-point", x.dtype)
    axes = axes_of("vector_norm", axis, x.ndim)
    array, xp = arrays_of("vector_norm", x)[0], module_of(x)
    rest = [i for i in range(x.ndim) if i not in axes]
    flat = xp.transpose(array, (*rest, *axes)).reshape(*(x.shape[i] for i in rest), math.prod(x.shape[i] for i in axes))
    result = xp.linalg.norm(flat, axis=-1, ord=ord)
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape)) if keepdims else tuple(x.shape[i] for i in rest)
    real = array.real.dtype
    return wrap(np.asarray(result, dtype=real).reshape(shape))


def qr(x: Any, /, *, mode: str = "reduced") -> QRResult:
    """Returns an orthonormal Q and an upper triangular R with x = Q R."""
    if mode not in ("reduced", "complete"):
        raise ArgumentError(f'qr: mode must be "reduced" or "complete", came {mode!r}')
    return QRResult(*(wrap(a) for a in module_of(x).linalg.qr(_matrices("qr", x)[0], mode)))


def svd(x: Any, /, *, full_matrices: bool = True) -> SVDResult:
    """Returns U, the singular values in descending order, and V^H with x = U diag(S) V^H."""
    array = _matrices("svd", x)[0]
    return SVDResult(*(wrap(a) for a in module_of(x).linalg.svd(array, full_matrices=full_matrices)))


def svdvals(x: Any, /) -> Array:
    """Returns the singular values in descending order."""
    return wrap(module_of(x).linalg.svd(_matrices("svdvals", x)[0], compute_uv=False))
