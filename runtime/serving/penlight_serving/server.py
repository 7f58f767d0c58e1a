# SPDX-License-Identifier: Apache-2.0
"""The server's life: accept, sweep, drain, stop. Built on uvicorn's protocol and event loop.

uvicorn's own shutdown closes connections that were accepted and not yet read (uvicorn#2757), so the drain here is our own: not
ready, then still accepting for a while, then finishing what is in hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from email.utils import formatdate

import uvicorn
from uvicorn.server import ServerState

from penlight_serving.app import App
from penlight_serving.connection import Connection, Shared

_TICK_SECONDS = 0.25
_POLL_SECONDS = 0.02
_LINGER_SECONDS = 1.0  # for a client that connected just before the server stopped listening
_CANCEL_SECONDS = 5.0  # a run ends at its next node once it is cancelled
_log = logging.getLogger("penlight.serving")


class HttpServer:
    """Serves an application on a listening socket until `stop`.

    Args:
        app: The application.
        listener: A listening socket; the server closes it.
    """

    def __init__(self, app: App, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app, http="httptools", ws="none", lifespan="off", loop="none", interface="asgi3", proxy_headers=False, access_log=False,
            log_config=None, server_header=False, timeout_keep_alive=app.options.idle_seconds,  # type: ignore[arg-type]  # fractions work
        )  # fmt: skip
        config.load()
        self._app, self._listener = app, listener
        self._shared = Shared(config, ServerState(), app.options)
        self._stops = 0
        self._dropped = 0
        self._stopping = asyncio.Event()
        self._now = asyncio.Event()

    @property
    def _connections(self) -> list[Connection]:
        return list(self._shared.state.connections)  # type: ignore[arg-type]  # only our class is put there

    def stop(self) -> None:
        """Begins to drain; a second call ends the wait for new requests at once, a third one drops what is in hand."""
        self._stops += 1
        self._stopping.set()
        if self._stops > 1:
            self._now.set()

    async def run(self) -> None:
        """Serves until `stop` was called and the drain is over. The socket listens before this is awaited."""
        loop = asyncio.get_running_loop()
        self._set_headers()
        server = await loop.create_server(lambda: Connection(self._shared, loop), sock=self._listener, backlog=2048)
        ticker = loop.create_task(self._tick())
        try:
            await self._stopping.wait()
            await self._drain()
            server.close()
            await self._finish()
        finally:
            server.close()
            ticker.cancel()
            await asyncio.gather(ticker, *self._shared.state.tasks, return_exceptions=True)
            self._end_runs()

    async def _drain(self) -> None:
        seconds = self._app.options.drain_seconds
        _log.info("draining", extra={"fields": {"seconds": seconds, "in_flight": self._app.infer.in_flight}})
        self._app.lifecycle.draining = True
        self._set_headers()
        for connection in self._connections:
            connection.finish()
        with contextlib.suppress(asyncio.TimeoutError):  # a moment at least: accept what is in the kernel's queue
            await asyncio.wait_for(self._now.wait(), max(seconds, _POLL_SECONDS))

    async def _finish(self) -> None:
        deadline = time.monotonic() + self._app.options.shutdown_seconds
        loop = asyncio.get_running_loop()
        while self._shared.state.connections or self._shared.state.tasks:
            if time.monotonic() > deadline or self._stops > 2:
                break
            for connection in self._connections:
                connection.close_if_idle(loop.time(), 0.0 if self._stops > 1 else _LINGER_SECONDS)
            await asyncio.sleep(_POLL_SECONDS)
        self._drop()
        _log.info("stopped")

    def _drop(self) -> None:
        self._dropped = len(self._connections)
        for connection in self._connections:
            connection.transport.abort()
        for task in list(self._shared.state.tasks):
            task.cancel()
        if self._dropped:
            _log.warning("dropped", extra={"fields": {"connections": self._dropped}})

    def _end_runs(self) -> None:
        """Waits for the threads: the interpreter must not be taken down under a model that runs."""
        deadline = time.monotonic() + _CANCEL_SECONDS
        if self._dropped:
            self._cancel_runs()
        while not self._app.infer.pool.close(_TICK_SECONDS):
            if time.monotonic() > deadline:
                _log.error("runs_left", extra={"fields": {"waited_seconds": _CANCEL_SECONDS}})
                return
            self._cancel_runs()  # again and again: a run that was waiting has only begun now

    def _cancel_runs(self) -> None:
        for model in self._app.models:
            model.engine.cancel()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._set_headers()
            for connection in self._connections:
                connection.sweep(loop.time())

    def _set_headers(self) -> None:
        """Sets what every answer carries: the date, and a goodbye once the server drains."""
        headers = [(b"date", formatdate(time.time(), usegmt=True).encode("ascii"))]
        if self._app.lifecycle.draining:
            headers.append((b"connection", b"close"))
        self._shared.state.default_headers = headers
