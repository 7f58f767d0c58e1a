# SPDX-License-Identifier: Apache-2.0
"""What the numbers of a tensor are like: range, moments, and a histogram; of a large tensor, of an even sample."""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 40
_SAMPLE = 1 << 20  # elements; more would make a page of a large model slow to write and tell nothing new


def describe_numbers(array: np.ndarray) -> dict[str, Any]:
    """Plain facts for a page: minimum, maximum, mean, standard deviation, share of zeros, and counts of equal bins between.

    Args:
        array: any shape, numbers or bools. NaN and infinities are counted apart.
    """
    flat = array.reshape(-1)
    flat = flat[:: max(1, -(-flat.size // _SAMPLE))].astype(np.float64)
    finite = flat[np.isfinite(flat)]
    facts: dict[str, Any] = {"size": int(array.size), "nonfinite": int(flat.size - finite.size)}
    if not finite.size:
        return facts
    low, high = float(finite.min()), float(finite.max())
    counts = np.histogram(finite, BINS, (low, high))[0] if high > low else np.array([finite.size])
    return facts | {
        "low": low,
        "high": high,
        "mean": float(finite.mean()),
        "std": float(finite.std()),
        "zeros": float(np.mean(finite == 0)),
        "counts": counts.tolist(),
    }
