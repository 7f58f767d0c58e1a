# SPDX-License-Identifier: Apache-2.0
"""The further kinds of dropout: whole channels, and the one that keeps the mean and variance of SELU networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penlight.errors import ArgumentError
from penlight.ops.dropout import drawn_on_device, dropout2d
from penlight.ops.rectifier import SELU_ALPHA, SELU_SCALE
from penlight.random import Generator, default_generator
from penlight.tape import mode
from penlight.tensor import Tensor, from_array


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Returns (N, C, L) or (C, L) with whole channels set to 0 with probability `p`, the others divided by 1 - p."""
    return _drop_channels(input, 2, p, training, generator)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Returns (N, C, D, H, W) or (C, D, H, W) with whole channels set to 0 with probability `p`, the others divided by 1 - p."""
    return _drop_channels(input, 4, p, training, generator)


def _drop_channels(input: Tensor, unbatched: int, p: float, training: bool, generator: Generator | None) -> Tensor:
    if input.ndim == unbatched:
        return dropout2d(input.unsqueeze(0), p, training, generator=generator).squeeze(0)
    return dropout2d(input, p, training, generator=generator)


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Returns the input with elements replaced by SELU's limit with probability `p`, then scaled to mean 0 and variance 1.

    Raises:
        ArgumentError: `p` is not in [0, 1].
    """
    return _alpha(input, p, training, tuple(input._data.shape), generator)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Returns `alpha_dropout`, of whole channels of (N, C, ...)."""
    shape = tuple(input._data.shape)
    return _alpha(input, p, training, (*shape[:2], *(1,) * (len(shape) - 2)), generator)


def _alpha(input: Tensor, p: float, training: bool, shape: Any, generator: Generator | None) -> Tensor:
    if not 0 <= p <= 1:
        raise ArgumentError(f"alpha_dropout: p must be in [0, 1], came {p}")
    if not training or p == 0:
        return input
    if mode.tracer is not None:
        mode.tracer.refuse_random("dropout in training mode")
    if p == 1:
        return input * 0.0
    limit = -SELU_ALPHA * SELU_SCALE
    scale = 1 / math.sqrt((1 - p) * (1 + p * limit * limit))
    if (mask := drawn_on_device(input, p, shape, generator or default_generator)) is not None:
        kept = (mask > 0).to(input.dtype)
        return input * (kept * scale) + ((1.0 - kept) * limit - p * limit) * scale
    keep = (generator or default_generator).numpy.random(shape, dtype=np.float32) >= p
    factor = from_array(np.asarray(keep * scale).astype(input._data.dtype)).to(input.device)
    shift = from_array(np.asarray((~keep * limit - p * limit) * scale).astype(input._data.dtype)).to(input.device)
    return input * factor + shift
