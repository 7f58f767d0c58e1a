# SPDX-License-Identifier: Apache-2.0
"""Reductions over the elements where a mask holds; `penlight.masked` is this module's public face.

Where the mask is False an element counts as what changes nothing (0 for sums, infinity for a minimum); without a mask
all elements count. Masks are bool and broadcast.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penlight.dtype import as_dtype, int64
from penlight.ops import cumulative, reduction, statistics
from penlight.ops.arithmetic import where
from penlight.ops.broadcast import broadcast_shapes, floating
from penlight.ops.special import logaddexp as any_logaddexp
from penlight.ops.statistics import root
from penlight.tensor import Tensor

Mask = Tensor | None


def _filled(input: Tensor, mask: Mask, value: float, dtype: Any = None) -> Tensor:
    """The input with `value` where the mask is False, in the wider shape of the two."""
    x = input if dtype is None else input.to(as_dtype(dtype))
    if mask is None:
        return x
    shape = broadcast_shapes("masked", x.shape, mask.shape)
    if not x.dtype.is_floating_point and math.isinf(value):
        limits = np.iinfo(x.dtype.numpy)
        value = limits.max if value > 0 else limits.min
    return where(mask.expand(shape), x.expand(shape), value if x.dtype.is_floating_point else int(value))


def sum(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns the sum over `dim` of what the mask keeps."""
    return reduction.sum(_filled(input, mask, 0, dtype), _no_dims(dim), keepdim)


def _no_dims(dim: Any) -> Any:
    return None if isinstance(dim, (tuple, list)) and not dim else dim


def prod(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns the product over `dim` of what the mask keeps."""
    return reduction.prod(_filled(input, mask, 1, dtype), _no_dims(dim), keepdim)


def cumsum(input: Tensor, dim: int, *, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns the running sum along `dim` of what the mask keeps."""
    return reduction.cumsum(_filled(input, mask, 0, dtype), dim)


def cumprod(input: Tensor, dim: int, *, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns the running product along `dim` of what the mask keeps."""
    return cumulative.cumprod(_filled(input, mask, 1, dtype), dim)


def amax(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns the largest elements over `dim` that the mask keeps; -infinity for none."""
    return reduction.amax(_filled(input, mask, -math.inf, dtype), _no_dims(dim), keepdim)


def amin(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns the smallest elements over `dim` that the mask keeps; infinity for none."""
    return reduction.amin(_filled(input, mask, math.inf, dtype), _no_dims(dim), keepdim)


def argmax(input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns the indices of the largest elements along `dim` that the mask keeps, in the dtype of the input, as PyTorch."""
    return reduction.argmax(_filled(input, mask, -math.inf, dtype), dim, keepdim).to(dtype or input.dtype)


def argmin(input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns the indices of the smallest elements along `dim` that the mask keeps, in the dtype of the input, as PyTorch."""
    return reduction.argmin(_filled(input, mask, math.inf, dtype), dim, keepdim).to(dtype or input.dtype)


def _count(input: Tensor, dim: Any, keepdim: bool, mask: Mask) -> Tensor:
    held = (input == input) | True if mask is None else mask
    shape = tuple(input.shape) if mask is None else broadcast_shapes("masked", input.shape, mask.shape)
    return reduction.sum(held.expand(shape).to(int64), _no_dims(dim), keepdim)


def mean(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns the mean over `dim` of what the mask keeps; NaN for none."""
    x = input if dtype is None else input.to(as_dtype(dtype))
    return sum(floating(x), dim, keepdim=keepdim, mask=mask) / _count(x, dim, keepdim, mask)


def median(input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns the medians along `dim` of what the mask keeps; NaN for none."""
    x = _filled(floating(input), mask, math.nan, dtype)
    return statistics.nanmedian(x, dim, keepdim)[0]


def var(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: float | None = None, keepdim: bool = False,
    dtype: Any = None, mask: Mask = None,
) -> Tensor:  # fmt: skip
    """Returns the variance over `dim` of what the mask keeps, divided by N - correction."""
    correction = (0 if unbiased is False else 1) if correction is None else correction
    x = floating(input if dtype is None else input.to(as_dtype(dtype)))
    count = _count(x, dim, keepdim, mask).to(x.dtype)
    centred = x - mean(x, dim, keepdim=True, mask=mask)
    total = sum(centred * centred, dim, keepdim=keepdim, mask=mask)
    return total / (count - correction).clamp(min=0.0)


def std(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, *, correction: float | None = None, keepdim: bool = False,
    dtype: Any = None, mask: Mask = None,
) -> Tensor:  # fmt: skip
    """Returns the standard deviation over `dim` of what the mask keeps."""
    variance = var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype, mask=mask)
    return root(variance)


def norm(
    input: Tensor, ord: float | None = 2.0, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Mask = None
) -> Tensor:
    """Returns the vector norm over `dim` of what the mask keeps."""
    fill = math.inf if ord == -math.inf else 0
    return statistics.vector_norm(_filled(input, mask, fill, dtype), 2 if ord is None else ord, _no_dims(dim), keepdim)


def normalize(input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns x / max(norm, eps) along `dim`, 0 where the mask is False."""
    x = floating(input if dtype is None else input.to(as_dtype(dtype)))
    length = norm(x, ord, dim, keepdim=True, mask=mask).clamp(min=eps)
    return _filled(x, mask, 0) / length


def logsumexp(input: Tensor, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns log(sum(exp(x))) over `dim` of what the mask keeps."""
    x = _filled(floating(input), mask, -math.inf, dtype)
    return x.logsumexp(tuple(range(x.ndim)) if dim is None else dim, keepdim)


def softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns the softmax along `dim` over what the mask keeps."""
    return _filled(floating(input), mask, -math.inf, dtype).softmax(dim)


def log_softmax(input: Tensor, dim: int, *, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns the logarithm of the softmax along `dim` over what the mask keeps."""
    return _filled(floating(input), mask, -math.inf, dtype).log_softmax(dim)


def softmin(input: Tensor, dim: int, *, dtype: Any = None, mask: Mask = None) -> Tensor:
    """Returns the softmax of -x along `dim` over what the mask keeps."""
    return (-_filled(floating(input), mask, math.inf, dtype)).softmax(dim)


def logaddexp(input: Tensor, other: Tensor, *, dtype: Any = None, input_mask: Mask = None, other_mask: Mask = None) -> Tensor:
    """Returns log(exp(input) + exp(other)) of what the masks keep."""
    return any_logaddexp(_filled(input, input_mask, -math.inf, dtype), _filled(other, other_mask, -math.inf, dtype))
