# SPDX-License-Identifier: Apache-2.0
"""Starting a server: in this process until a signal, or beside it for a test or a demonstration."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penlight_serving.app import App, create_app
from penlight_serving.errors import OptionError, ServingError
from penlight_serving.listener import Address, bind, listen
from penlight_serving.log import configure_log
from penlight_serving.models import load_models
from penlight_serving.options import Options
from penlight_serving.server import HttpServer

Paths = str | Path | Iterable[str | Path]
_log = logging.getLogger("penlight.serving")


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        url: Its base URL, such as `http://127.0.0.1:8080`.
        host: The address it listens on.
        port: The real port.
        models: The names of the models.
    """

    url: str
    host: str
    port: int
    models: tuple[str, ...]


def serve(
    paths: Paths, host: str = "127.0.0.1", port: int = 8080, *, on_ready: Callable[[Running], None] | None = None, **settings: Any
) -> int | None:
    """Serves models over HTTP until SIGTERM or SIGINT, then drains and returns.

    The first signal makes `/v2/health/ready` answer 503 while requests are still accepted for `drain_seconds`; a second one
    ends that wait. Requests in hand are finished. No file is written.

    Args:
        paths: `.onnx` or `.pen` files or folders of them (see `load_models`).
        host: The address to listen on; `0.0.0.0` for all of this machine's.
        port: 0 for any free one.
        on_ready: Called with the bound port once requests are answered.
        settings: The fields of `Options`, such as `threads=1` or `drain_seconds=0`.

    Returns:
        The number of the signal that began the drain, for an exit code; None if there was none.

    Raises:
        ServingError: The models, the options or the address cannot be used; nothing has been served then.
    """
    configure_log()
    received: list[int] = []
    _run(paths, host, port, settings, on_ready, lambda loop, server: _handle_signals(loop, server, received))
    return received[0] if received else None


@contextlib.contextmanager
def running_server(paths: Paths, host: str = "127.0.0.1", port: int = 0, **settings: Any) -> Iterator[Running]:
    """Serves models from a thread of this process while the block runs, on any free port unless told otherwise.

    Example:
        >>> with running_server("model.onnx") as server:  # doctest: +SKIP
        ...     urllib.request.urlopen(server.url + "/v2/health/ready").status
        200
    """
    thread = _ServerThread(paths, host, port, {"drain_seconds": 0.0, **settings})
    thread.start()
    try:
        yield thread.wait_ready()
    finally:
        thread.stop()


def _run(
    paths: Paths, host: str, port: int, settings: dict[str, Any], on_ready: Callable[[Running], None] | None,
    on_start: Callable[[asyncio.AbstractEventLoop, HttpServer], None],
) -> None:  # fmt: skip
    options = _options(settings)
    listener = bind(host, port)  # first: loading models takes time, and a taken port should be known at once
    try:
        app = create_app(load_models(paths, options), options)
        address = listen(listener, host)
        loop = _new_event_loop()
        try:
            loop.run_until_complete(_serve(app, listener, address, on_ready, on_start))
        finally:
            loop.close()
    finally:
        listener.close()


async def _serve(
    app: App, listener: Any, address: Address, on_ready: Callable[[Running], None] | None,
    on_start: Callable[[asyncio.AbstractEventLoop, HttpServer], None],
) -> None:  # fmt: skip
    server = HttpServer(app, listener)
    on_start(asyncio.get_running_loop(), server)
    running = Running(address.url, address.host, address.port, tuple(model.name for model in app.models))
    _log.info("ready", extra={"fields": {"url": running.url, "models": list(running.models)}})
    if on_ready is not None:
        # The socket listens already: a request sent from within the callback's notice waits in its queue, and is answered.
        on_ready(running)
    await server.run()


def _options(settings: dict[str, Any]) -> Options:
    try:
        return Options(**settings)
    except TypeError:
        known = Options.__dataclass_fields__
        unknown = [name for name in settings if name not in known]
        raise OptionError(f"unknown option {', '.join(unknown)}; the options are {', '.join(known)}") from None


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # absent on Windows

        return uvloop.new_event_loop()
    except ImportError:
        return asyncio.new_event_loop()


def _handle_signals(loop: asyncio.AbstractEventLoop, server: HttpServer, received: list[int]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # signals belong to the main thread; whoever started this one stops it otherwise

    def stop(number: int) -> None:
        received.append(number)
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop, int(number))
        except NotImplementedError:  # Windows
            signal.signal(number, lambda number, _: loop.call_soon_threadsafe(stop, number))


class _ServerThread(threading.Thread):
    """A server in a thread, with its first error handed to the thread that started it."""

    def __init__(self, paths: Paths, host: str, port: int, settings: dict[str, Any]) -> None:
        super().__init__(name="penlight-server", daemon=True)
        self._arguments = (paths, host, port, settings)
        self._ready = threading.Event()
        self._running: Running | None = None
        self._error: BaseException | None = None
        self._stop: Callable[[], Any] = lambda: None

    def run(self) -> None:
        try:
            _run(*self._arguments, self._note_ready, self._note_start)
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    def wait_ready(self) -> Running:
        """Returns once the server answers. Raises what kept it from starting."""
        self._ready.wait()
        if self._running is None:
            raise self._error or ServingError("the server ended before it was ready")
        return self._running

    def stop(self) -> None:
        """Drains and waits for the end. Raises what made the server fail meanwhile."""
        self._stop()
        self.join()
        if self._error is not None and self._running is not None:
            raise self._error

    def _note_start(self, loop: asyncio.AbstractEventLoop, server: HttpServer) -> None:
        def stop() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(server.stop)

        self._stop = stop

    def _note_ready(self, running: Running) -> None:
        self._running = running
        self._ready.set()
