# SPDX-License-Identifier: Apache-2.0
"""Error answers: `{"error": text, "code": "PL-E4102"}`, the same text and code as in Python and on the command line."""

from __future__ import annotations

import logging
import secrets

import orjson

from penlight_serving.errors import BusyError, InternalError, RequestError, ServingError

_OUT_OF_MEMORY = "PL-E3007"  # PENLIGHT_OUT_OF_MEMORY in penlight.h
_log = logging.getLogger("penlight.serving")


def public_error(error: Exception) -> ServingError:
    """Returns the error as a client may see it.

    Our own errors go out as they are. An error of the edge runtime has a `code` and words that name nodes and shapes only; it is
    the request's fault, except where the machine lacks memory. Any other error goes to the log under a reference.
    """
    if isinstance(error, ServingError):
        return error
    if isinstance(error, MemoryError):
        return BusyError("the server has not enough memory for this request now; send fewer rows at once, or try again later")
    code = getattr(error, "code", None)
    if isinstance(code, str) and code.startswith("PL-E3"):
        answer: ServingError = BusyError(str(error)) if code == _OUT_OF_MEMORY else RequestError(str(error))
        answer.code = code  # the runtime's own code, which `penlight explain` knows
        return answer
    reference = secrets.token_hex(4)
    _log.error("internal_error", exc_info=error, extra={"fields": {"reference": reference}})
    return InternalError(f"the server failed; its log says more under the reference {reference}")


def error_body(error: ServingError) -> bytes:
    """Returns the JSON of an error answer."""
    return orjson.dumps({"error": str(error), "code": error.code})


def error_headers(error: ServingError, body: bytes) -> list[tuple[bytes, bytes]]:
    """Returns the headers that go with the JSON."""
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *error.headers]
