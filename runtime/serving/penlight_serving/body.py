# SPDX-License-Identifier: Apache-2.0
"""Reading request bodies within limits, before and while the bytes arrive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from penlight_serving.errors import BinaryError, BodyTooLargeError, BusyError, ContentEncodingError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientGoneError(Exception):
    """The client closed the connection while sending; nobody is left to answer."""


class ByteBudget:
    """Bytes of request bodies in hand, over all connections."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self, count: int) -> None:
        """Books bytes, or raises BusyError."""
        if self.taken + count > self._limit:
            raise BusyError(f"request bodies of {self.taken} bytes are in hand, the limit is {self._limit}; try again in a second")
        self.taken += count

    def give_back(self, count: int) -> None:
        """Frees bytes that were booked."""
        self.taken -= count


class Body:
    """The body of one request; `with` frees its bytes in the budget.

    Args:
        scope: The ASGI scope; its headers are checked at once, before a byte is read.
        limit: Largest body.
        budget: Where the bytes are booked as they arrive.

    Raises:
        BodyTooLargeError: `Content-Length` is above the limit.
        ContentEncodingError: The body is compressed.
        BinaryError: `Inference-Header-Content-Length` is not a whole number.
    """

    def __init__(self, scope: Scope, limit: int, budget: ByteBudget) -> None:
        self._limit, self._budget, self._booked = limit, budget, 0
        self.header_length: int | None = None
        for name, value in scope["headers"]:
            if name == b"content-length":
                self._check(int(value))  # the HTTP parser has seen to it that this is a number
            elif name == b"inference-header-content-length":
                if not value.isdigit() or len(value) > 18:
                    raise BinaryError("Inference-Header-Content-Length must be the number of bytes of the JSON part")
                self.header_length = int(value)
            elif name == b"content-encoding" and value.lower() not in (b"identity", b""):
                raise ContentEncodingError("compressed bodies are not read; send the body without Content-Encoding")

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.give_back(self._booked)
        self._booked = 0

    async def read(self, receive: Receive) -> bytes:
        """Returns the whole body.

        Raises:
            BodyTooLargeError: It goes beyond the limit.
            BusyError: All bodies together go beyond the budget.
            ClientGoneError: The client went away.
        """
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGoneError
            part = message.get("body", b"")
            self._check(self._booked + len(part))
            self._budget.take(len(part))
            self._booked += len(part)
            if not message.get("more_body", False):
                return b"".join([*parts, part]) if parts else part
            parts.append(part)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise BodyTooLargeError(f"the body has at least {size} bytes, the limit is {self._limit}; send fewer rows at once")
