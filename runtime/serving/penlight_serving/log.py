# SPDX-License-Identifier: Apache-2.0
"""The server's log: one line per event on standard error, `key=value` with JSON values, control characters escaped."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback

LOGGERS = ("penlight.serving", "uvicorn.error")


class LineFormatter(logging.Formatter):
    """Formats a record as `time=... level=... event=... key=value ...`; a traceback becomes one more value."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {"event": record.getMessage(), **getattr(record, "fields", {})}
        if record.exc_info and record.exc_info[1] is not None:
            fields["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        text = " ".join(f"{key}={_value(value)}" for key, value in fields.items())
        return f"time={stamp}.{int(record.msecs):03d}Z level={record.levelname.lower()} {text}"


def configure_log(level: int = logging.INFO) -> None:
    """Sends the server's log to standard error; applications that embed the server configure `logging` themselves."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level if name.startswith("penlight") else logging.WARNING)


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    plain = text.isascii() and text.isprintable() and text and not set(text) & set(' "=')
    return text if plain else json.dumps(text)
