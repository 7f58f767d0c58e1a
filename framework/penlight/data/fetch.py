# SPDX-License-Identifier: Apache-2.0
"""Reading one batch: the same code in the training process, in a worker process and in a worker thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np

from penlight.data.collate import default_collate
from penlight.data.sampler import batch_count, generator_at

Observer = Callable[[int], None]

_place: ContextVar[tuple[int, int, int]] = ContextVar("place", default=(0, 0, 0))


def item_generator() -> np.random.Generator:
    """Returns the random generator of the item being read, for augmentation in a data set's `__getitem__`.

    It depends on (seed, epoch, position of the item in the epoch) alone: the number of workers does not change the
    augmentation, and a resumed run repeats it exactly.
    """
    return generator_at(*_place.get())


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker runs this code.

    Attributes:
        id: 0, 1, ..., num_workers - 1.
        num_workers: workers of this loader.
        seed: differs between workers, epochs and seeds of the loader.
        dataset: the data set; in a worker process it is that process's own copy.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


# The default is None in the training process; a worker process changes it for all of its threads.
_whole_process: list[WorkerInfo | None] = [None]
_this_thread: ContextVar[WorkerInfo | None] = ContextVar("worker", default=None)


def get_worker_info() -> WorkerInfo | None:
    """Returns which worker runs this code, or None in the training process itself."""
    return _this_thread.get() or _whole_process[0]


def set_worker_info(info: WorkerInfo, whole_process: bool) -> None:
    """Says that this thread, or this process, is a worker."""
    if whole_process:
        _whole_process[0] = info
    else:
        _this_thread.set(info)


class Plan:
    """Which items make which batch of a pass: batch b is `order[ends[b - 1] : ends[b]]`."""

    def __init__(self, order: np.ndarray, ends: np.ndarray):
        self.order, self.ends = order, ends

    @classmethod
    def uniform(cls, order: np.ndarray, batch_size: int, drop_last: bool) -> Plan:
        """Returns the plan of batches of one size."""
        ends = (np.arange(batch_count(len(order), batch_size, drop_last)) + 1) * batch_size
        return cls(order, np.minimum(ends, len(order)))

    @classmethod
    def of_lists(cls, lists: Sequence[Sequence[int]]) -> Plan:
        """Returns the plan of given lists of indices."""
        parts = [np.asarray(part, np.int64) for part in lists]
        order = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        return cls(order, np.cumsum([len(part) for part in parts], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def batch(self, number: int) -> tuple[int, np.ndarray]:
        """Returns the position of a batch's first item in the epoch, and its indices."""
        start = int(self.ends[number - 1]) if number else 0
        return start, self.order[start : int(self.ends[number])]


@dataclass(frozen=True)
class Pass:
    """One pass over the data from batch `first` on; `plan` is None for an IterableDataset."""

    epoch: int
    first: int
    plan: Plan | None


@dataclass(frozen=True)
class Source:
    """What a worker needs to know once: the data set and how batches are made of its items.

    `batch_size` None hands out single items, passed through `collate` one by one.
    """

    dataset: Any
    collate: Callable[[Any], Any]
    batch_size: int | None
    drop_last: bool
    seed: int

    @property
    def splits_by_worker(self) -> bool:
        """Whether each worker iterates over a part of its own of an IterableDataset."""
        return bool(getattr(self.dataset, "splits_by_worker", False))

    def batches(self, task: Pass, worker: int, workers: int, observe: Observer) -> Iterator[tuple[int, Any]]:
        """Yields (number, batch) for this worker's share: first + worker, first + worker + workers, ...

        `observe` is told each item before it is read.
        """
        if task.plan is None:
            yield from self._stream(task, worker, workers, observe)
            return
        for number in range(task.first + worker, len(task.plan), workers):
            start, indices = task.plan.batch(number)
            yield number, self._batch(task.epoch, indices, start, observe)

    def _batch(self, epoch: int, indices: np.ndarray, start: int, observe: Observer) -> Any:
        if self.batch_size is not None and len(indices):
            whole = self._whole_batch(epoch, indices, start, observe)
            if whole is not None:
                return whole
        items = []
        for offset, index in enumerate(indices.tolist()):
            observe(index)
            _place.set((self.seed, epoch, start + offset))
            items.append(self.dataset[index])
        return self.collate(items) if self.batch_size is not None else self.collate(items[0])

    def _whole_batch(self, epoch: int, indices: np.ndarray, start: int, observe: Observer) -> Any:
        """A batch that the data set reads in one call, or None: `take` (ours, stacked) or `__getitems__` (PyTorch's, a list)."""
        take = getattr(self.dataset, "take", None) if self.collate is default_collate else None
        read = take or getattr(self.dataset, "__getitems__", None)
        if read is None:
            return None
        observe(int(indices[0]))
        _place.set((self.seed, epoch, start))
        return take(indices) if take is not None else self.collate(read(indices.tolist()))

    def _stream(self, task: Pass, worker: int, workers: int, observe: Observer) -> Iterator[tuple[int, Any]]:
        set_epoch = getattr(self.dataset, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(task.epoch)
        step = workers if self.splits_by_worker else 1
        items = self._observed(task.epoch, observe)
        size = self.batch_size or 1
        for _ in islice(items, task.first // step * size):  # a stream has no other way to its middle
            pass
        for number in count(task.first + worker, step):
            batch = list(islice(items, size))
            if not batch or (len(batch) < size and self.drop_last):
                return
            yield number, self.collate(batch) if self.batch_size is not None else self.collate(batch[0])

    def _observed(self, epoch: int, observe: Observer) -> Iterator[Any]:
        iterator = iter(self.dataset)
        for position in count():
            observe(position)
            _place.set((self.seed, epoch, position))
            try:
                item = next(iterator)
            except StopIteration:
                return
            yield item
