# SPDX-License-Identifier: Apache-2.0
"""DataLoader: batches in an order derived from (seed, epoch, position), so that a run can go on at any batch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from penlight.data.collate import default_collate, to_arrays, to_tensors
from penlight.data.dataset import Dataset, IterableDataset
from penlight.data.fetch import Reading, batch_count
from penlight.data.sampler import RandomSampler, Sampler, SequentialSampler
from penlight.data.worker import WorkerPool
from penlight.errors import CheckpointError


class DataLoader:
    """Iterates over a data set in batches of Tensors.

    Each pass is one epoch and has its own order. `state_dict()` taken between two batches and given to `load_state_dict()`
    makes the next pass go on with the batch that would have come next. Nothing draws from a global random generator.

    Args:
        dataset: items by index (`Dataset`, or any object with `__len__` and `__getitem__`), or an `IterableDataset`.
        batch_size: items per batch.
        shuffle: a new order in each epoch, from `seed` and the epoch.
        sampler: the order instead: a `Sampler`, or an iterable of indices that is read once per epoch.
        num_workers: processes that read ahead; 0 reads in this one. An IterableDataset has one reader at most.
        collate_fn: makes a batch from a list of items; by default arrays are stacked.
        drop_last: leave out a last batch that is not full.
        timeout: seconds after which a worker that is still at the same item is an error; 0 waits forever.
        seed: chooses the orders.
        prefetch_factor: batches each worker keeps ready.
        multiprocessing_context: "forkserver" (default where there is one), "spawn" or "fork".

    Raises:
        WorkerError: while iterating, within 5 s of a worker's death or suspension; it names the worker and the item.

    Example:
        >>> loader = DataLoader(TensorDataset(np.arange(5)), batch_size=2)
        >>> [batch[0].shape for batch in loader]
        [(2,), (2,), (1,)]
    """

    def __init__(
        self,
        dataset: Dataset | IterableDataset | Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Sampler | Iterable[int] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Sequence[Any]], Any] | None = None,
        drop_last: bool = False,
        timeout: float = 60.0,
        *,
        seed: int = 0,
        prefetch_factor: int = 2,
        multiprocessing_context: str | None = None,
    ):
        if batch_size < 1 or num_workers < 0 or prefetch_factor < 1:
            got = f"{batch_size}, {num_workers}, {prefetch_factor}"
            raise ValueError(f"DataLoader: expected batch_size >= 1, num_workers >= 0 and prefetch_factor >= 1, got {got}")
        if sampler is not None and (shuffle or isinstance(dataset, IterableDataset)):
            raise ValueError("DataLoader: a sampler excludes shuffle=True and an IterableDataset; the sampler is the order")
        if shuffle and isinstance(dataset, IterableDataset):
            raise ValueError("DataLoader: an IterableDataset has its own order; shuffle inside it")
        self.dataset, self.batch_size, self.drop_last, self.seed = dataset, batch_size, drop_last, seed
        self.num_workers = min(num_workers, 1) if isinstance(dataset, IterableDataset) else num_workers
        self.collate_fn = collate_fn or default_collate
        self.timeout, self.prefetch_factor, self.multiprocessing_context = timeout, prefetch_factor, multiprocessing_context
        self.sampler = sampler if sampler is not None else _default_sampler(dataset, shuffle, seed)
        self._next = (0, 0)  # (epoch, batch) at which the next pass begins
        self._now = (0, 0)  # the batch that comes next in the pass under way

    def __len__(self) -> int:
        """Returns the number of batches of an epoch."""
        if self.sampler is None:
            raise TypeError("DataLoader: an IterableDataset has no length")
        return batch_count(len(self.sampler), self.batch_size, self.drop_last)  # type: ignore[arg-type]

    @property
    def epoch(self) -> int:
        """The epoch under way, or the one that comes next between two passes."""
        return self._now[0]

    @property
    def position(self) -> int:
        """How many batches of this epoch were handed out."""
        return self._now[1]

    def set_epoch(self, epoch: int) -> None:
        """Makes the next pass begin at the start of `epoch`."""
        self._next = self._now = (epoch, 0)

    def state_dict(self) -> dict[str, int]:
        """Returns where the loader is: seed, epoch and the batch that comes next."""
        return {"seed": self.seed, "epoch": self._now[0], "position": self._now[1], "batch_size": self.batch_size}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Makes the next pass go on at the place of `state_dict()`.

        Raises:
            CheckpointError: the state is of a loader with another seed or batch size, whose order is another.
        """
        for name in ("seed", "batch_size"):
            if state[name] != getattr(self, name):
                raise CheckpointError(
                    f"DataLoader: the saved position is for {name}={state[name]}, this loader has {getattr(self, name)}; "
                    "its order is another: use the same value"
                )
        self._next = self._now = (state["epoch"], state["position"])

    def __iter__(self) -> Iterator[Any]:
        epoch, first = self._now = self._next
        self._next = (epoch + 1, 0)
        return self._run(self._reading(epoch, first))

    def _reading(self, epoch: int, first: int) -> Reading:
        order = None
        if isinstance(self.sampler, Sampler):
            order = self.sampler.order(epoch)
        elif self.sampler is not None:
            order = np.fromiter(self.sampler, np.int64)
        return Reading(self.dataset, self.collate_fn, self.batch_size, self.drop_last, self.seed, epoch, first, order)

    def _run(self, reading: Reading) -> Iterator[Any]:
        for number, batch in enumerate(self._batches(reading), reading.first + 1):
            self._now = (reading.epoch, number)
            yield to_tensors(batch)
        self._now = (reading.epoch + 1, 0)

    def _batches(self, reading: Reading) -> Iterator[Any]:
        if not self.num_workers:
            yield from map(to_arrays, reading.batches(0, 1, lambda item: None))
            return
        pool = WorkerPool(
            reading, self.num_workers, prefetch=self.prefetch_factor, timeout=self.timeout, context=self.multiprocessing_context
        )
        try:
            yield from pool
        finally:
            pool.close()


def _default_sampler(dataset: Any, shuffle: bool, seed: int) -> Sampler | None:
    if isinstance(dataset, IterableDataset):
        return None
    return RandomSampler(len(dataset), seed=seed) if shuffle else SequentialSampler(len(dataset))
