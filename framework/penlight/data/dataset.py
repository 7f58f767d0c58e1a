# SPDX-License-Identifier: Apache-2.0
"""Data sets: something with a length and items, or something to iterate over."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np

from penlight.data.sampler import seed_of
from penlight.errors import DataError
from penlight.random import Generator
from penlight.serialize import as_array


class Dataset:
    """Items by index: subclasses define `__len__` and `__getitem__`, which return NumPy arrays, Tensors, numbers or text."""

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(index)")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__()")

    def __add__(self, other: "Dataset") -> "ConcatDataset":
        return ConcatDataset([self, other])


class IterableDataset:
    """Items in an order of its own: subclasses define `__iter__`, and `set_epoch(epoch)` if the order should change.

    One worker reads it, whatever `num_workers` says, unless the class says `splits_by_worker = True`: then each worker iterates
    over its own copy, and `__iter__` yields the part that belongs to `get_worker_info().id`.
    """

    splits_by_worker = False

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__()")

    def __add__(self, other: "IterableDataset") -> "ChainDataset":
        return ChainDataset([self, other])


class TensorDataset(Dataset):
    """The rows of arrays of equal length: item i is a tuple of the i-th row of each.

    Args:
        arrays: NumPy arrays or Tensors, each (N, ...).

    Raises:
        DataError: there is none, or their lengths differ.
    """

    def __init__(self, *arrays: Any):
        lengths = [len(array) for array in arrays]
        if len(set(lengths)) != 1:
            raise DataError(
                f"TensorDataset: expected arrays of one length, got lengths {lengths}; check the labels belong to the images"
            )
        # As NumPy: rows are cheap views, and worker processes receive plain numbers.
        self.arrays = tuple(as_array(array) for array in arrays)

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(array[index] for array in self.arrays)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns a whole batch at once; the loader uses it instead of one call per item."""
        return tuple(array[indices] for array in self.arrays)


class Subset(Dataset):
    """The items of `dataset` at `indices`, in that order."""

    def __init__(self, dataset: Dataset, indices: Sequence[int] | np.ndarray):
        self.dataset, self.indices = dataset, np.asarray(indices, np.int64)
        if self.indices.size and not (self.indices.min() >= 0 and self.indices.max() < len(dataset)):
            raise DataError(
                f"Subset: indices reach from {self.indices.min()} to {self.indices.max()}, the data set has {len(dataset)} items"
            )

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    @property
    def take(self) -> Any:
        """Reads a whole batch at once where the data set below can."""
        inner = getattr(self.dataset, "take", None)
        if inner is None:
            raise AttributeError(f"Subset: {type(self.dataset).__name__} has no take()")
        return lambda indices: inner(self.indices[indices])


class ConcatDataset(Dataset):
    """The items of several data sets, one after the other."""

    def __init__(self, datasets: Sequence[Dataset]):
        self.datasets = list(datasets)
        self.ends = list(accumulate(len(dataset) for dataset in self.datasets))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"ConcatDataset: index {index} is out of range for {len(self)} items")
        index %= len(self)
        which = bisect_right(self.ends, index)
        return self.datasets[which][index - (self.ends[which - 1] if which else 0)]


class ChainDataset(IterableDataset):
    """The items of several iterable data sets, one after the other."""

    def __init__(self, datasets: Iterable[IterableDataset]):
        self.datasets = list(datasets)

    def set_epoch(self, epoch: int) -> None:
        """Tells the epoch to those data sets that want to know."""
        for dataset in self.datasets:
            set_epoch = getattr(dataset, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self.datasets)


class StackDataset(Dataset):
    """Items side by side: item i is a tuple of the i-th items of all data sets, or a dict where they are given by name.

    Raises:
        DataError: there is none, both forms are mixed, or the lengths differ.

    Example:
        >>> StackDataset(images=["a", "b"], labels=[0, 1])[1]
        {'images': 'b', 'labels': 1}
    """

    def __init__(self, *datasets: Any, **named: Any):
        if bool(datasets) == bool(named):
            raise DataError("StackDataset: expected data sets either one after the other or by name")
        self.datasets: tuple[Any, ...] | dict[str, Any] = datasets or named
        self._all = list(datasets or named.values())
        lengths = [len(dataset) for dataset in self._all]
        if len(set(lengths)) != 1:
            raise DataError(f"StackDataset: expected data sets of one length, got lengths {lengths}")

    def __len__(self) -> int:
        return len(self._all[0])

    def __getitem__(self, index: int) -> Any:
        items = [dataset[index] for dataset in self._all]
        return dict(zip(self.datasets, items, strict=True)) if isinstance(self.datasets, dict) else tuple(items)


def random_split(
    dataset: Dataset, lengths: Sequence[int | float], generator: Generator | None = None, *, seed: int = 0
) -> list[Subset]:
    """Returns disjoint random subsets of `dataset`, the same ones for the same seed.

    Args:
        dataset: what to split.
        lengths: item counts that add up to its length, or fractions that add up to 1 (the last part takes the rounding).
        generator: stands for the seed it was made with.
        seed: chooses the split.

    Raises:
        DataError: the lengths do not add up.
    """
    counts = _counts(len(dataset), lengths)
    order = np.random.Generator(np.random.Philox(key=seed_of(generator, seed))).permutation(len(dataset))
    ends = list(accumulate(counts))
    return [Subset(dataset, order[end - count : end]) for count, end in zip(counts, ends, strict=True)]


def _counts(total: int, lengths: Sequence[int | float]) -> list[int]:
    if any(isinstance(length, float) for length in lengths) and abs(sum(lengths) - 1) < 1e-6:
        counts = [int(total * length) for length in lengths]
        counts[-1] += total - sum(counts)
        return counts
    if any(length < 0 or length != int(length) for length in lengths) or sum(lengths) != total:
        raise DataError(f"random_split: lengths {list(lengths)} must add up to {total} items, or be fractions that add up to 1")
    return [int(length) for length in lengths]
