# SPDX-License-Identifier: Apache-2.0
"""Composites of matrix decompositions that end after as many steps as the matrix has columns: one Scan over the columns.

Matrices are (..., N, N); in a step, `k` is a number in the graph, and rows are chosen by comparison with it. What iterates until it
converges (eigenvalues, singular values) has no ONNX form.
"""

from __future__ import annotations

from typing import Any

import penlight as pl
from penlight.ops.control import scan
from penlight.tensor import Tensor
from penlight_export.onnx.composites.registry import composite


@composite("inverse")
def inverse(operator: Any, a: Tensor) -> Tensor:
    """The solution for the columns of the identity."""
    return _solved(a, pl.eye(a.shape[-1], dtype=a.dtype).expand(a.shape))[0]


@composite("solve")
def solve(operator: Any, a: Tensor, b: Tensor) -> Tensor:
    """Gauss-Jordan elimination with partial pivoting."""
    return _solved(a, b)[0]


@composite("slogdet")
def slogdet(operator: Any, a: Tensor) -> tuple[Tensor, Tensor]:
    """The product of the pivots, their signs and the exchanges of rows apart."""
    pivots, swaps = _solved(a, a[..., :, :0])[1:]
    return (pivots.sign() * swaps).prod(0), pivots.abs().log().sum(0)


def _solved(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The solution, and per column the pivots and -1 where rows were exchanged, (N, ...) each."""
    rows = pl.arange(a.shape[-1])

    def step(both: Any, k: Tensor) -> Any:
        left, right = both
        row, best, moved = _pivot(left, rows, k)
        left, right = _exchanged(left, row, best), _exchanged(right, row, best)
        pivot = pl.where(row, _pick(left, row), 0.0).sum(-1, keepdim=True)
        scaled_left, scaled_right = _pick(left, row) / pivot, _pick(right, row) / pivot
        factor = pl.where(row, pl.zeros_like(left[..., 0]), _column(left, row)).unsqueeze(-1)
        left = _with_row(left - factor * scaled_left.unsqueeze(-2), row, scaled_left)
        right = _with_row(right - factor * scaled_right.unsqueeze(-2), row, scaled_right)
        return (left, right), (pivot.squeeze(-1), moved)

    (_, solution), (pivots, swaps) = scan(step, (a, b), rows)
    return solution, pivots, swaps


def _pivot(a: Tensor, rows: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which row is row k, (N,), which row has the pivot, (..., N), and -1 where they differ."""
    row = rows == k
    sizes = pl.where(rows >= k, _column(a, row).abs(), -1.0)
    best = sizes.argmax(-1)
    return row, rows == best.unsqueeze(-1), pl.where(best == k, 1.0, -1.0).to(a.dtype)


def _column(a: Tensor, chosen: Tensor) -> Tensor:
    """The column at the place where `chosen` (N,) is true, (..., M)."""
    return pl.where(chosen, a, 0.0).sum(-1)


def _pick(a: Tensor, chosen: Tensor) -> Tensor:
    """The row at the place where `chosen` (N,) or (..., N) is true, (..., K)."""
    return pl.where(chosen.unsqueeze(-1), a, 0.0).sum(-2)


def _with_row(a: Tensor, chosen: Tensor, row: Tensor) -> Tensor:
    return pl.where(chosen.unsqueeze(-1), row.unsqueeze(-2), a)


def _exchanged(a: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The matrix with two rows in each other's place."""
    return _with_row(_with_row(a, second, _pick(a, first)), first, _pick(a, second))


@composite("cholesky")
def cholesky(operator: Any, a: Tensor) -> Tensor:
    """Column by column, each taken off what is left."""
    rows = pl.arange(a.shape[-1])

    def step(rest: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        column = _column(rest, rows == k)
        scaled = pl.where(rows >= k, column / pl.where(rows == k, column, 0.0).sum(-1, keepdim=True).sqrt(), 0.0)
        return rest - scaled.unsqueeze(-1) * scaled.unsqueeze(-2), scaled

    lower = a.tril()
    return scan(step, lower + a.tril(-1).mT, rows)[1].movedim(0, -1)


@composite("lu")
def lu(operator: Any, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Elimination below the pivots; the factors stay in the places that become 0."""
    *lead, m, n = a.shape
    k = min(m, n)
    rows, columns = pl.arange(m), pl.arange(n)

    def step(both: Any, j: Tensor) -> Any:
        compact, order = both
        column = columns == j
        row = rows == j
        best = pl.where(rows >= j, _column(compact, column).abs(), -1.0).argmax(-1)
        compact, order = (_exchanged(t, row, rows == best.unsqueeze(-1)) for t in (compact, order))
        values = _column(compact, column)
        pivot = pl.where(row, values, 0.0).sum(-1, keepdim=True)
        factor = pl.where(rows > j, values / pl.where(pivot == 0, pl.ones_like(pivot), pivot), 0.0)
        upper = pl.where(columns > j, _pick(compact, row), 0.0)
        below = (rows > j).unsqueeze(-1) & column
        return (pl.where(below, factor.unsqueeze(-1), compact - factor.unsqueeze(-1) * upper.unsqueeze(-2)), order), None

    identity = pl.eye(m, dtype=a.dtype).expand(*lead, m, m)
    (compact, order), _ = scan(step, (a, identity), pl.arange(k))
    return order.mT, compact[..., :k].tril(-1) + pl.eye(m, k, dtype=a.dtype), compact[..., :k, :].triu()


@composite("qr")
def qr(operator: Any, a: Tensor) -> tuple[Tensor, Tensor]:
    """Householder reflections with the signs of LAPACK."""
    *lead, m, n = a.shape
    k, wide = min(m, n), m if operator.complete else min(m, n)
    rows, columns = pl.arange(m), pl.arange(n)

    def step(both: Any, j: Tensor) -> Any:
        q, r = both
        column = _column(r, columns == j)
        below = pl.where(rows > j, column, 0.0)
        head = pl.where(rows == j, column, 0.0).sum(-1, keepdim=True)
        norm = ((below * below).sum(-1, keepdim=True) + head * head).sqrt()
        v = below + pl.where(rows == j, head + pl.where(head < 0, -norm, norm), 0.0)
        size = (v * v).sum(-1, keepdim=True)
        idle = (below * below).sum(-1, keepdim=True) == 0  # LAPACK leaves such a column as it is
        beta = pl.where(idle, pl.zeros_like(size), 2 / pl.where(idle, pl.ones_like(size), size))
        r = r - (beta * v).unsqueeze(-1) * (v.unsqueeze(-2) @ r)
        return (q - (q @ v.unsqueeze(-1)) * (beta * v).unsqueeze(-2), r), None

    identity = pl.eye(m, dtype=a.dtype).expand(*lead, m, m)
    (q, r), _ = scan(step, (identity, a), pl.arange(k))
    return q[..., :, :wide], r[..., :wide, :].triu()
