# SPDX-License-Identifier: Apache-2.0
"""The order in which a tensor's elements lie in memory, under PyTorch's names."""

from __future__ import annotations


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
