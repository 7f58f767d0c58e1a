# SPDX-License-Identifier: Apache-2.0
"""Reading one batch: the same code in the training process and in a worker."""

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from penlight.data.collate import default_collate
from penlight.data.sampler import generator_at

Observer = Callable[[int], None]

_place: ContextVar[tuple[int, int, int]] = ContextVar("place", default=(0, 0, 0))


def item_generator() -> np.random.Generator:
    """Returns the random generator of the item being read, for augmentation in a data set's `__getitem__`.

    It depends on (seed, epoch, position of the item in the epoch) alone: the number of workers does not change the
    augmentation, and a resumed run repeats it exactly.
    """
    return generator_at(*_place.get())


@dataclass(frozen=True)
class Reading:
    """One pass over a data set from some batch on: everything a worker needs to know.

    `order` holds the indices of the whole epoch (None for an IterableDataset), `first` the batch to begin with.
    """

    dataset: Any  # a Dataset or an IterableDataset
    collate: Callable[[Sequence[Any]], Any]
    batch_size: int
    drop_last: bool
    seed: int
    epoch: int
    first: int
    order: np.ndarray | None

    def batches(self, worker: int, workers: int, observe: Observer) -> Iterator[Any]:
        """Yields the batches first + worker, first + worker + workers, ...; tells `observe` each item before it is read."""
        if self.order is None:
            yield from self._stream(observe)
            return
        for batch in range(self.first + worker, batch_count(len(self.order), self.batch_size, self.drop_last), workers):
            start = batch * self.batch_size
            yield self._batch(self.order[start : start + self.batch_size], start, observe)

    def _batch(self, indices: np.ndarray, start: int, observe: Observer) -> Any:
        take = getattr(self.dataset, "take", None)
        if take is not None and self.collate is default_collate:
            observe(int(indices[0]))
            return take(indices)
        items = []
        for offset, index in enumerate(indices.tolist()):
            observe(index)
            _place.set((self.seed, self.epoch, start + offset))
            items.append(self.dataset[index])
        return self.collate(items)

    def _stream(self, observe: Observer) -> Iterator[Any]:
        set_epoch = getattr(self.dataset, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(self.epoch)
        items = self._observed(observe)
        for _ in islice(items, self.first * self.batch_size):  # a stream has no other way to its middle
            pass
        while batch := list(islice(items, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.collate(batch)

    def _observed(self, observe: Observer) -> Iterator[Any]:
        iterator = iter(self.dataset)
        position = 0
        while True:
            observe(position)
            _place.set((self.seed, self.epoch, position))
            try:
                item = next(iterator)
            except StopIteration:
                return
            yield item
            position += 1


def batch_count(items: int, batch_size: int, drop_last: bool) -> int:
    """Returns how many batches `items` make."""
    return items // batch_size if drop_last else -(-items // batch_size)
