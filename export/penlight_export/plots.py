# SPDX-License-Identifier: Apache-2.0
"""Two tensors that should be equal, as few numbers as a page needs to plot them against each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight_export.histogram import BINS

POINTS = 400  # of a plot; the largest differences are always among them


def describe_pair(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Plain facts: histograms over the same bins, and points (place, a, b) spread evenly with the largest differences added.

    Args:
        a, b: of the same shape, at least one element. NaN and infinities become texts in points and are left out of histograms.
    """
    left, right = a.reshape(-1).astype(np.float64), b.reshape(-1).astype(np.float64)
    with np.errstate(invalid="ignore"):  # inf - inf
        error = np.nan_to_num(np.abs(left - right), nan=np.inf, posinf=np.inf)
    error[(left == right) | (np.isnan(left) & np.isnan(right))] = 0
    worst = np.argpartition(-error, min(20, error.size - 1))[:20]
    places = np.unique(np.concatenate([np.linspace(0, left.size - 1, min(POINTS, left.size)).astype(np.int64), worst]))
    finite = np.concatenate([left[np.isfinite(left)], right[np.isfinite(right)]])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    high = high if high > low else low + 1
    counts = [np.histogram(side[np.isfinite(side)], BINS, (low, high))[0].tolist() for side in (left, right)]
    points = {"place": places.tolist(), "a": left[places].tolist(), "b": right[places].tolist()}
    shape = list(a.shape)
    return {"shape": shape, "low": low, "high": high, "counts": counts, "points": points, "worst": int(error.argmax())}
