# SPDX-License-Identifier: Apache-2.0
"""Blocks of space as channels and back."""

from __future__ import annotations

import penlight as pl
from penlight.nn import functional as F
from penlight_export.imported.registry import operator

Tensor = pl.Tensor


@operator("DepthToSpace")
def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Channels become blocks; CRD is PyTorch's pixel shuffle."""
    if mode == "CRD":
        return F.pixel_shuffle(x, blocksize)
    batch, channels, height, width = x.shape
    y = x.reshape(batch, blocksize, blocksize, channels // blocksize**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return y.reshape(batch, channels // blocksize**2, height * blocksize, width * blocksize)


@operator("SpaceToDepth")
def space_to_depth(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Blocks become channels, the place in the block first; CRD has the channel first."""
    batch, channels, height, width = x.shape
    order = (0, 1, 3, 5, 2, 4) if mode == "CRD" else (0, 3, 5, 1, 2, 4)
    y = x.reshape(batch, channels, height // blocksize, blocksize, width // blocksize, blocksize).permute(*order)
    return y.reshape(batch, channels * blocksize**2, height // blocksize, width // blocksize)
