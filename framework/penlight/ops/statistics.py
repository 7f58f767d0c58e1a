# SPDX-License-Identifier: Apache-2.0
"""Counts, medians, quantiles, norms and covariances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penlight.dtype import as_dtype, int64
from penlight.errors import ArgumentError
from penlight.ops import dims as _dims
from penlight.ops.arithmetic import clamp, maximum, where
from penlight.ops.broadcast import floating
from penlight.ops.elementwise import abs as magnitude
from penlight.ops.elementwise import sqrt
from penlight.ops.gather import gather
from penlight.ops.matmul import matmul
from penlight.ops.precision import under_autocast
from penlight.ops.reduction import Dims, amax, amin, mean, sum, var
from penlight.ops.results import named
from penlight.ops.sort import argsort
from penlight.tensor import Tensor, from_numpy


def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """Returns how many elements over `dim` are not 0, int64."""
    return sum(input != 0, dim)


@named("min", "max")
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Returns the smallest and the largest elements over `dim`."""
    return amin(input, dim, keepdim), amax(input, dim, keepdim)


def _split_dim(dim: Any, unbiased: bool | None) -> tuple[Any, bool | None]:
    return (None, dim) if isinstance(dim, bool) else (dim, unbiased)


def var_mean(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the variance and the mean over `dim`; see `var`."""
    dim, unbiased = _split_dim(dim, unbiased)
    correction = (0 if unbiased is False else 1) if correction is None else correction
    return var(input, dim, correction=correction, keepdim=keepdim), mean(input, dim, keepdim)


def std_mean(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the standard deviation and the mean over `dim`; see `var`."""
    variance, middle = var_mean(input, dim, unbiased, keepdim, correction=correction)
    return root(variance), middle


def root(x: Tensor) -> Tensor:
    """The square root whose slope at 0 is taken as 0."""
    zero = x == 0
    return where(zero, x * 0.0, sqrt(where(zero, 1.0, x)))


def nansum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Returns the sum over `dim` with NaN counted as 0."""
    return sum(where(input != input, 0, input), dim, keepdim, dtype=dtype)


def nanmean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Returns the mean over `dim` of what is not NaN."""
    present = (input == input).to(input.dtype)
    return nansum(input, dim, keepdim, dtype=dtype) / sum(present, dim, keepdim)


def _pick(input: Tensor, places: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    """The elements at one place per line along `dim`, and the places."""
    values = gather(input, dim, places)
    return (values, places) if keepdim else (values.squeeze(dim), places.squeeze(dim))


@named("values", "indices")
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Returns the k-th smallest elements along `dim` (k counts from 1), and their indices.

    Raises:
        ArgumentError: k is below 1 or above the size of `dim`.
    """
    if not input.ndim:
        return input.clone(), from_numpy(np.zeros((), np.int64))
    d = _dims.one("kthvalue", dim, input.ndim)
    if not 1 <= k <= input.shape[d]:
        raise ArgumentError(f"kthvalue: k={k} is out of range for dim {dim} of size {input.shape[d]}")
    return _pick(input, argsort(input.detach(), d).narrow(d, k - 1, 1), d, keepdim)


@named("values", "indices")
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Returns the median (the lower one of two); with a `dim` (values, indices) along it. NaN wins."""
    return _median(input, dim, keepdim, False)


@named("values", "indices")
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """Returns the median of what is not NaN; with a `dim` (values, indices) along it."""
    return _median(input, dim, keepdim, True)


def _median(input: Tensor, dim: int | None, keepdim: bool, skip: bool) -> Any:
    if dim is None:
        return _median(input.reshape(-1), 0, False, skip)[0]
    if not input.ndim:
        return input.clone(), from_numpy(np.zeros((), np.int64))
    d = _dims.one("median", dim, input.ndim)
    order = argsort(input.detach(), d)
    data = input._data
    missing = np.isnan(data).sum(axis=d, keepdims=True) if data.dtype.kind == "f" else np.zeros((1,) * data.ndim, np.int64)
    size = data.shape[d]
    rank = np.maximum(size - missing - 1, 0) // 2 if skip else np.where(missing > 0, size - missing, (size - 1) // 2)
    shape = tuple(1 if k == d else n for k, n in enumerate(data.shape))
    return _pick(input, gather(order, d, from_numpy(np.broadcast_to(rank, shape).astype(np.int64))), d, keepdim)


@named("values", "indices")
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Returns the most frequent elements along `dim` (the smallest on a tie), and the index of their last occurrence."""
    if not input.ndim:
        return input.clone(), from_numpy(np.zeros((), np.int64))
    d = _dims.one("mode", dim, input.ndim)
    places = np.apply_along_axis(_most_frequent, d, input._data)
    return _pick(input, from_numpy(np.expand_dims(places, d)), d, keepdim)


def _most_frequent(line: np.ndarray) -> int:
    values, counts = np.unique(line, return_counts=True)
    return int(np.flatnonzero(line == values[counts.argmax()])[-1])


def msort(input: Tensor) -> Tensor:
    """Returns the values sorted along dimension 0."""
    return gather(input, 0, argsort(input.detach(), 0)) if input.ndim else input.clone()


@under_autocast
def quantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear") -> Tensor:
    """Returns the q-quantiles along `dim` (of all elements for None); a 1-D `q` gives a new first dimension.

    Args:
        q: a number or a tensor of numbers in [0, 1].
        interpolation: "linear", "lower", "higher", "nearest" or "midpoint" between the two neighbours.
    """
    return _quantile(input, q, dim, keepdim, interpolation, False)


@under_autocast
def nanquantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear") -> Tensor:
    """Returns the q-quantiles of what is not NaN; see `quantile`."""
    return _quantile(input, q, dim, keepdim, interpolation, True)


def _quantile(input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str, skip: bool) -> Tensor:
    levels = q if isinstance(q, Tensor) else from_numpy(np.asarray(q, input.dtype.numpy))
    kept = (1,) * input.ndim if dim is None else None
    x = input.reshape(-1, 1) if dim is None else (input if input.ndim else input.reshape(1)).transpose(dim, -1).unsqueeze(-1)
    x = x.transpose(0, 1) if dim is None else x.squeeze(-1)
    ordered = gather(x, x.ndim - 1, argsort(x.detach(), -1))  # (..., N), NaN last
    missing = (x != x).sum(-1, keepdim=True).to(x.dtype)
    last = (float(x.shape[-1]) - 1.0 - missing) if skip else missing * 0.0 + float(x.shape[-1] - 1)
    flat = levels.reshape(-1)
    rank = clamp(last, min=0.0) * flat  # (..., Q)
    if not skip:
        rank = where(missing > 0, float(x.shape[-1] - 1), rank)
    result = _between(ordered, rank, interpolation)
    result = result.movedim(-1, 0) if dim is not None else result.reshape(-1)
    if dim is not None:
        result = result.unsqueeze(-1).transpose((dim % max(input.ndim, 1)) + 1, -1)
        result = result if keepdim and input.ndim else result.squeeze((dim % max(input.ndim, 1)) + 1)
    else:
        result = result.reshape((-1, *kept)) if keepdim and kept is not None else result
    return result if levels.ndim else result.squeeze(0) if result.ndim else result


def _between(ordered: Tensor, rank: Tensor, interpolation: str) -> Tensor:
    low, high = rank.detach().floor(), rank.detach().ceil()
    if interpolation == "lower":
        high = low
    elif interpolation == "higher":
        low = high
    elif interpolation == "nearest":
        low = high = rank.detach().round()
    below, above = (gather(ordered, ordered.ndim - 1, p.to(int64)) for p in (low, high))
    if interpolation in ("lower", "higher", "nearest"):
        return below
    weight = 0.5 if interpolation == "midpoint" else rank - low
    return below + (above - below) * (where(low == high, 0.0, weight) if interpolation == "midpoint" else weight)


def norm(input: Tensor, p: Any = "fro", dim: Dims = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """Returns (sum |x|^p)^(1/p) over `dim`; "fro" is 2. For "nuc" see `linalg.norm`."""
    return vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


def vector_norm(x: Tensor, ord: float = 2, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Returns (sum |x|^ord)^(1/ord) over `dim`; the largest for infinity, the count of others than 0 for 0."""
    x = floating(x) if dtype is None else x.to(as_dtype(dtype))
    x = magnitude(x) if x.dtype.kind == 3 else x
    if ord == math.inf:
        return amax(magnitude(x), dim, keepdim)
    if ord == -math.inf:
        return amin(magnitude(x), dim, keepdim)
    if ord == 0:
        return sum(where(x == 0, x * 0.0, 1.0), dim, keepdim)
    if ord == 1:
        return sum(magnitude(x), dim, keepdim)
    if ord == 2:
        return root(sum(x * x, dim, keepdim))
    length = magnitude(x)
    zero = length == 0
    powers = where(zero, 0.0 if ord > 0 else math.inf, where(zero, 1.0, length) ** float(ord))
    total = sum(powers, dim, keepdim)
    empty = total == 0
    return where(empty, total * 0.0, where(empty, 1.0, total) ** (1.0 / ord))


def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """Returns the p-norm of `input - other`."""
    return vector_norm(input - other, p)


def renormalised(x: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """The slices along `dim` scaled down to a norm of at most `maxnorm`."""
    others = tuple(d for d in range(x.ndim) if d != dim % x.ndim)
    length = vector_norm(x, p, others, keepdim=True)
    return where(length > maxnorm, x * (maxnorm / (length + 1e-7)), x)


def cov(input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None) -> Tensor:
    """Returns the covariances of the rows (variables) over the columns (observations)."""
    x = floating(input)
    x = x.reshape(1, -1) if x.ndim < 2 else x
    weights = fweights  # in its own dtype, as in PyTorch: sums of float32 weights are float32
    if aweights is not None:
        weights = aweights if weights is None else weights * aweights
    count = from_numpy(np.asarray(x.shape[1], x.dtype.numpy)) if weights is None else weights.sum()
    centre = mean(x, 1, True) if weights is None else ((x * weights).sum(1) / count).unsqueeze(1)
    scale: Any = count - correction
    if aweights is not None and correction:
        square = (weights * aweights).sum()
        scale = count - square / count * correction
    centred = x - centre
    product = matmul(centred if weights is None else centred * weights, centred.transpose(0, 1)) / maximum(scale, 0.0)
    return product.squeeze()


def corrcoef(input: Tensor) -> Tensor:
    """Returns the correlations of the rows (variables) over the columns (observations)."""
    c = cov(input)
    if not c.ndim:
        return c / c
    deviation = sqrt(c.diagonal())
    return clamp(c / deviation.unsqueeze(0) / deviation.unsqueeze(1), -1.0, 1.0)
