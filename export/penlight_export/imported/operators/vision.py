# SPDX-License-Identifier: Apache-2.0
"""Operators of detectors and warps."""

from __future__ import annotations

from typing import Any

import numpy as np

import penlight as pl
from penlight.nn import functional as F
from penlight_export.imported.registry import operator
from penlight_export.imported.values import numbers

Tensor = pl.Tensor

_GRID_MODES = {"linear": "bilinear", "bilinear": "bilinear", "nearest": "nearest", "cubic": "bicubic", "bicubic": "bicubic"}


@operator("GridSample")
def grid_sample(x: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros") -> Tensor:
    """Reads at places between pixels."""
    return F.grid_sample(x, grid, _GRID_MODES[mode], padding_mode, bool(align_corners))


@operator("NonMaxSuppression", known=(2, 3, 4))
def non_max_suppression(
    boxes: Tensor, scores: Tensor, limit: Any = None, overlap: Any = None, threshold: Any = None, *, center_point_box: int = 0
) -> Tensor:
    """(batch, class, box) of the best boxes that overlap no better one; it reads the data and has no gradient."""
    most = 0 if limit is None else int(numbers(limit)[0])
    worst = 0.0 if overlap is None else float(numbers(overlap)[0])
    least = -np.inf if threshold is None else float(numbers(threshold)[0])
    b, s = boxes.detach().numpy(), scores.detach().numpy()
    corners = np.concatenate([b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2], -1) if center_point_box else b
    low, high = np.minimum(corners[..., :2], corners[..., 2:]), np.maximum(corners[..., :2], corners[..., 2:])
    found = [
        (n, c, k) for n in range(s.shape[0]) for c in range(s.shape[1]) for k in _kept(low[n], high[n], s[n, c], most, worst, least)
    ]
    return pl.tensor(np.asarray(found, np.int64).reshape(-1, 3))


def _kept(low: np.ndarray, high: np.ndarray, scores: np.ndarray, most: int, worst: float, least: float) -> list[int]:
    """The boxes of one class that stay, best first."""
    order = [k for k in np.argsort(-scores, kind="stable").tolist() if scores[k] > least]
    areas = np.prod(high - low, -1)
    kept: list[int] = []
    for k in order:
        if len(kept) >= most:
            break
        if kept:
            common = np.prod(np.maximum(np.minimum(high[k], high[kept]) - np.maximum(low[k], low[kept]), 0), -1)
            together = areas[k] + areas[kept] - common
            if (common > worst * together).any():
                continue
        kept.append(k)
    return kept


@operator("RoiAlign")
def roi_align(
    x: Tensor,
    rois: Tensor,
    batch: Tensor,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """The mean of samples in each bin of each region; the regions are read, gradients flow to the image."""
    if mode != "avg":
        raise NotImplementedError(f"mode '{mode}': the framework has avg")
    half = coordinate_transformation_mode == "half_pixel"
    regions = rois.detach().numpy().astype(np.float64) * spatial_scale - (0.5 if half else 0.0)
    results = []
    for (left, top, right, bottom), image in zip(regions, batch.detach().numpy(), strict=True):
        rows = _bins(top, bottom, output_height, sampling_ratio, half, x.shape[2])
        columns = _bins(left, right, output_width, sampling_ratio, half, x.shape[3])
        w_y, w_x = (pl.tensor(matrix.astype(x.dtype.numpy)) for matrix in (rows, columns.T))
        results.append(pl.matmul(pl.matmul(w_y, x[int(image)]), w_x))
    return pl.stack(results) if results else pl.zeros(0, x.shape[1], output_height, output_width, dtype=x.dtype)


def _bins(start: float, end: float, count: int, ratio: int, half: bool, size: int) -> np.ndarray:
    """(count, size): the weights of pixels in each bin of one dimension; linear interpolation is separable, and so is the mean."""
    width = end - start if half else max(end - start, 1.0)
    samples = ratio if ratio > 0 else max(int(np.ceil(width / count)), 1)
    at = start + (np.arange(count * samples) + 0.5) * width / (count * samples)
    inside = (at >= -1) & (at <= size)
    at = np.clip(at, 0, size - 1)
    low = np.floor(at).astype(np.int64)
    matrix = np.zeros((count * samples, size))
    rows = np.arange(count * samples)
    np.add.at(matrix, (rows, low), (1 - (at - low)) * inside)
    np.add.at(matrix, (rows, np.minimum(low + 1, size - 1)), (at - low) * inside)
    return matrix.reshape(count, samples, size).mean(1)
