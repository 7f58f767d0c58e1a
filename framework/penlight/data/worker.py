# SPDX-License-Identifier: Apache-2.0
"""Worker processes that read batches ahead, and notice of the ones that die or stop.

Each worker has one pipe and only ever writes to it: worker w of n sends batches w, w + n, ... in order, so the parent reads
them in order by taking turns, a full pipe is what limits reading ahead, and a killed worker shows as end of file. There are no
queues with shared locks (a killed process would leave them locked) and no shared-memory files (nothing to leak).
A heartbeat thread in each worker counts up in shared memory; a count that stands still is a stopped process.
"""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.sharedctypes import RawArray
from typing import Any

from penlight.data.collate import to_arrays
from penlight.data.fetch import Reading
from penlight.errors import WorkerError

BEAT_SECONDS = 0.2
POLL_SECONDS = 0.25
SILENCE_SECONDS = 4.0  # no heartbeat for this long is a stopped process; the promise to users is 5 s

# What a worker sends: (kind, payload).
BATCH, END, FAILURE = 0, 1, 2

# What it shares: the heartbeat, and the item it is at (-1 before the first).
BEAT, ITEM = 0, 1


def work(worker: int, workers: int, reading: Reading, prefetch: int, sender: Connection, pulse: Any) -> None:
    """Runs in the worker process: reads its share of the batches and sends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    pulse[BEAT] = 1  # alive, before anything can go wrong
    outbox: queue.Queue = queue.Queue(maxsize=prefetch)
    posting = threading.Thread(target=_post, args=(outbox, sender), daemon=True)
    posting.start()
    threading.Thread(target=_beat, args=(pulse,), daemon=True).start()

    def observe(item: int) -> None:
        pulse[ITEM] = item

    try:
        for batch in reading.batches(worker, workers, observe):
            outbox.put((BATCH, to_arrays(batch)))
        outbox.put((END, None))
    except BaseException as error:  # whatever it is, the parent must hear of it
        outbox.put((FAILURE, (f"{type(error).__name__}: {error}", traceback.format_exc())))
    posting.join()


def _post(outbox: queue.Queue, sender: Connection) -> None:
    """Sends what is ready while the next batch is being read; ends after END or FAILURE, or with the parent."""
    kind = BATCH
    while kind == BATCH:
        kind, payload = outbox.get()
        try:
            sender.send((kind, payload))
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)  # the parent has gone or needs no more
        except Exception as error:  # the batch itself cannot be sent
            kind = FAILURE
            sender.send((kind, (f"cannot send a batch: {type(error).__name__}: {error}", traceback.format_exc())))


def _beat(pulse: Any) -> None:
    parent = multiprocessing.parent_process()
    while parent is None or parent.is_alive():
        pulse[BEAT] += 1
        threading.Event().wait(BEAT_SECONDS)
    os._exit(0)  # never outlive the training process


class WorkerPool:
    """The workers of one pass; iterating yields the batches in order, `close` ends all processes."""

    def __init__(self, reading: Reading, workers: int, *, prefetch: int, timeout: float, context: str | None):
        self.timeout = timeout
        self.processes: list[Any] = []
        self.receivers: list[Connection] = []
        self.pulses: list[Any] = []
        methods = multiprocessing.get_all_start_methods()
        # Never fork by default: a copy of a process whose BLAS threads hold locks can hang.
        mp: Any = multiprocessing.get_context(context or ("forkserver" if "forkserver" in methods else "spawn"))
        if mp.get_start_method() == "forkserver":
            mp.set_forkserver_preload(["__main__", "penlight.data.worker"])
        try:
            for worker in range(workers):
                self._start(mp, worker, workers, reading, prefetch)
        except BaseException:
            self.close()
            raise

    def _start(self, mp: Any, worker: int, workers: int, reading: Reading, prefetch: int) -> None:
        receiver, sender = mp.Pipe(duplex=False)
        pulse = RawArray("q", [0, -1]) if mp.get_start_method() == "fork" else mp.RawArray("q", [0, -1])
        process = mp.Process(target=work, args=(worker, workers, reading, prefetch, sender, pulse), daemon=True)
        try:
            process.start()
        except OSError:
            receiver.close()
            raise
        except Exception as error:  # what pickling raises depends on the object
            receiver.close()
            raise WorkerError(
                f"data worker {worker}: the data set or collate_fn cannot be sent to a process ({error}); define it at the "
                "top level of a module, or pass num_workers=0 or multiprocessing_context='fork'"
            ) from error
        finally:
            sender.close()  # so that the worker's death is end of file here
        self.processes.append(process)
        self.receivers.append(receiver)
        self.pulses.append(pulse)

    def __iter__(self) -> Iterator[Any]:
        turn = 0
        while True:
            kind, payload = self._receive(turn)
            if kind == END:  # batches are dealt in turn, so the first worker without one is the end of the pass
                return
            if kind == FAILURE:
                message, trace = payload
                raise WorkerError(f"data worker {turn} failed{self._at(turn)}: {message}") from RuntimeError(
                    "in the worker process:\n" + trace
                )
            yield payload
            turn = (turn + 1) % len(self.processes)

    def _receive(self, worker: int) -> tuple[int, Any]:
        """Waits for a worker's next message, counting polls rather than reading a clock: a suspended laptop is no timeout."""
        receiver, process = self.receivers[worker], self.processes[worker]
        silent = stuck = 0.0
        beat, item = self.pulses[worker][:]
        while not wait([receiver, process.sentinel], POLL_SECONDS):
            now_beat, now_item = self.pulses[worker][:]
            started = now_beat > 0  # before the first beat the process is importing modules
            silent = silent + POLL_SECONDS if started and now_beat == beat else 0.0
            stuck = stuck + POLL_SECONDS if now_item == item else 0.0
            beat, item = now_beat, now_item
            if silent >= SILENCE_SECONDS:
                raise WorkerError(
                    f"data worker {worker} (process {process.pid}) stopped answering{self._at(worker)}; was it suspended?"
                )
            if self.timeout and stuck >= self.timeout:
                raise WorkerError(
                    f"data worker {worker} (process {process.pid}) made no progress for {self.timeout:g} s{self._at(worker)}; "
                    "look into that sample, or raise timeout"
                )
        try:
            return receiver.recv()
        except (EOFError, ConnectionResetError):
            raise self._death(worker) from None

    def _death(self, worker: int) -> WorkerError:
        process = self.processes[worker]
        process.join(1)
        code = process.exitcode
        how = f"was killed by {_signal_name(-code)}" if code is not None and code < 0 else f"died with exit code {code}"
        hint = (
            ""
            if self.pulses[worker][BEAT]
            else "; a script that uses workers needs `if __name__ == '__main__':` around its main part"
        )
        return WorkerError(f"data worker {worker} (process {process.pid}) {how}{self._at(worker)}{hint}")

    def _at(self, worker: int) -> str:
        item = self.pulses[worker][ITEM]
        return f" at item {item}" if item >= 0 else " before its first item"

    def close(self) -> None:
        """Ends the workers, by force where they do not go, and leaves no zombie."""
        for receiver in self.receivers:
            receiver.close()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(0.5)
            if process.is_alive():
                process.kill()  # works on a suspended process, terminate does not
                process.join()
            with contextlib.suppress(ValueError):
                process.close()
        self.processes, self.receivers = [], []


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
