# SPDX-License-Identifier: Apache-2.0
"""Samplers: the order in which a data set is read, as a function of (seed, epoch) and nothing else.

No global random state is touched or read, so an order can be reproduced at any position after a crash, whatever else drew
random numbers in between.
"""

from collections.abc import Iterator, Sequence

import numpy as np


def generator_at(seed: int, *place: int) -> np.random.Generator:
    """Returns the NumPy generator that belongs to a place, such as (epoch, position), of the run with this seed."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *place))))


class Sampler:
    """An order for each epoch: subclasses define `order(epoch)`, an int64 array of indices, and `__len__`."""

    def order(self, epoch: int) -> np.ndarray:
        """Returns the indices in the order in which the epoch reads them, (N,) int64."""
        raise NotImplementedError(f"{type(self).__name__} must define order(epoch)")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__()")

    def __iter__(self) -> Iterator[int]:
        """Iterates over epoch 0; the loader asks `order` instead."""
        return iter(self.order(0).tolist())


class SequentialSampler(Sampler):
    """0, 1, ..., N - 1."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def order(self, epoch: int) -> np.ndarray:
        """Returns 0..N-1, the same in every epoch."""
        return np.arange(self.size)


class RandomSampler(Sampler):
    """A new permutation of 0..N-1 in each epoch, or with `replacement` N independent draws."""

    def __init__(self, size: int, *, seed: int = 0, replacement: bool = False):
        self.size, self.seed, self.replacement = size, seed, replacement

    def __len__(self) -> int:
        return self.size

    def order(self, epoch: int) -> np.ndarray:
        """Returns the permutation that belongs to (seed, epoch)."""
        generator = generator_at(self.seed, epoch)
        return generator.integers(self.size, size=self.size) if self.replacement else generator.permutation(self.size)


class WeightedRandomSampler(Sampler):
    """`num_samples` draws in which index i comes up in proportion to `weights[i]`, for classes of unequal size."""

    def __init__(self, weights: Sequence[float] | np.ndarray, num_samples: int, *, replacement: bool = True, seed: int = 0):
        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1 or not (self.weights >= 0).all() or not 0 < self.weights.sum() < np.inf:
            raise ValueError(
                f"WeightedRandomSampler: expected a list of finite weights >= 0 that are not all 0, got shape {self.weights.shape}"
            )
        possible = np.count_nonzero(self.weights)
        if not replacement and num_samples > possible:
            raise ValueError(f"WeightedRandomSampler: cannot draw {num_samples} different indices from {possible} with weight > 0")
        self.num_samples, self.replacement, self.seed = num_samples, replacement, seed

    def __len__(self) -> int:
        return self.num_samples

    def order(self, epoch: int) -> np.ndarray:
        """Returns the draws that belong to (seed, epoch)."""
        p = self.weights / self.weights.sum()
        return generator_at(self.seed, epoch).choice(len(p), size=self.num_samples, replace=self.replacement, p=p)
