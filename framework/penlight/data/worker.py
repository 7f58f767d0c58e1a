# SPDX-License-Identifier: Apache-2.0
"""What runs in a worker process of the loader.

Each worker has one socket to the training process. It waits there for a pass, sends its share of the batches in order, and waits
for the next one; the end of the socket is the end of the worker. There are no queues with shared locks: a killed process would
leave them locked. A heartbeat thread counts up in shared memory; a count that stands still is a stopped process.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import random
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from penlight.data.collate import to_arrays
from penlight.data.fetch import Pass, Source, WorkerInfo, set_worker_info
from penlight.data.sampler import generator_at
from penlight.data.transport import Link
from penlight.random import manual_seed

BEAT_SECONDS = 0.2
POLL_SECONDS = 0.25  # how often those who wait for a worker look whether it is still there

# What a worker sends: (serial number of the pass, kind, payload).
BATCH, END, FAILURE = 0, 1, 2

# What it shares: the heartbeat, and the item it is at (-1 before the first).
BEAT, ITEM = 0, 1

Init = Callable[[int], Any]


@dataclass(frozen=True)
class Task:
    """A pass as it is sent to the workers, with a serial number that tells late batches of an abandoned one apart."""

    serial: int
    reading: Pass


def worker_seed(seed: int, epoch: int, worker: int) -> int:
    """Returns the seed of a worker's own random state, another for each worker and epoch."""
    return int(generator_at(seed, epoch, worker, 1).integers(1 << 32))


def work(worker: int, workers: int, source: Source, init: Init | None, prefetch: int, connection: Connection, pulse: Any) -> None:
    """Runs in the worker process until the training process closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    pulse[BEAT] = 1  # alive, before anything can go wrong
    link = Link(connection)
    outbox: queue.Queue = queue.Queue(maxsize=prefetch)
    threading.Thread(target=_post, args=(outbox, link), daemon=True).start()
    threading.Thread(target=_beat, args=(pulse,), daemon=True).start()

    def observe(item: int) -> None:
        pulse[ITEM] = item

    first = True
    while (task := _next_task(link)) is not None:
        try:
            _begin(worker, workers, source, init if first else None, task.reading.epoch)
            first = False
            for _, batch in source.batches(task.reading, worker, workers, observe):
                outbox.put((task.serial, BATCH, to_arrays(batch)))
                if link.poll():  # another pass, or the end: nobody wants the rest of this one
                    break
            else:
                outbox.put((task.serial, END, None))
        except BaseException as error:  # whatever it is, the parent must hear of it
            outbox.put((task.serial, FAILURE, (f"{type(error).__name__}: {error}", traceback.format_exc())))


def _next_task(link: Link) -> Task | None:
    try:
        return link.receive()
    except (EOFError, OSError):
        return None


def _begin(worker: int, workers: int, source: Source, init: Init | None, epoch: int) -> None:
    """Gives the process random state of its own: a copy of the parent's would make all workers draw the same numbers."""
    seed = worker_seed(source.seed, epoch, worker)
    random.seed(seed)
    np.random.seed(seed)
    manual_seed(seed)
    set_worker_info(WorkerInfo(worker, workers, seed, source.dataset), whole_process=True)
    if init is not None:
        init(worker)


def _post(outbox: queue.Queue, link: Link) -> None:
    """Sends what is ready while the next batch is being read; ends with the parent."""
    while True:
        serial, kind, payload = outbox.get()
        try:
            link.send((serial, kind, payload))
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)  # the parent has gone or needs no more
        except Exception as error:  # the batch itself cannot be sent
            link.send((serial, FAILURE, (f"cannot send a batch: {type(error).__name__}: {error}", traceback.format_exc())))
        outbox.task_done()


def _beat(pulse: Any) -> None:
    parent = multiprocessing.parent_process()
    while parent is None or parent.is_alive():
        pulse[BEAT] += 1
        threading.Event().wait(BEAT_SECONDS)
    os._exit(0)  # never outlive the training process
