# SPDX-License-Identifier: Apache-2.0
"""Padding with what is there already: mirrored, repeated or wrapped around."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.errors import ArgumentError, ShapeError
from penlight.ops.convert import keeps_channels_last
from penlight.ops.gather import index_select
from penlight.ops.shape import pad as pad_constant
from penlight.tensor import Tensor, from_numpy

MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # PyTorch's word to NumPy's


@keeps_channels_last
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Returns the input with more elements before and after in its last dimensions.

    Args:
        input: any shape.
        pad: (before, after) of the last dimension, then of the one before it, and so on; negative numbers crop.
        mode: "constant" writes `value`; "reflect" mirrors without the border element, "replicate" repeats the border
            element, "circular" goes on at the other end.
        value: for "constant", 0 by default.

    Raises:
        ArgumentError: an odd number of pads, too many of them, or an unknown mode.
        ShapeError: "reflect" or "circular" wants more elements than there are.
    """
    if mode == "constant":
        return pad_constant(input, pad, mode, 0.0 if value is None else value)
    if mode not in MODES:
        raise ArgumentError(f'pad: mode must be "constant", "reflect", "replicate" or "circular", came {mode!r}')
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ArgumentError(f"pad: expected (before, after) for at most {input.ndim} dimensions, came {tuple(pad)}")
    for number in range(len(pad) // 2):
        input = _pad_dim(input, input.ndim - 1 - number, pad[2 * number], pad[2 * number + 1], mode)
    return input


def _pad_dim(input: Tensor, dim: int, before: int, after: int, mode: str) -> Tensor:
    if not before and not after:
        return input
    size: Any = int(input.shape[dim])
    limit = {"reflect": size - 1, "circular": size}.get(mode, before if size else 0)
    if max(before, after) > max(limit, after if mode == "replicate" and size else limit):
        raise ShapeError(f"pad: {mode!r} of ({before}, {after}) needs more than the {size} elements of dimension {dim}")
    kept, wide = slice(max(-before, 0), size - max(-after, 0)), (max(before, 0), max(after, 0))
    if mode == "circular":  # goes round in what the crop leaves, as in PyTorch; the others see what is cropped
        places = np.pad(np.arange(size)[kept], wide, mode="wrap")
    else:
        places = np.pad(np.arange(size), wide, mode=MODES[mode])
        places = places[max(-before, 0) : len(places) - max(-after, 0)]
    return index_select(input, dim, from_numpy(np.ascontiguousarray(places)).to(input.device))
