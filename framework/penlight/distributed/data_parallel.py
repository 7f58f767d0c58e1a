# SPDX-License-Identifier: Apache-2.0
"""DistributedDataParallel: the same model on every rank, each on its own part of the batch, with averaged gradients."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from penlight.autograd import queue_callback
from penlight.distributed import group
from penlight.distributed.bucket import Bucket, buckets_of
from penlight.errors import DeviceError, DistributedError
from penlight.nn.module import Module
from penlight.tensor import Tensor

MEGABYTE = 1 << 20


class DistributedDataParallel(Module):
    """Wraps a module for training in several processes.

    At the start the parameters and buffers of rank 0 go to all ranks. After each backward every rank holds the average of
    the ranks' gradients: they travel in buckets while backward goes on with earlier layers. The first backward learns how
    often each parameter gets a gradient; from the second on a bucket leaves as soon as its parameters are done. In
    training mode the buffers of rank 0 (running statistics) go to all ranks before each forward.

    With `deterministic=True` each gradient is gathered from all ranks and added in their order, then divided by their
    number: the same bits in each run, and the same as one process that computes the gradient of each rank's part of the
    batch by itself, adds them in that order and divides. (A single backward over the whole batch adds in another order and
    agrees to rounding only.) It moves as many times more data as there are ranks. Without it the engine chooses the order.

    Dropout draws from the generator of each rank: give `manual_seed` another seed on each to get different masks.

    Args:
        module: its parameters must be the same on all ranks in name, shape, dtype and order.
        bucket_cap_mb: size at which a bucket is full, in 2**20 bytes.
        deterministic: a fixed order of additions, see above.
        broadcast_buffers: whether buffers follow rank 0.

    Attributes:
        module: the wrapped module; save `model.module.state_dict()`, or use `penlight.distributed.save_checkpoint`.

    Raises:
        DistributedError: there is no group, or the module of a rank differs from that of rank 0.
        DeviceError: a parameter is not on the kind of device that the group moves.
    """

    def __init__(
        self, module: Module, bucket_cap_mb: float = 25, deterministic: bool = False, broadcast_buffers: bool = True
    ) -> None:
        super().__init__()
        self.module = module
        self.deterministic, self.broadcast_buffers = deterministic, broadcast_buffers
        self._engine = group.engine()
        self._check_module()
        for value in (*module.parameters(), *module.buffers()):
            self._broadcast(value)
        trained = [p for p in module.parameters() if p.requires_grad]
        self._buckets = buckets_of(trained, int(bucket_cap_mb * MEGABYTE))
        self._bucket_of = {id(p): bucket for bucket in self._buckets for p in bucket.parameters}
        self._sync = True
        self._expected: Counter[int] | None = None  # how often each parameter gets a gradient in one backward
        self._abandoned: list[Any] = []
        self._begin()
        for parameter in trained:
            parameter.register_post_accumulate_grad_hook(self._on_gradient)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the module."""
        if self._seen:  # a backward that raised half-way
            self._begin()
        if self.training and self.broadcast_buffers and self._sync:
            for buffer in self.module.buffers():
                self._broadcast(buffer)
        return self.module(*args, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within it gradients only add up on each rank; the next backward outside it averages the sums."""
        before, self._sync = self._sync, False
        try:
            yield
        finally:
            self._sync = before

    def _check_module(self) -> None:
        named = [*self.module.named_parameters(), *self.module.named_buffers()]
        for name, value in named:
            if value.device.type != self._engine.device:
                raise DeviceError(
                    f'DistributedDataParallel: backend "{self._engine.name}" moves tensors on {self._engine.device}, '
                    f"{name} is on {value.device}; move the module first"
                )
        rows = [f"{name} {value.dtype.name} {tuple(value.shape)}" for name, value in named]
        # Row by row only where the digests differ: thousands of parameters cost one message.
        digests = self._engine.exchange_text(hashlib.sha256("\n".join(rows).encode()).hexdigest())
        if len(set(digests)) > 1:
            self._name_difference(rows)

    def _name_difference(self, rows: list[str]) -> None:
        longest = int(self._engine.largest(np.array([len(rows)]))[0])
        for row in [*rows, *["no further parameter"] * (longest - len(rows))]:
            self._engine.check_same("DistributedDataParallel", row)
        raise DistributedError("DistributedDataParallel: the module's parameters differ between the ranks")

    def _broadcast(self, value: Tensor) -> None:
        if self._engine.size == 1:
            return
        data = value._data.copy(order="C")
        self._engine.broadcast(data, 0)
        value._data[...] = data  # no new version: on the tape of an earlier forward these are still the values it used

    # One backward

    def _begin(self) -> None:
        self._seen: Counter[int] = Counter()
        self._next = 0  # the bucket that leaves next; the same order on all ranks, or messages would mix
        self._missing = Counter({id(b): self._awaited(b) for b in self._buckets})
        for bucket in self._buckets:
            if bucket.work is not None:  # MPI may still write into its arrays: they must outlive it
                self._abandoned.append(bucket.work)
            bucket.work, bucket.is_late = None, False

    def _awaited(self, bucket: Bucket) -> int:
        return 0 if self._expected is None else sum(self._expected[id(p)] for p in bucket.parameters)

    def _on_gradient(self, parameter: Tensor) -> None:
        if not self._sync:
            return
        if not self._seen:
            queue_callback(self._end)
        self._seen[id(parameter)] += 1
        bucket = self._bucket_of[id(parameter)]
        bucket.is_late = bucket.is_late or bucket.work is not None
        self._missing[id(bucket)] -= 1
        if self._expected is not None:
            self._start_ready()

    def _start_ready(self) -> None:
        for bucket in self._buckets[: self._next]:
            if bucket.work is not None:
                bucket.work.advance()
        while self._next < len(self._buckets) and self._missing[id(self._buckets[self._next])] <= 0:
            self._start_next()

    def _start_next(self) -> None:
        self._buckets[self._next].start(self._engine, self.deterministic)
        self._next += 1

    def _end(self) -> None:
        """Sends what has not left yet, waits, and puts the averages in place."""
        while self._next < len(self._buckets):
            self._start_next()
        is_used, is_late = self._agree()
        start = 0
        for bucket, late in zip(self._buckets, is_late, strict=True):
            flat = bucket.finish(self._engine, self.deterministic)
            if late:  # a parameter was used more often than in the step before; what left was not the whole gradient
                bucket.start(self._engine, self.deterministic)
                flat = bucket.finish(self._engine, self.deterministic)
            bucket.unpack(flat, is_used[start : start + len(bucket.parameters)])
            start += len(bucket.parameters)
        self._expected = self._seen
        self._begin()

    def _agree(self) -> tuple[list[bool], list[bool]]:
        """Over all ranks: which parameters have a gradient, and which buckets must travel again."""
        used = [p.grad is not None for b in self._buckets for p in b.parameters]
        late = [b.is_late for b in self._buckets]
        agreed = [bool(value) for value in self._engine.largest(np.array([*used, *late], np.int64))]
        return agreed[: len(used)], agreed[len(used) :]


def unwrapped(model: Module) -> Module:
    """The module inside a DistributedDataParallel; any other module itself."""
    return model.module if isinstance(model, DistributedDataParallel) else model
