# SPDX-License-Identifier: Apache-2.0
"""Starts a script in several ranks with mpiexec, watches them, and names the first that fails."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from penlight.distributed.mpi import INSTALL
from penlight.distributed.rank import DONE, SOCKET_VARIABLE
from penlight.errors import DistributedMissingError, RankFailedError

GRACE_SECONDS = 2.0  # between the first death and our own end of the job, where mpiexec did not act
SILENCE_SECONDS = 0.3  # by which a death without a word counts as later than a report


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
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            env=environment(os.environ, ranks, watcher.path),
            start_new_session=True,
        )
        with _signals_to(process, watcher):
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
def _signals_to(process: subprocess.Popen[Any], watcher: Watcher) -> Iterator[None]:
    """Sends signals to the ranks, which checkpoint and end; mpiexec by itself would drop some and kill on others."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        for pid in watcher.pids or {process.pid}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
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
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.pids: set[int] = set()
        self._failures: list[tuple[float, Failure]] = []
        self._readers: list[threading.Thread] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen()
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Watcher:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes the listener
        self._server.close()
        self._listener.join(timeout=1)

    @property
    def failure(self) -> Failure | None:
        """The first rank that failed; the others end because of it."""
        return min(self._failures, key=lambda entry: entry[0])[1] if self._failures else None

    def failed_for(self) -> float:
        """Seconds since the first failure; 0 when there is none."""
        return time.monotonic() - min(at for at, _ in self._failures) if self._failures else 0.0

    def settle(self) -> None:
        """Waits until what the ended ranks have sent is read."""
        for reader in list(self._readers):
            reader.join(timeout=1)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # closed: the job is over
            while True:
                connection, _ = self._server.accept()
                reader = threading.Thread(target=self._read, args=(connection,), daemon=True)
                self._readers.append(reader)
                reader.start()

    def _read(self, connection: socket.socket) -> None:
        with connection, connection.makefile(encoding="utf-8", errors="replace") as stream:
            rank, _, pid = _line(stream).partition(" ")
            if not pid:
                return
            self.pids.add(int(pid))
            code, _, reason = _line(stream).partition(" ")
            self.pids.discard(int(pid))
        if not code:
            # A rank that reports is still alive while the others are ended: its word counts before their silence.
            self._failures.append((time.monotonic() + SILENCE_SECONDS, Failure(int(rank), int(pid), None, "")))
        elif code != DONE:
            self._failures.append((time.monotonic(), Failure(int(rank), int(pid), int(code), reason)))


def _line(stream: IO[str]) -> str:
    """The next line; empty when the other side is gone."""
    try:
        return stream.readline().rstrip("\n")
    except OSError:
        return ""
