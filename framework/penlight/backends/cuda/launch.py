# SPDX-License-Identifier: Apache-2.0
"""Launch sizes: the one place that decides how many blocks and threads a kernel gets."""

from __future__ import annotations

from dataclasses import dataclass

THREADS = 256
WARP = 32
MAX_THREADS = 1024
# Enough blocks to fill any GPU several times over; grid-stride loops do the rest.
MAX_BLOCKS = 8192
# Longer rows than this get a whole block: 32 lanes would each do more than 32 elements.
WARP_ROW = 1024


@dataclass(frozen=True)
class Grid:
    """Blocks and threads of one launch."""

    blocks: tuple[int, int, int]
    threads: tuple[int, int, int]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do: CUDA refuses a grid of size 0."""
        return 0 in self.blocks


def elements(count: int, itemsize: int) -> Grid:
    """For `map` in common.cuh: one thread to 16 bytes."""
    packs = -(-count * itemsize // 16)
    return Grid((min(-(-packs // THREADS), MAX_BLOCKS), 1, 1), (THREADS, 1, 1))


def rows(count: int, columns: int) -> Grid:
    """For kernels that reduce rows: a warp to a short row, a block to a long one."""
    if columns <= WARP_ROW:
        per_block = THREADS // WARP
        return Grid((min(-(-count // per_block), MAX_BLOCKS), 1, 1), (WARP, per_block, 1))
    threads = min(MAX_THREADS, 1 << (columns // 8 - 1).bit_length())
    return Grid((min(count, MAX_BLOCKS), 1, 1), (threads, 1, 1))
