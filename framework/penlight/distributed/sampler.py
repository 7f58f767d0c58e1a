# SPDX-License-Identifier: Apache-2.0
"""DistributedSampler: each rank reads its own part of one common order."""

from __future__ import annotations

from collections.abc import Sized

import numpy as np

from penlight.data.sampler import RandomSampler, Sampler, SequentialSampler
from penlight.distributed import group
from penlight.errors import ArgumentError


class DistributedSampler(Sampler):
    """Every `num_replicas`-th index of the order that one process would read, beginning with `rank`.

    The order is that of `RandomSampler(seed=seed)` at the epoch, or 0, 1, 2, ... without shuffling. So batch k of all ranks
    together holds the same samples as batch k of one process with a batch `num_replicas` times as large. The loader hands in
    the epoch and can resume at any batch; there is no `set_epoch` here.

    Args:
        dataset: anything with a length.
        num_replicas: parts; the size of the group by default.
        rank: which of them; the rank in the group by default.
        shuffle: a new order in each epoch.
        seed: chooses the orders; the same on all ranks.
        drop_last: where the samples do not divide evenly, drop the last few.
        pad: else repeat the first few, so that all ranks do the same number of steps (training needs that). With
            `pad=False` each sample comes exactly once and some ranks have one more: for evaluation.

    Example:
        >>> [DistributedSampler(range(5), 2, rank, shuffle=False).order(0).tolist() for rank in range(2)]
        [[0, 2, 4], [1, 3, 0]]
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        *,
        pad: bool = True,
    ) -> None:
        self.num_replicas = group.get_world_size() if num_replicas is None else num_replicas
        self.rank = group.get_rank() if rank is None else rank
        if not 0 <= self.rank < self.num_replicas:
            raise ArgumentError(f"DistributedSampler: expected 0 <= rank < num_replicas, came {self.rank} and {self.num_replicas}")
        self.size, self.shuffle, self.seed, self.drop_last, self.pad = len(dataset), shuffle, seed, drop_last, pad
        self._whole: Sampler = RandomSampler(self.size, seed=seed) if shuffle else SequentialSampler(self.size)

    def __len__(self) -> int:
        """Returns the number of samples of this rank."""
        if self.drop_last:
            return self.size // self.num_replicas
        if self.pad:
            return -(-self.size // self.num_replicas)
        return len(range(self.rank, self.size, self.num_replicas))

    def order(self, epoch: int) -> np.ndarray:
        """Returns the indices of this rank in the epoch, int64."""
        order = self._whole.order(epoch)
        if self.pad and not self.drop_last and self.size:
            order = np.resize(order, len(self) * self.num_replicas)  # goes on with the first ones
        return order[self.rank :: self.num_replicas][: len(self)]
