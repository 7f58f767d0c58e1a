# SPDX-License-Identifier: Apache-2.0
"""Starts a script in several ranks with mpiexec, watches them, and names the first that fails."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from penlight.distributed.mpi import INSTALL
from penlight.distributed.rank import DONE, SOCKET_VARIABLE
from penlight.errors import DistributedMissingError, RankFailedError

GRACE_SECONDS = 2.0  # between the first death and our own end of the job, where mpiexec did not act


@dataclass(frozen=True)
class Failure:
    """The first rank that failed; `code` is None where it died without a word."""

    rank: int
    pid: int
    code: int | None
    reason: str


def mpiexec_path() -> str:
    """The mpiexec of this environment (the mpich wheel puts it beside Python), else the system's.

    Raises:
        DistributedMissingError: mpi4py or mpiexec is missing.
    """
    if importlib.util.find_spec("mpi4py") is None:
        raise DistributedMissingError(f"launch: mpi4py is not installed; run {INSTALL}")
    beside = Path(sys.executable).with_name("mpiexec")
    path = str(beside) if beside.exists() else shutil.which("mpiexec")
    if path is None:
        raise DistributedMissingError(f"launch: there is no mpiexec, neither beside Python nor on PATH; run {INSTALL}")
    return path


def launch(ranks: int, arguments: Sequence[str], *, options: Sequence[str] = (), stdout: IO[Any] | None = None) -> None:
    """Runs `python ARGUMENTS...` in several ranks until all are done.

    SIGINT and SIGTERM are passed on. The number of threads per rank is the processor's share where the environment does not
    set OMP_NUM_THREADS.

    Args:
        ranks: how many processes.
        arguments: a script with its arguments, or "-m", a module and its arguments.
        options: further options of mpiexec, such as "-hosts".
        stdout: where the ranks' output goes; inherited by default.

    Raises:
        RankFailedError: a rank failed or died; it is named, and `exit_code` is that of mpiexec.
        DistributedMissingError: mpi4py or mpiexec is missing.
    """
    command = [mpiexec_path(), "-n", str(ranks), *options, sys.executable, "-m", "penlight.distributed.rank", *arguments]
    with tempfile.TemporaryDirectory(prefix="penlight-") as folder, Watcher(os.path.join(folder, "launch")) as watcher:
        with _signals_to(watcher) as started:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                env=environment(os.environ, ranks, watcher.path),
                start_new_session=True,
            )
            started(process)
            code = _wait(process, watcher)
        watcher.settle()
    if code or watcher.failure is not None:
        raise _error(code, watcher.failure, ranks)


def environment(base: Mapping[str, str], ranks: int, path: str) -> dict[str, str]:
    """The environment of the ranks."""
    share = str(max(1, (os.cpu_count() or 1) // ranks))
    threads = {name: base.get(name, share) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {**base, **threads, SOCKET_VARIABLE: path}


def _wait(process: subprocess.Popen[Any], watcher: Watcher) -> int:
    """The exit code of the job; a signal that ended mpiexec counts as 128 + its number."""
    while True:
        try:
            code = process.wait(timeout=0.1)
            return code if code >= 0 else 128 - code
        except subprocess.TimeoutExpired:
            if watcher.failed_for() > GRACE_SECONDS:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=1)
                process.kill()
                process.wait()
                return 1


@contextlib.contextmanager
def _signals_to(watcher: Watcher) -> Iterator[Callable[[subprocess.Popen[Any]], None]]:
    """Sends signals to the ranks, which checkpoint and end; mpiexec by itself would drop some and kill on others.

    Yields a function that is told mpiexec's process; it takes what came before that, and what comes before a rank has spoken.
    """
    processes: list[subprocess.Popen[Any]] = []
    early: list[int] = []

    def pass_on(number: int, frame: FrameType | None = None) -> None:
        if not processes:
            early.append(number)
        for pid in list(watcher.pids) or [process.pid for process in processes]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def started(process: subprocess.Popen[Any]) -> None:
        processes.append(process)
        for number in early:
            pass_on(number)

    if threading.current_thread() is not threading.main_thread():
        yield started
        return
    old = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield started
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _error(code: int, failure: Failure | None, ranks: int) -> RankFailedError:
    if failure is None:
        message = f"launch: the job of {ranks} ranks ended with exit code {code}; what it printed stands above"
    elif failure.code is None:
        message = (
            f"launch: rank {failure.rank} of {ranks} (process {failure.pid}) died without a word, and the job was ended; "
            "a signal, the kernel's out-of-memory killer or os._exit do that"
        )
    else:
        message = f"launch: rank {failure.rank} of {ranks} (process {failure.pid}) failed, and the job was ended: {failure.reason}"
    error = RankFailedError(message)
    error.exit_code = failure.code if failure is not None and failure.code else code or 1
    return error


class Watcher:
    """Listens to the ranks on a Unix socket.

    Attributes:
        pids: the processes of the ranks on this machine that are at work.
        failure: the first rank that failed; the others end because of it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.pids: set[int] = set()
        self.failure: Failure | None = None
        self._failed_at = 0.0
        self._ended = False
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen()
        # One thread for all: epoll hands out ends of connections in the order in which they came, however late we ask.
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Watcher:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.settle()
        self._server.close()

    def failed_for(self) -> float:
        """Seconds since the first failure; 0 when there is none."""
        return time.monotonic() - self._failed_at if self.failure is not None else 0.0

    def settle(self) -> None:
        """Reads what the ended ranks have sent; nothing is heard after it."""
        self._ended = True
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes the listener
        self._listener.join(timeout=5)

    def _listen(self) -> None:
        while events := self._selector.select(0 if self._ended else None):
            for key, _ in events:
                if key.fileobj is self._server:
                    self._accept()
                else:
                    self._read(key.data)
        for key in self._selector.get_map().values():
            if isinstance(key.data, _Rank):
                key.data.connection.close()
        self._selector.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._server.accept()
            self._selector.register(connection, selectors.EVENT_READ, _Rank(connection))
        except OSError:  # shut down: the job is over
            self._selector.unregister(self._server)

    def _read(self, rank: _Rank) -> None:
        is_open = rank.read()
        if is_open and not rank.word:
            self.pids |= {rank.pid} - {0}
            return
        self._selector.unregister(rank.connection)
        rank.connection.close()
        self.pids -= {rank.pid}
        code, _, reason = rank.word.partition(" ")
        if rank.pid and code != DONE and self.failure is None:
            self.failure = Failure(rank.number, rank.pid, int(code) if code else None, reason)
            self._failed_at = time.monotonic()


@dataclass
class _Rank:
    """A connection, and what its rank has said: which it is, and how it ended."""

    connection: socket.socket
    number: int = 0
    pid: int = 0
    word: str = ""
    said: bytes = b""

    def read(self) -> bool:
        """Takes what has come; returns whether more may come."""
        try:
            piece = self.connection.recv(1 << 16)
        except OSError:
            piece = b""
        self.said += piece
        first, *others = self.said.decode(errors="replace").split("\n")
        if others:
            self.number, self.pid = map(int, first.split())
            self.word = others[0] if len(others) > 1 else ""
        return bool(piece)
