# SPDX-License-Identifier: Apache-2.0
"""Samplers: the order in which a data set is read, as a function of (seed, epoch) and nothing else.

No global random state is touched or read, so an order can be reproduced at any position after a crash, whatever else drew
random numbers in between. A `generator`, where PyTorch takes one, stands for the seed it was made with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from penlight.random import Generator


def generator_at(seed: int, *place: int) -> np.random.Generator:
    """Returns the NumPy generator that belongs to a place, such as (epoch, position), of the run with this seed."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *place))))


def seed_of(generator: Generator | None, seed: int) -> int:
    """Returns the seed that a generator was made with, or `seed` without one."""
    return seed if generator is None else generator.initial_seed() % (1 << 63)


class Sampler:
    """An order for each epoch: subclasses define `order(epoch)`, an int64 array of indices, and `__len__`."""

    # The epoch that set_epoch named; the loader's next pass takes it over.
    next_epoch: int | None = None

    def order(self, epoch: int) -> np.ndarray:
        """Returns the indices in the order in which the epoch reads them, (N,) int64."""
        raise NotImplementedError(f"{type(self).__name__} must define order(epoch)")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__()")

    def __iter__(self) -> Iterator[Any]:
        """Iterates over the epoch that `set_epoch` named, or epoch 0; the loader asks `order` instead."""
        return iter(self.order(self.next_epoch or 0).tolist())

    def set_epoch(self, epoch: int) -> None:
        """Makes the next pass that of `epoch`, as PyTorch's loops do; a loader counts epochs by itself."""
        self.next_epoch = epoch


class SequentialSampler(Sampler):
    """0, 1, ..., N - 1; `data_source` is a data set or N."""

    def __init__(self, data_source: Sized | int):
        self.size = _size(data_source)

    def __len__(self) -> int:
        return self.size

    def order(self, epoch: int) -> np.ndarray:
        """Returns 0..N-1, the same in every epoch."""
        return np.arange(self.size)


class RandomSampler(Sampler):
    """A new permutation of 0..N-1 in each epoch, or with `replacement` independent draws.

    Args:
        data_source: a data set, or N.
        replacement: draw each index on its own.
        num_samples: how many; N by default. Beyond N without replacement, one permutation follows the other.
        generator: stands for the seed it was made with.
        seed: chooses the orders.
    """

    def __init__(
        self,
        data_source: Sized | int,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
        *,
        seed: int = 0,
    ):
        self.size, self.replacement, self.seed = _size(data_source), replacement, seed_of(generator, seed)
        self.num_samples = self.size if num_samples is None else num_samples
        if self.num_samples < 0 or (self.num_samples and not self.size):
            raise ValueError(f"RandomSampler: cannot draw {num_samples} samples from {self.size} items")

    def __len__(self) -> int:
        return self.num_samples

    def order(self, epoch: int) -> np.ndarray:
        """Returns the permutation or the draws that belong to (seed, epoch)."""
        generator = generator_at(self.seed, epoch)
        if self.replacement:
            return generator.integers(self.size, size=self.num_samples) if self.size else np.zeros(0, np.int64)
        rounds = -(-self.num_samples // self.size) if self.size else 0
        orders = [generator.permutation(self.size) for _ in range(rounds)]
        return np.concatenate(orders)[: self.num_samples] if orders else np.zeros(0, np.int64)


class SubsetRandomSampler(Sampler):
    """The given indices in a new order in each epoch."""

    def __init__(self, indices: Sequence[int] | np.ndarray, generator: Generator | None = None, *, seed: int = 0):
        self.indices, self.seed = np.asarray(indices, np.int64), seed_of(generator, seed)

    def __len__(self) -> int:
        return len(self.indices)

    def order(self, epoch: int) -> np.ndarray:
        """Returns the permutation of the indices that belongs to (seed, epoch)."""
        return generator_at(self.seed, epoch).permutation(self.indices)


class WeightedRandomSampler(Sampler):
    """`num_samples` draws in which index i comes up in proportion to `weights[i]`, for classes of unequal size."""

    def __init__(
        self,
        weights: Sequence[float] | np.ndarray,
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
        *,
        seed: int = 0,
    ):
        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1 or not (self.weights >= 0).all() or not 0 < self.weights.sum() < np.inf:
            raise ValueError(
                f"WeightedRandomSampler: expected a list of finite weights >= 0 that are not all 0, got shape {self.weights.shape}"
            )
        possible = np.count_nonzero(self.weights)
        if not replacement and num_samples > possible:
            raise ValueError(f"WeightedRandomSampler: cannot draw {num_samples} different indices from {possible} with weight > 0")
        self.num_samples, self.replacement, self.seed = num_samples, replacement, seed_of(generator, seed)

    def __len__(self) -> int:
        return self.num_samples

    def order(self, epoch: int) -> np.ndarray:
        """Returns the draws that belong to (seed, epoch)."""
        p = self.weights / self.weights.sum()
        return generator_at(self.seed, epoch).choice(len(p), size=self.num_samples, replace=self.replacement, p=p)


class BatchSampler(Sampler):
    """Groups the indices of a sampler into lists; for `DataLoader(batch_sampler=...)`.

    Args:
        sampler: a `Sampler`, or an iterable of indices.
        batch_size: indices per list.
        drop_last: leave out a last list that is not full.

    Example:
        >>> list(BatchSampler(SequentialSampler(5), 2, drop_last=False))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Sampler | Iterable[int], batch_size: int, drop_last: bool = False):
        if batch_size < 1:
            raise ValueError(f"BatchSampler: expected batch_size >= 1, got {batch_size}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __len__(self) -> int:
        return batch_count(len(self.sampler), self.batch_size, self.drop_last)  # type: ignore[arg-type]  # one without a length raises TypeError

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.lists(self.next_epoch or 0))

    def order(self, epoch: int) -> np.ndarray:
        """Returns the indices of all lists, one after the other."""
        return np.array([index for batch in self.lists(epoch) for index in batch], np.int64)

    def lists(self, epoch: int) -> list[list[int]]:
        """Returns the lists of the epoch."""
        order = order_of(self.sampler, epoch)
        count = batch_count(len(order), self.batch_size, self.drop_last)
        return [order[i * self.batch_size : (i + 1) * self.batch_size].tolist() for i in range(count)]


def order_of(sampler: Sampler | Iterable[int], epoch: int) -> np.ndarray:
    """Returns the indices of an epoch; a plain iterable is read anew each time, after `set_epoch` where it has one."""
    if isinstance(sampler, Sampler):
        return sampler.order(epoch)
    set_epoch = getattr(sampler, "set_epoch", None)
    if set_epoch is not None:
        set_epoch(epoch)
    return np.fromiter(sampler, np.int64)


def batch_count(items: int, batch_size: int, drop_last: bool) -> int:
    """Returns how many batches `items` make."""
    return items // batch_size if drop_last else -(-items // batch_size)


def _size(data_source: Sized | int) -> int:
    return data_source if isinstance(data_source, int) else len(data_source)
