# SPDX-License-Identifier: Apache-2.0
"""Pooling to a wanted output size: windows from floor(i * n / size) to ceil((i + 1) * n / size), or drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.dtype import int64
from penlight.errors import ArgumentError, ShapeError
from penlight.ops.arithmetic import where
from penlight.ops.convert import keeps_channels_last
from penlight.ops.gather import gather, index_select
from penlight.ops.pool_nd import sizes
from penlight.ops.precision import under_autocast
from penlight.ops.shape import stack
from penlight.random import rand
from penlight.tensor import Tensor, from_numpy


def _targets(input: Tensor, output_size: Any, dimensions: int) -> tuple[int, ...]:
    wanted = (output_size,) * dimensions if output_size is None or isinstance(output_size, int) else tuple(output_size)
    if len(wanted) == 1:
        wanted = wanted * dimensions
    return tuple(n if want is None else want for want, n in zip(wanted, input.shape[-dimensions:], strict=True))


def _windows(n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(index, inside), both (size, longest window): which elements each window reads; the rest is filler."""
    starts = np.arange(size) * n // size
    stops = -(-(np.arange(1, size + 1) * n) // size)
    longest = int((stops - starts).max()) if size else 0
    index = starts[:, None] + np.arange(longest)
    return np.minimum(index, n - 1), index < stops[:, None]


def _spread(input: Tensor, dim: int, index: np.ndarray) -> Tensor:
    """The input with dimension `dim` replaced by the (windows, elements) of `index`."""
    taken = index_select(input, dim, from_numpy(np.ascontiguousarray(index.reshape(-1), np.int64)).to(input.device))
    return taken.unflatten(dim, index.shape)


def _filler(inside: np.ndarray, dim: int, ndim: int) -> Any:
    return from_numpy(inside.reshape(*inside.shape, *(1,) * (ndim - 1 - dim)))


def _mean_along(input: Tensor, dim: int, size: int) -> Tensor:
    n = int(input.shape[dim])
    if n == size:
        return input
    index, inside = _windows(n, size)
    windows = _spread(input, dim, index)
    if inside.all():
        return windows.mean(dim + 1)
    weights = inside / inside.sum(1, keepdims=True)
    return (windows * _filler(weights, dim, input.ndim).to(input.device).to(input.dtype)).sum(dim + 1)


def adaptive_mean(input: Tensor, output_size: Any, dimensions: int) -> Tensor:
    """Returns means over the last `dimensions` dimensions, in windows chosen for `output_size`."""
    for number, size in enumerate(_targets(input, output_size, dimensions)):
        input = _mean_along(input, input.ndim - dimensions + number, size)
    return input


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Returns means of (N, C, L) or (C, L) over windows chosen so that the last size is `output_size`."""
    return adaptive_mean(input, output_size, 1)


@under_autocast
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Returns means of (N, C, D, H, W) or (C, D, H, W) over boxes chosen for `output_size`; None keeps a size."""
    return adaptive_mean(input, output_size, 3)


def _largest(input: Tensor, dimensions: int, plans: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    """Maxima over the windows of `plans` per dimension, and where they were, counted through the last dimensions."""
    first = input.ndim - dimensions
    size = tuple(int(n) for n in input.shape[first:])
    place = from_numpy(np.arange(int(np.prod(size))).reshape(size)).to(input.device).expand(tuple(input.shape))
    values = input.detach()
    for number, (index, inside) in enumerate(plans):
        dim = first + number
        windows, places = _spread(values, dim, index), _spread(place, dim, index)
        if not inside.all():
            windows = where(_filler(inside, dim, input.ndim).to(input.device), windows, float("-inf"))
        best = windows.argmax(dim + 1, keepdim=True)
        values, place = gather(windows, dim + 1, best).squeeze(dim + 1), gather(places, dim + 1, best).squeeze(dim + 1)
    flat = place.flatten(first)
    return gather(input.flatten(first), first, flat).reshape(tuple(place.shape)), place


def _adaptive_max(input: Tensor, output_size: Any, dimensions: int, return_indices: bool) -> Any:
    if input.ndim not in (dimensions + 1, dimensions + 2):
        raise ShapeError(f"adaptive_max_pool{dimensions}d: expected (N, C, ...) or (C, ...), came {tuple(input.shape)}")
    targets = _targets(input, output_size, dimensions)
    plans = [_windows(int(n), size) for n, size in zip(input.shape[-dimensions:], targets, strict=True)]
    result = _largest(input, dimensions, plans)
    return result if return_indices else result[0]


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Returns maxima of (N, C, L) or (C, L) over windows chosen for `output_size`, and where they were if asked."""
    return _adaptive_max(input, output_size, 1, return_indices)


@keeps_channels_last
def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Returns maxima of (N, C, H, W) or (C, H, W) over windows chosen for `output_size`; None keeps a size."""
    return _adaptive_max(input, output_size, 2, return_indices)


@under_autocast
def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Returns maxima of (N, C, D, H, W) or (C, D, H, W) over boxes chosen for `output_size`; None keeps a size."""
    return _adaptive_max(input, output_size, 3, return_indices)


def _fractional_starts(sample: float, n: int, out: int, kernel: int) -> np.ndarray:
    """Where `out` windows begin, with steps of two neighbouring lengths shuffled by `sample` (Graham 2014)."""
    if out == 1:
        return np.array([n - kernel])
    alpha = (n - kernel) / (out - 1)
    starts = ((np.arange(out - 1) + sample) * alpha).astype(np.int64) - int(sample * alpha)
    return np.append(starts, n - kernel)


def _fractional(input: Tensor, kernel_size: Any, output_size: Any, output_ratio: Any, samples: Any, dims: int) -> Any:
    batched = input.ndim == dims + 2
    x = input if batched else input.unsqueeze(0)
    kernel = sizes(kernel_size, dims)
    if (output_size is None) == (output_ratio is None):
        raise ArgumentError("fractional_max_pool: give either output_size or output_ratio")
    if output_size is None:
        ratios = (output_ratio,) * dims if isinstance(output_ratio, float) else tuple(output_ratio)
        output_size = tuple(int(n * ratio) for n, ratio in zip(x.shape[2:], ratios, strict=True))
    targets = sizes(output_size, dims)
    if samples is None:
        samples = rand(x.shape[0], x.shape[1], dims)
    draws = samples.numpy() if samples.ndim == 3 else samples.unsqueeze(0).numpy()
    # The windows differ per plane, so planes are pooled one by one; the last draw is for the first dimension.
    rows: list[Any] = []
    for batch in range(x.shape[0]):
        for channel in range(x.shape[1]):
            plans = []
            for dim in range(dims):
                draw = float(draws[batch, channel, dim if dims == 3 else dims - 1 - dim])
                starts = _fractional_starts(draw, int(x.shape[2 + dim]), targets[dim], kernel[dim])
                index = starts[:, None] + np.arange(kernel[dim])
                plans.append((index, np.ones(index.shape, bool)))
            rows.append(_largest(x[batch, channel], dims, plans))
    lead = tuple(x.shape[:2]) if batched else (x.shape[1],)
    if not rows:  # an empty batch
        blank = x.reshape((-1,))[:0].reshape((*lead, *targets))
        return blank, blank.to(int64)
    return tuple(stack([row[part] for row in rows]).reshape((*lead, *targets)) for part in (0, 1))


@under_autocast
def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """Returns maxima of (N, C, H, W) or (C, H, W) over windows at pseudo-random places (Graham 2014).

    Args:
        input: floating point.
        kernel_size: window, one number or two.
        output_size, output_ratio: one of them says how large the result is.
        return_indices: also return where the maxima were, counted through the plane.
        _random_samples: (N, C, 2) in [0, 1), drawn if not given.
    """
    result = _fractional(input, kernel_size, output_size, output_ratio, _random_samples, 2)
    return result if return_indices else result[0]


@under_autocast
def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """Returns maxima of (N, C, D, H, W) or (C, D, H, W) over boxes at pseudo-random places; see `fractional_max_pool2d`."""
    result = _fractional(input, kernel_size, output_size, output_ratio, _random_samples, 3)
    return result if return_indices else result[0]
