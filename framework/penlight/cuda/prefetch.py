# SPDX-License-Identifier: Apache-2.0
"""Batches that are on the device before they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from penlight.cuda.streams import Event, Stream, current_stream, stream
from penlight.data.pinning import pinned
from penlight.device import device as Device
from penlight.errors import ArgumentError
from penlight.tensor import Tensor
from penlight.tree import flatten


class Prefetch:
    """Iterates over a loader's batches with their tensors on a device, copied there while earlier batches are worked on.

    Copies run on a stream of their own, from pinned memory. A batch is valid for the stream that is current when it is handed out.

    Args:
        loader: anything that is iterated over; batches are tensors or tuples, lists and dicts of them.
        device: where the batches go.
        depth: how many batches are under way.

    Raises:
        ArgumentError: `depth` is below 1. DeviceError, while iterating: there is no CUDA device.

    Example:
        for x, y in pl.cuda.Prefetch(loader): ...
    """

    def __init__(self, loader: Iterable[Any], device: Any = "cuda", depth: int = 1) -> None:
        if depth < 1:
            raise ArgumentError(f"Prefetch: expected depth >= 1, came {depth}")
        self.loader, self.device, self.depth = loader, Device(device), depth

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]  # one without a length raises TypeError

    def __iter__(self) -> Iterator[Any]:
        side = Stream(self.device.index or 0)
        ahead: deque[tuple[Any, Event]] = deque()
        for batch in self.loader:
            ahead.append(self._sent(batch, side))
            if len(ahead) > self.depth:
                yield self._received(*ahead.popleft())
        while ahead:
            yield self._received(*ahead.popleft())

    def _sent(self, batch: Any, side: Stream) -> tuple[Any, Event]:
        # Memory of a batch that was dropped comes back here; the work that read it has to be done first.
        side.wait_stream(current_stream(self.device))
        leaves, rebuild = flatten(batch)
        with stream(side):
            moved = [t.to(self.device, non_blocking=True) if isinstance(t, Tensor) else t for t in map(pinned, leaves)]
        return rebuild(moved), side.record_event()

    def _received(self, batch: Any, event: Event) -> Any:
        event.wait(current_stream(self.device))
        return batch
