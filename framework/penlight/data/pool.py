# SPDX-License-Identifier: Apache-2.0
"""The training process's side of worker processes: handing out passes, collecting batches, and noticing trouble.

Worker w of n reads batches w, w + n, ..., so taking turns gives them in order. While it waits, the pool watches every worker:
one that has died, or whose heartbeat stands still, is an error within 5 seconds whichever worker's turn it is.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.connection import wait
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any

from penlight.data.fetch import Pass, Source
from penlight.data.transport import Link
from penlight.data.worker import BEAT, END, FAILURE, ITEM, POLL_SECONDS, Init, Task, work
from penlight.errors import WorkerError

SILENCE_SECONDS = 4.0  # no heartbeat for this long is a stopped process; the promise to users is 5 s
START_SECONDS = 60.0  # to import modules in, whatever the timeout of an item is


class Member:
    """One worker process: its socket and its pulse."""

    def __init__(self, number: int, process: Any, link: Link, pulse: Any):
        self.number, self.process, self.link, self.pulse = number, process, link, pulse
        self.name = f"data worker {number} (process {process.pid})"
        self.beat, self.item = -1, -1
        self.silent = self.stuck = 0.0

    def at(self) -> str:
        """Says where the worker is."""
        item = self.pulse[ITEM]
        return f" at item {item}" if item >= 0 else " before its first item"

    def start_watch(self) -> None:
        """Begins to count how long nothing moves."""
        self.beat, self.item = self.pulse[:]
        self.silent = self.stuck = 0.0

    def watch(self, timeout: float) -> None:
        """Counts one poll; polls rather than a clock: a suspended laptop is no timeout."""
        beat, item = self.pulse[:]
        started = beat > 0  # before the first beat the process is importing modules
        self.silent = self.silent + POLL_SECONDS if started and beat == self.beat else 0.0
        self.stuck = self.stuck + POLL_SECONDS if item == self.item else 0.0
        self.beat, self.item = beat, item
        if self.silent >= SILENCE_SECONDS and _is_stopped(self.process.pid):
            raise WorkerError(f"{self.name} stopped answering{self.at()}; was it suspended?")
        if timeout and self.stuck >= (timeout if started else max(timeout, START_SECONDS)):
            raise WorkerError(f"{self.name} made no progress for {timeout:g} s{self.at()}; look into that sample, or raise timeout")

    def death(self) -> WorkerError:
        """Returns the error that says how the process ended."""
        self.process.join(1)
        code = self.process.exitcode
        how = f"was killed by {_signal_name(-code)}" if code is not None and code < 0 else f"died with exit code {code}"
        hint = "; a script that uses workers needs `if __name__ == '__main__':` around its main part"
        return WorkerError(f"{self.name} {how}{self.at()}{'' if self.pulse[BEAT] else hint}")


class ProcessPool:
    """The worker processes of a loader; `run` gives the batches of a pass, `close` ends all processes."""

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
        self.timeout, self.in_order, self.serial = timeout, in_order, 0
        self.members: list[Member] = []
        methods = multiprocessing.get_all_start_methods()
        # Never fork by default: a copy of a process whose BLAS threads hold locks can hang.
        name = context or ("forkserver" if "forkserver" in methods else "spawn")
        mp: Any = multiprocessing.get_context(name) if isinstance(name, str) else name
        if mp.get_start_method() == "forkserver":
            mp.set_forkserver_preload(["__main__", "penlight.data.worker"])
        try:
            for worker in range(workers):
                self._start(mp, worker, workers, source, init, prefetch)
        except BaseException:
            self.close()
            raise

    def _start(self, mp: Any, worker: int, workers: int, source: Source, init: Init | None, prefetch: int) -> None:
        ours, theirs = mp.Pipe(duplex=True)
        pulse = RawArray("q", [0, -1]) if mp.get_start_method() == "fork" else mp.RawArray("q", [0, -1])
        process = mp.Process(target=work, args=(worker, workers, source, init, prefetch, theirs, pulse), daemon=True)
        try:
            process.start()
        except OSError:
            ours.close()
            raise
        except Exception as error:  # what pickling raises depends on the object
            ours.close()
            raise WorkerError(
                f"data worker {worker}: the data set, collate_fn or worker_init_fn cannot be sent to a process ({error}); define "
                "it at the top level of a module, or pass num_workers=0, worker_kind='thread' or multiprocessing_context='fork'"
            ) from error
        finally:
            theirs.close()  # so that the worker's death is end of file here
        self.members.append(Member(worker, process, Link(ours), pulse))

    def run(self, reading: Pass) -> Iterator[Any]:
        """Yields the batches of a pass; what is left of an earlier one is thrown away."""
        self.serial += 1
        for member in self.members:
            try:
                member.link.send(Task(self.serial, reading))
            except OSError:
                raise member.death() from None
        reading_still, turn = list(self.members), 0
        while reading_still:
            member = self._ready([reading_still[turn]] if self.in_order else reading_still)
            kind, payload = self._receive(member)
            place = reading_still.index(member)
            if kind == END:
                reading_still.pop(place)
                turn = place % max(len(reading_still), 1)
            elif kind == FAILURE:
                message, trace = payload
                raise WorkerError(f"data worker {member.number} failed{member.at()}: {message}") from RuntimeError(
                    "in the worker process:\n" + trace
                )
            else:
                turn = (place + 1) % len(reading_still)
                yield payload

    def _ready(self, wanted: list[Member]) -> Member:
        """Waits until one of `wanted` has sent something, and watches all members."""
        for member in self.members:
            member.start_watch()
        sources = {member.link: member for member in wanted} | {member.process.sentinel: member for member in self.members}
        while True:
            found = wait(list(sources), POLL_SECONDS)
            for item in found:
                if isinstance(item, Link):
                    return sources[item]
            for item in found:
                raise sources[item].death()
            for member in self.members:
                member.watch(self.timeout if member in wanted else 0.0)

    def _receive(self, member: Member) -> tuple[int, Any]:
        while True:
            try:
                serial, kind, payload = member.link.receive()
            except (EOFError, OSError):
                raise member.death() from None
            if serial == self.serial:
                return kind, payload

    def close(self) -> None:
        """Ends the workers, by force where they do not go, and leaves no zombie."""
        for member in self.members:
            member.link.close()
            member.process.terminate()
        for member in self.members:
            member.process.join(0.5)
            if member.process.is_alive():
                member.process.kill()  # works on a suspended process, terminate does not
                member.process.join()
            with contextlib.suppress(ValueError):
                member.process.close()
        self.members = []


def _is_stopped(pid: int) -> bool:
    """Whether a silent process is suspended: code that keeps the interpreter's lock, or a busy machine, silences it as well.

    Where the system does not tell, silence has to do.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
    except (OSError, IndexError):
        return True


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
