# SPDX-License-Identifier: Apache-2.0
"""Resize: by the framework's interpolate where that computes the same, else a matrix for each dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import penlight as pl
from penlight.nn import functional as F
from penlight_export.imported.registry import operator
from penlight_export.imported.values import numbers

Tensor = pl.Tensor


@dataclass(frozen=True)
class _Rule:
    """The node's attributes."""

    mode: str
    coordinates: str
    nearest: str
    cubic_a: float
    exclude_outside: bool
    antialias: bool
    extrapolation: float


@operator("Resize", known=(1, 2, 3))
def resize(
    x: Tensor,
    roi: Any = None,
    scales: Any = None,
    sizes: Any = None,
    *,
    antialias: int = 0,
    axes: Any = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """Any number of dimensions, by scales or to sizes."""
    places = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes]
    given = None if sizes is None or not len(sizes) else numbers(sizes)
    factors = None if given is not None else [float(s) for s in numbers(scales)]
    rule = _Rule(
        mode,
        coordinate_transformation_mode,
        nearest_mode,
        cubic_coeff_a,
        bool(exclude_outside),
        bool(antialias),
        extrapolation_value,
    )
    if keep_aspect_ratio_policy == "stretch" and not antialias:
        simple = _interpolated(x, places, factors, given, rule)
        if simple is not None:
            return simple
    if given is not None:
        factors = [size / x.shape[axis] for size, axis in zip(given, places, strict=True)]
        if keep_aspect_ratio_policy != "stretch":
            factor = (min if keep_aspect_ratio_policy == "not_larger" else max)(factors)
            factors = [factor] * len(factors)
            given = [math.floor(factor * x.shape[axis] + 0.5) for axis in places]
    assert factors is not None
    bounds = numbers(roi) if roi is not None and len(roi) else [0.0] * len(places) + [1.0] * len(places)
    outside = None
    for number, axis in enumerate(places):
        size = int(x.shape[axis])
        count = math.floor(size * factors[number]) if given is None else int(given[number])
        if count == size and factors[number] == 1 and rule.coordinates != "tf_crop_and_resize":
            continue
        region = (bounds[number], bounds[number + len(places)])
        matrix, missed = _matrix(size, count, factors[number], rule, region)
        x = _along(x, axis, matrix)
        if missed.any():
            flags = missed.reshape([-1 if k == axis else 1 for k in range(x.ndim)])
            outside = flags if outside is None else outside | flags
    return x if outside is None else pl.where(pl.tensor(outside), pl.full((), rule.extrapolation, dtype=x.dtype), x)


def _along(x: Tensor, axis: int, matrix: np.ndarray) -> Tensor:
    """Multiplies one dimension by (out, in)."""
    if not x.dtype.is_floating_point:
        return _along(x.to(pl.float64), axis, matrix).to(x.dtype)
    weights = pl.tensor(matrix.T.astype(x.dtype.numpy))
    return pl.movedim(pl.matmul(pl.movedim(x, axis, -1), weights), -1, axis)


def _interpolated(x: Tensor, places: list[int], factors: Any, sizes: Any, rule: _Rule) -> Tensor | None:
    """The framework's own function, which an export writes as Resize again; None where it computes something else."""
    how = {
        ("nearest", "asymmetric"): "nearest" if rule.nearest == "floor" else None,
        ("linear", "half_pixel"): "linear",
        ("linear", "pytorch_half_pixel"): None if sizes is None or 1 in sizes[-(x.ndim - 2) :] else "linear",
        ("linear", "align_corners"): "corners",
        ("cubic", "half_pixel"): "cubic" if rule.cubic_a == -0.75 and not rule.exclude_outside else None,
        ("cubic", "align_corners"): "cubic corners" if rule.cubic_a == -0.75 and not rule.exclude_outside else None,
    }.get((rule.mode, rule.coordinates))
    rank = x.ndim - 2
    kept = {axis: k for k, axis in enumerate(places)}
    if how is None or not 1 <= rank <= 3 or ("cubic" in how and rank != 2) or not x.dtype.is_floating_point:
        return None
    for axis in (0, 1):
        if axis in kept and (
            (factors is not None and factors[kept[axis]] != 1) or (sizes is not None and sizes[kept[axis]] != x.shape[axis])
        ):
            return None
    if not all(axis in kept for axis in range(2, x.ndim)):
        return None
    space = [kept[axis] for axis in range(2, x.ndim)]
    name = {"nearest": "nearest", "cubic": "bicubic", "cubic corners": "bicubic"}.get(
        how, ("linear", "bilinear", "trilinear")[rank - 1]
    )
    corners = None if name == "nearest" else "corners" in how
    if factors is not None:
        chosen = [factors[k] for k in space]
        exact = all(float(x.shape[k + 2] * factor).is_integer() for k, factor in enumerate(chosen))
        return F.interpolate(x, scale_factor=tuple(chosen), mode=name, align_corners=corners) if exact else None
    return F.interpolate(x, size=tuple(sizes[k] for k in space), mode=name, align_corners=corners)


def _matrix(size: int, count: int, scale: float, rule: _Rule, region: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Weights (out, in), and which outputs lie outside of the image."""
    at = _positions(size, count, scale, rule.coordinates, region)
    missed = (at < 0) | (at > size - 1) if rule.coordinates == "tf_crop_and_resize" else np.zeros(count, bool)
    matrix = np.zeros((count, size))
    for row, place in enumerate(at):
        taps, weights = _taps(place, scale, rule, size)
        np.add.at(matrix[row], np.clip(taps, 0, size - 1), weights)
    return matrix, missed


def _positions(size: int, count: int, scale: float, how: str, region: tuple[float, float]) -> np.ndarray:
    """Where each output lies in the input."""
    k = np.arange(count, dtype=np.float64)
    if how == "asymmetric":
        return k / scale
    if how == "align_corners":
        return k * (size - 1) / (count - 1) if count > 1 else k * 0
    if how == "tf_crop_and_resize":
        start, end = region
        if count == 1:
            return np.full(1, 0.5 * (start + end) * (size - 1))
        return start * (size - 1) + k * (end - start) * (size - 1) / (count - 1)
    if how == "pytorch_half_pixel" and count == 1:
        return k * 0
    at = (k + 0.5) / scale - 0.5
    if how == "half_pixel_symmetric":
        whole = scale * size
        return size / 2 * (1 - count / whole) + at
    if how not in ("half_pixel", "pytorch_half_pixel"):
        raise NotImplementedError(f"coordinate_transformation_mode {how}")
    return at


def _taps(place: float, scale: float, rule: _Rule, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which inputs an output reads, and with what weights."""
    if rule.mode == "nearest":
        rounding = {
            "round_prefer_floor": math.ceil(place - 0.5),
            "round_prefer_ceil": math.floor(place + 0.5),
            "floor": math.floor(place),
            "ceil": math.ceil(place),
        }
        return np.array([rounding[rule.nearest]]), np.ones(1)
    wide = min(scale, 1.0) if rule.antialias else 1.0
    reach = (1 if rule.mode == "linear" else 2) / wide
    first, last = math.floor(place - reach) + 1, math.ceil(place + reach) - 1
    taps = np.arange(min(first, math.floor(place)), max(last, math.floor(place)) + 1)
    distance = np.abs(taps - place) * wide
    weights = np.maximum(1 - distance, 0) if rule.mode == "linear" else _cubic(distance, rule.cubic_a)
    if rule.exclude_outside or (rule.antialias and rule.mode == "cubic" and rule.exclude_outside):
        weights = np.where((taps < 0) | (taps >= size), 0, weights)
    return taps, weights / weights.sum()


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))
