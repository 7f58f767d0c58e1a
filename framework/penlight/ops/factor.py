# SPDX-License-Identifier: Apache-2.0
"""Linear algebra in the forms of PyTorch's top level, where they differ from those of `linalg`."""

from __future__ import annotations

import math
from typing import Any

from penlight.ops import matrix, statistics
from penlight.ops.arithmetic import where
from penlight.ops.create import zeros_like
from penlight.ops.results import named
from penlight.tensor import Tensor


def logdet(input: Tensor) -> Tensor:
    """Returns the logarithms of the determinants; NaN where one is negative."""
    sign, size = matrix.slogdet(input)
    return where(sign < 0, math.nan, size)


def inverse(input: Tensor) -> Tensor:
    """Returns the inverses of square matrices."""
    return matrix.inv(input)


@named("U", "S", "V")
def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Returns U, S and V with U diag(S) V.T = input: `torch.svd`."""
    u, s, vh = matrix.svd(input, not some)
    if not compute_uv:
        return zeros_like(u), s, zeros_like(vh.mT)
    return u, s, vh.mT


@named("Q", "R")
def qr(input: Tensor, some: bool = True) -> tuple[Tensor, Tensor]:
    """Returns Q and R with Q R = input: `torch.qr`."""
    return matrix.qr(input, "reduced" if some else "complete")


def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """Returns the p-norm over `dim` (all for None), "fro" being 2, or "nuc", the sum of a matrix's singular values."""
    if p == "nuc":
        return matrix.matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return statistics.norm(input, p, dim, keepdim, dtype)


def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """Returns the Cholesky factor: `torch.cholesky`."""
    return matrix.cholesky(input, upper=upper)


def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """Returns the pseudo-inverse."""
    return matrix.pinv(input, rcond)
