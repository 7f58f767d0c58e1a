# SPDX-License-Identifier: Apache-2.0
"""Worker threads: no second copy of the data set and nothing to send, for reading that lets the interpreter lock go.

Files, NumPy, Pillow and decompression do. Each thread reads batches w, w + n, ... into a queue of its own.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from penlight.data.collate import to_arrays
from penlight.data.fetch import Pass, Source, WorkerInfo, set_worker_info
from penlight.data.worker import BATCH, END, FAILURE, POLL_SECONDS, Init, worker_seed
from penlight.errors import WorkerError


class ThreadPool:
    """The worker threads of a loader; each pass has its own threads."""

    def __init__(
        self,
        source: Source,
        workers: int,
        *,
        init: Init | None = None,
        prefetch: int = 2,
        timeout: float = 0.0,
        in_order: bool = True,
        context: Any = None,
    ):
        self.source, self.workers, self.init = source, workers, init
        self.prefetch, self.timeout, self.in_order = prefetch, timeout, in_order
        self.items = [-1] * workers
        self.stop = threading.Event()

    def run(self, reading: Pass) -> Iterator[Any]:
        """Yields the batches of a pass; an earlier one is stopped."""
        self.close()
        self.stop, self.items = threading.Event(), [-1] * self.workers
        queues: list[queue.Queue] = [queue.Queue(self.prefetch) for _ in range(self.workers)]
        if not self.in_order:
            queues = [queue.Queue(self.prefetch * self.workers)] * self.workers
        for worker, outbox in enumerate(queues):
            name = f"penlight data worker {worker}"
            threading.Thread(target=self._work, args=(worker, reading, outbox, self.stop), name=name, daemon=True).start()
        remaining, turn = list(range(self.workers)), 0
        while remaining:
            worker, kind, payload = self._get(queues[remaining[turn]], remaining[turn])
            place = remaining.index(worker)
            if kind == END:
                remaining.pop(place)
                turn = place % max(len(remaining), 1)
            elif kind == FAILURE:
                error = f"{type(payload).__name__}: {payload}"
                raise WorkerError(f"data worker {worker} failed{self._at(worker)}: {error}") from payload
            else:
                turn = (place + 1) % len(remaining)
                yield payload

    def _work(self, worker: int, reading: Pass, outbox: queue.Queue, stop: threading.Event) -> None:
        def observe(item: int) -> None:
            self.items[worker] = item

        seed = worker_seed(self.source.seed, reading.epoch, worker)
        set_worker_info(WorkerInfo(worker, self.workers, seed, self.source.dataset), whole_process=False)
        try:
            if self.init is not None:
                self.init(worker)
            for _, batch in self.source.batches(reading, worker, self.workers, observe):
                if not _put(outbox, (worker, BATCH, to_arrays(batch)), stop):
                    return
            _put(outbox, (worker, END, None), stop)
        except BaseException as error:  # raised again in the training thread
            _put(outbox, (worker, FAILURE, error), stop)

    def _get(self, inbox: queue.Queue, worker: int) -> tuple[int, int, Any]:
        stuck, item = 0.0, self.items[worker]
        while True:
            try:
                return inbox.get(timeout=POLL_SECONDS)
            except queue.Empty:
                stuck = stuck + POLL_SECONDS if self.items[worker] == item else 0.0
                item = self.items[worker]
            if self.timeout and stuck >= self.timeout:
                raise WorkerError(
                    f"data worker {worker} (thread) made no progress for {self.timeout:g} s{self._at(worker)}; look into that "
                    "sample, or raise timeout"
                )

    def _at(self, worker: int) -> str:
        item = self.items[worker]
        return f" at item {item}" if item >= 0 else " before its first item"

    def close(self) -> None:
        """Tells the threads to end after the batch they are at."""
        self.stop.set()


def _put(outbox: queue.Queue, entry: tuple[int, int, Any], stop: threading.Event) -> bool:
    """Returns whether the entry found a place before the pass was stopped."""
    while not stop.is_set():
        try:
            outbox.put(entry, timeout=POLL_SECONDS)
            return True
        except queue.Full:
            continue
    return False
