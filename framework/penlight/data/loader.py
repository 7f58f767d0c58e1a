# SPDX-License-Identifier: Apache-2.0
"""DataLoader: batches in an order derived from (seed, epoch, position), so that a run can go on at any batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from penlight.data.collate import default_collate, default_convert, to_arrays, to_tensors
from penlight.data.dataset import Dataset, IterableDataset
from penlight.data.fetch import Pass, Plan, Source
from penlight.data.pinning import pinned_batch
from penlight.data.pool import ProcessPool
from penlight.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, batch_count, order_of, seed_of
from penlight.data.threads import ThreadPool
from penlight.errors import CheckpointError
from penlight.random import Generator

POOLS: dict[str, Any] = {"process": ProcessPool, "thread": ThreadPool}


class DataLoader:
    """Iterates over a data set in batches of Tensors.

    Each pass is one epoch and has its own order. `state_dict()` taken between two batches and given to `load_state_dict()`
    makes the next pass go on with the batch that would have come next. Nothing draws from a global random generator, and the
    number and kind of workers change nothing in what is read.

    Args:
        dataset: items by index (`Dataset`, or any object with `__len__` and `__getitem__`), or an `IterableDataset`.
        batch_size: items per batch; None hands out single items.
        shuffle: a new order in each epoch, from `seed` and the epoch.
        sampler: the order instead: a `Sampler`, or an iterable of indices that is read once per epoch.
        batch_sampler: batches as lists of indices instead: a `BatchSampler`, or an iterable that is read once per epoch.
        num_workers: processes or threads that read ahead; 0 reads in this one. See `IterableDataset` for its workers.
        collate_fn: makes a batch from a list of items; by default arrays are stacked.
        pin_memory: hand out Tensors in pinned memory, from which `to("cuda", non_blocking=True)` copies while the host goes on;
            nothing where there is no CUDA device. See `penlight.cuda.Prefetch`.
        drop_last: leave out a last batch that is not full.
        timeout: seconds after which a worker that is still at the same item is an error; 0 waits forever.
        worker_init_fn: called with the worker's number in each worker before it reads.
        multiprocessing_context: "forkserver" (default where there is one), "spawn", "fork", or a context.
        generator: stands for the seed it was made with.
        prefetch_factor: batches each worker keeps ready; 2 by default.
        persistent_workers: keep the processes for the next pass; `close()` ends them.
        pin_memory_device: accepted, as pin_memory.
        in_order: False hands out batches as they are ready, whichever worker was first.
        seed: chooses the orders.
        worker_kind: "process", or "thread" for reading that lets the interpreter lock go (files, NumPy, images).

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
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Iterable[int] | None = None,
        batch_sampler: BatchSampler | Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 60.0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        seed: int = 0,
        worker_kind: str = "process",
    ):
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.seed = seed_of(generator, seed)
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self.collate_fn = collate_fn or (default_convert if batch_size is None and batch_sampler is None else default_collate)
        self.pin_memory, self.pin_memory_device, self.generator = pin_memory, pin_memory_device, generator
        self.timeout, self.worker_init_fn, self.multiprocessing_context = timeout, worker_init_fn, multiprocessing_context
        self.prefetch_factor, self.persistent_workers = 2 if prefetch_factor is None else prefetch_factor, persistent_workers
        self.in_order, self.worker_kind = in_order, worker_kind
        alone = isinstance(dataset, IterableDataset) and not dataset.splits_by_worker
        self.num_workers = min(num_workers, 1) if alone else num_workers
        self._check(bool(shuffle))
        if sampler is None and batch_sampler is None and not isinstance(dataset, IterableDataset):
            self.sampler = RandomSampler(dataset, seed=self.seed) if shuffle else SequentialSampler(dataset)
        self._pool: Any = None
        self._next = (0, 0)  # (epoch, batch) at which the next pass begins
        self._now = (0, 0)  # the batch that comes next in the pass under way

    def _check(self, shuffle: bool) -> None:
        sizes = (1 if self.batch_size is None else self.batch_size, self.num_workers + 1, self.prefetch_factor)
        if min(sizes) < 1 or self.timeout < 0:
            raise ValueError(
                "DataLoader: expected batch_size >= 1 (or None), num_workers >= 0, prefetch_factor >= 1 and timeout >= 0, got "
                f"{self.batch_size}, {self.num_workers}, {self.prefetch_factor} and {self.timeout}"
            )
        if self.worker_kind not in POOLS:
            raise ValueError(f"DataLoader: worker_kind must be one of {', '.join(POOLS)}, got {self.worker_kind!r}")
        if self.persistent_workers and not self.num_workers:
            raise ValueError("DataLoader: persistent_workers needs num_workers >= 1")
        if self.sampler is not None and (shuffle or isinstance(self.dataset, IterableDataset)):
            raise ValueError("DataLoader: a sampler excludes shuffle=True and an IterableDataset; the sampler is the order")
        if shuffle and isinstance(self.dataset, IterableDataset):
            raise ValueError("DataLoader: an IterableDataset has its own order; shuffle inside it")
        if self.batch_sampler is not None:
            others = self.batch_size != 1 or shuffle or self.sampler is not None or self.drop_last
            if others or isinstance(self.dataset, IterableDataset):
                raise ValueError(
                    "DataLoader: a batch_sampler excludes batch_size, shuffle, sampler, drop_last and an IterableDataset; "
                    "it says all of that"
                )

    def __len__(self) -> int:
        """Returns the number of batches of an epoch."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]  # one without a length raises TypeError
        if self.sampler is None:
            raise TypeError("DataLoader: an IterableDataset has no length")
        return batch_count(len(self.sampler), self.batch_size or 1, self.drop_last)  # type: ignore[arg-type]  # likewise

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
        """Returns where the loader is: seed, epoch and the batch that comes next.

        Raises:
            CheckpointError: in the middle of a pass whose batches come in no fixed order.
        """
        self._check_position(self._now[1])
        size = 0 if self.batch_size is None else self.batch_size
        return {"seed": self.seed, "epoch": self._now[0], "position": self._now[1], "batch_size": size}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Makes the next pass go on at the place of `state_dict()`.

        Raises:
            CheckpointError: the state is of a loader with another seed or batch size, whose order is another.
        """
        for name, own in (("seed", self.seed), ("batch_size", self.batch_size or 0)):
            if state[name] != own:
                raise CheckpointError(
                    f"DataLoader: the saved position is for {name}={state[name]}, this loader has {own}; "
                    "its order is another: use the same value"
                )
        self._check_position(state["position"])
        self._next = self._now = (state["epoch"], state["position"])

    def _check_position(self, position: int) -> None:
        splits = isinstance(self.dataset, IterableDataset) and self.dataset.splits_by_worker
        if position and self.num_workers > 1 and (splits or not self.in_order):
            what = "an IterableDataset that splits by worker" if splits else "in_order=False"
            raise CheckpointError(
                f"DataLoader: {what} has no position to go on from in the middle of a pass; save between two passes"
            )

    def close(self) -> None:
        """Ends persistent workers; the next pass starts new ones."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def __iter__(self) -> Iterator[Any]:
        told = [part for part in (self.sampler, self.batch_sampler) if isinstance(part, Sampler) and part.next_epoch is not None]
        for part in told:
            self.set_epoch(part.next_epoch or 0)
            part.next_epoch = None
        epoch, first = self._now = self._next
        self._next = (epoch + 1, 0)
        return self._run(Pass(epoch, first, self._plan(epoch)))

    def _plan(self, epoch: int) -> Plan | None:
        if isinstance(self.batch_sampler, BatchSampler):
            return Plan.of_lists(self.batch_sampler.lists(epoch))
        if self.batch_sampler is not None:
            set_epoch = getattr(self.batch_sampler, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
            return Plan.of_lists(list(self.batch_sampler))
        return None if self.sampler is None else Plan.uniform(order_of(self.sampler, epoch), self.batch_size or 1, self.drop_last)

    def _run(self, reading: Pass) -> Iterator[Any]:
        for number, batch in enumerate(self._batches(reading), reading.first + 1):
            self._now = (reading.epoch, number)
            yield pinned_batch(to_tensors(batch)) if self.pin_memory else to_tensors(batch)
        self._now = (reading.epoch + 1, 0)

    def _batches(self, reading: Pass) -> Iterator[Any]:
        size = self.batch_size if self.batch_sampler is None else 1
        source = Source(self.dataset, self.collate_fn, size, self.drop_last, self.seed)
        if not self.num_workers:
            for _, batch in source.batches(reading, 0, 1, lambda item: None):
                yield to_arrays(batch)
            return
        pool, self._pool = self._pool or self._new_pool(source), None
        try:
            yield from pool.run(reading)
        except GeneratorExit:  # left early, which persistent workers survive
            self._keep(pool)
            raise
        except BaseException:
            pool.close()
            raise
        self._keep(pool)

    def _keep(self, pool: Any) -> None:
        if self.persistent_workers and self._pool is None:
            self._pool = pool
        else:
            pool.close()

    def _new_pool(self, source: Source) -> Any:
        return POOLS[self.worker_kind](
            source,
            self.num_workers,
            init=self.worker_init_fn,
            prefetch=self.prefetch_factor,
            timeout=self.timeout,
            in_order=self.in_order,
            context=self.multiprocessing_context,
        )

    def __del__(self) -> None:
        if getattr(self, "_pool", None) is not None:
            self.close()
