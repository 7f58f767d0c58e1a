# SPDX-License-Identifier: Apache-2.0
"""A few threads behind a bounded queue, awaited from an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from penlight_serving.errors import BusyError

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class RunPool:
    """Runs jobs in threads. The threads are daemons: a run that never ends cannot keep the process from exiting.

    Args:
        threads: Jobs at once.
        queue_size: Jobs that may wait beyond those.
    """

    def __init__(self, threads: int, queue_size: int) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._count, self._queue_size = threads, queue_size
        self._threads: list[threading.Thread] = []  # started by the first job
        self._pending = 0  # touched on the event loop's thread alone

    @property
    def waiting(self) -> int:
        """Jobs that no thread has taken yet."""
        return self._jobs.qsize()

    async def run(self, function: Callable[[], Any]) -> Any:
        """Returns `function()`, called in a thread. Raises BusyError at once when the queue is full."""
        if self._pending >= self._count + self._queue_size:
            raise BusyError(f"{self._pending} requests are in hand, which is as many as the queue takes; try again in a second")
        self._start()
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._pending += 1
        # The place is held until the thread is done, also when the waiting task is cancelled before that.
        future.add_done_callback(self._release)
        self._jobs.put((loop, future, function))
        return await asyncio.shield(future)

    def close(self, timeout_seconds: float) -> bool:
        """Ends the threads after the jobs that are left. Returns whether all have ended in time."""
        for _ in self._threads:
            self._jobs.put(None)
        deadline = time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _release(self, future: asyncio.Future[Any]) -> None:
        self._pending -= 1
        if not future.cancelled():
            future.exception()  # marks it as seen when nobody waits any more

    def _start(self) -> None:
        if not self._threads:
            names = [f"penlight-run-{index}" for index in range(self._count)]
            self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]
            for thread in self._threads:
                thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, future, function = job
            try:
                result, error = function(), None
            except BaseException as caught:  # whatever it is, the waiting request must hear of it
                result, error = None, caught
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                return  # the loop is closed: the server has gone


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
