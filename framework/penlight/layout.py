# SPDX-License-Identifier: Apache-2.0
"""The order in which a tensor's elements lie in memory, under PyTorch's names."""

from __future__ import annotations

from typing import Any


class memory_format:
    """An order of the elements in memory: `contiguous_format`, `channels_last`, ..."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"penlight.{self.name}"


contiguous_format = memory_format("contiguous_format")  # row-major
preserve_format = memory_format("preserve_format")  # as the input
channels_last = memory_format("channels_last")  # (N, C, H, W) stored as (N, H, W, C)
channels_last_3d = memory_format("channels_last_3d")  # (N, C, D, H, W) stored as (N, D, H, W, C)

RANKS = {channels_last: 4, channels_last_3d: 5}  # how many dimensions a tensor in that format has


def is_in_format(array: Any, format: memory_format) -> bool:
    """Whether the elements of an array lie in the order of `format`, without gaps; sizes of 1 fit any order."""
    if format in RANKS:
        return array.ndim == RANKS[format] and array.transpose(0, *range(2, array.ndim), 1).flags.c_contiguous
    return format is preserve_format or array.flags.c_contiguous


def dims_in_memory(array: Any) -> tuple[int, ...] | None:
    """The dimensions from the outermost in memory to the innermost; None where there are gaps or repeats."""
    dims = tuple(range(array.ndim))
    if array.flags.c_contiguous:
        return dims
    dims = tuple(sorted(dims, key=lambda d: -array.strides[d]))
    return dims if array.transpose(dims).flags.c_contiguous else None


def copy_in_order(array: Any, dims: tuple[int, ...]) -> Any:
    """A copy of an array whose dimensions lie in memory as `dims` says, from the outermost."""
    back = sorted(range(len(dims)), key=lambda d: dims[d])
    return array.transpose(dims).copy().transpose(back)
