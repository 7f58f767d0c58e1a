# SPDX-License-Identifier: Apache-2.0
"""One HTTP connection: uvicorn's httptools protocol, with deadlines and limits for clients that are slow or send too much."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from penlight_serving.answer import error_body, error_headers
from penlight_serving.cork import Cork
from penlight_serving.errors import BusyError, HeadersTooLargeError, RequestTimeoutError, ServingError
from penlight_serving.options import Options

MAX_HEADER_BYTES = 64 * 1024
_REFUSED_SECONDS = 1.0
_DISCARDED_BODIES = 4  # times the largest body, read after an early answer and thrown away


_UPGRADE = re.compile(rb"(?<=\n)upgrade(?=[ \t]*:)", re.IGNORECASE)


@dataclass(frozen=True)
class Shared:
    """What all connections of a server share."""

    config: Config
    state: ServerState
    options: Options


class Connection(HttpToolsProtocol):
    """A connection that knows since when it waits for its client, so that one sweep over all can end those that wait too long.

    A timer per request would cost more than the rest of this class; the sweep costs nothing per request.
    """

    def __init__(self, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config=shared.config, server_state=shared.state, app_state={}, _loop=loop)
        self._shared = shared
        self._reading_since: float | None = None  # while headers or a body are awaited
        self._writing_since: float | None = None  # while the client does not take its answer
        self._in_headers = False
        self._header_bytes = 0
        self._discarded_bytes = 0
        self._refused_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # the base names its own type
        super().connection_made(transport)
        self.transport = Cork(transport, self.loop)
        self._reading_since = self.loop.time()
        limit = self._shared.options.max_connections
        if len(self.connections) > limit:
            self._refuse(BusyError(f"{limit} connections are open, which is the limit; try again in a second"))
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._refused_since is not None or self.transport.is_closing():
            return
        if self._in_headers or self._reading_since is None or self.cycle is None:
            data = _without_upgrade(data)
        super().data_received(data)
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(HeadersTooLargeError(f"the headers are longer than {MAX_HEADER_BYTES} bytes"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers, self._header_bytes, self._discarded_bytes = True, 0, 0
        self._reading_since = self.loop.time()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_headers = False

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle.response_complete:  # an answer such as 413 is out: read on for a while, so that the client gets to see it
            self._discarded_bytes += len(body)
            if self._discarded_bytes > _DISCARDED_BODIES * self._shared.options.max_body_bytes:
                self.transport.close()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._reading_since = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._writing_since = None

    def sweep(self, now: float) -> None:
        """Ends the connection if its client lets it wait for too long."""
        options = self._shared.options
        if self._refused_since is not None:
            if now - self._refused_since > _REFUSED_SECONDS:
                self.transport.abort()
        elif self._writing_since is not None and now - self._writing_since > options.body_seconds:
            self.transport.abort()
        elif self._reading_since is not None:
            fresh = self.cycle is None or self._in_headers
            limit = options.header_seconds if fresh else options.body_seconds
            if now - self._reading_since > limit:
                part = "headers" if fresh else "body"
                self._refuse(RequestTimeoutError(f"the {part} did not arrive within {limit:g} seconds"))

    def finish(self) -> None:
        """Lets the request in hand be the last one."""
        if self.cycle is not None:
            self.cycle.keep_alive = False

    def close_if_idle(self, now: float, linger_seconds: float) -> None:
        """Closes the connection unless a request is in hand or one may still be on its way.

        A client that connected just before the end, or that has sent a part of its headers, gets some time for the rest.
        """
        self.finish()
        busy = self.cycle is not None and not self.cycle.response_complete
        expected = self._refused_since is None and self._reading_since is not None and now - self._reading_since < linger_seconds
        if not busy and not expected:
            self.transport.close()

    def _refuse(self, error: ServingError) -> None:
        """Writes an error answer past the application, then reads on for a moment: closing at once would reset the connection
        under a client that is still sending, and the answer would be lost."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = error_body(error)
            lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}".encode("ascii")]
            lines += [name + b": " + value for name, value in error_headers(error, body)]
            self.transport.write(b"\r\n".join([*lines, b"connection: close", b"", body]))
        self._refused_since = self.loop.time()
        self.transport.write_eof()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()


def _without_upgrade(data: bytes) -> bytes:
    """Renames the header `Upgrade`, which a server may ignore (RFC 9110, 7.8), so that the parser does: httptools drops the body
    of a request that offers HTTP/2, as Java's client and `curl --http2` do by default."""
    if b"pgrade" not in data and b"PGRADE" not in data:
        return data
    end = data.find(b"\r\n\r\n")
    head, rest = (data, b"") if end < 0 else (data[:end], data[end:])
    return _UPGRADE.sub(b"ignored", head) + rest
