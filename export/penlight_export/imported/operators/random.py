# SPDX-License-Identifier: Apache-2.0
"""Random numbers, from the framework's generator: other ones at each call."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

import penlight as pl
from penlight_export.imported.registry import operator
from penlight_export.imported.values import DTYPES

Tensor = pl.Tensor


def _dtype(code: int | None, default: Any) -> Any:
    return default if not code else DTYPES[np.dtype(tensor_dtype_to_np_dtype(code))]


@operator("RandomNormal", random=True)
def random_normal(*, shape: Any, mean: float = 0.0, scale: float = 1.0, dtype: int = 1, seed: float | None = None) -> Tensor:
    """Normal numbers of a shape."""
    return (pl.randn(*shape) * scale + mean).to(_dtype(dtype, pl.float32))


@operator("RandomNormalLike", random=True)
def random_normal_like(
    x: Tensor, *, mean: float = 0.0, scale: float = 1.0, dtype: int | None = None, seed: float | None = None
) -> Tensor:
    """Normal numbers of another tensor's shape."""
    return (pl.randn(*x.shape) * scale + mean).to(_dtype(dtype, x.dtype))


@operator("RandomUniform", random=True)
def random_uniform(*, shape: Any, low: float = 0.0, high: float = 1.0, dtype: int = 1, seed: float | None = None) -> Tensor:
    """Uniform numbers of a shape."""
    return (pl.rand(*shape) * (high - low) + low).to(_dtype(dtype, pl.float32))


@operator("RandomUniformLike", random=True)
def random_uniform_like(
    x: Tensor, *, low: float = 0.0, high: float = 1.0, dtype: int | None = None, seed: float | None = None
) -> Tensor:
    """Uniform numbers of another tensor's shape."""
    return (pl.rand(*x.shape) * (high - low) + low).to(_dtype(dtype, x.dtype))


@operator("Bernoulli", random=True)
def bernoulli(x: Tensor, *, dtype: int | None = None, seed: float | None = None) -> Tensor:
    """One with the probability that each element gives."""
    return (pl.rand(*x.shape) < x).to(_dtype(dtype, x.dtype))


@operator("Multinomial", random=True)
def multinomial(x: Tensor, *, sample_size: int = 1, dtype: int = 6, seed: float | None = None) -> Tensor:
    """Classes drawn by their logarithmic probabilities."""
    return pl.multinomial(pl.softmax(x, -1), sample_size, True).to(_dtype(dtype, pl.int32))
