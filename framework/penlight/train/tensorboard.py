# SPDX-License-Identifier: Apache-2.0
"""TensorBoard's event files, written without TensorBoard or protobuf.

A file is a sequence of records: length (u64), masked CRC32C of the length (u32), an Event message, masked CRC32C of the message
(https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/io/record_writer.h). Events are encoded by hand from
tensorboard/compat/proto/event.proto and summary.proto.
"""

from __future__ import annotations

import io
import itertools
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from penlight.serialize import as_array

_numbers = itertools.count()

# Wire types of protocol buffers.
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5


class SummaryWriter:
    """Writes what TensorBoard shows into a new event file in `log_dir`; each call is on disk for readers when it returns.

    Args:
        log_dir: the folder of the run; it is created.
        purge_step: what earlier files of the folder hold from this step on is no longer shown: a resumed run writes it anew.

    Example:
        writer = SummaryWriter("runs/first")
        writer.add_scalar("loss", 0.5, step)
        writer.close()
    """

    def __init__(self, log_dir: str | os.PathLike[str], purge_step: int | None = None):
        self.log_dir = Path(log_dir)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads files in the order of their names, and wants the time first.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self.path = self.log_dir / name
        self._file = io.FileIO(self.path, "ab")
        self._event(_text(3, "brain.Event:2"))
        if purge_step is not None:
            self._event(_message(7, _integer(1, 1)), purge_step)  # SessionLog.START

    def add_scalar(self, tag: str, scalar_value: float, global_step: int = 0) -> None:
        """Adds a point of a curve."""
        self.add_scalars({tag: scalar_value}, global_step)

    def add_scalars(self, values: Mapping[str, float], global_step: int = 0) -> None:
        """Adds a point of several curves as one record."""
        parts = [_message(1, _text(1, tag) + _number(2, float(value), _FLOAT)) for tag, value in values.items()]
        self._event(_message(5, b"".join(parts)), global_step)

    def add_histogram(self, tag: str, values: Any, global_step: int = 0, bins: int = 30) -> None:
        """Adds the distribution of the finite values of a Tensor or array."""
        array = as_array(values).astype(np.float64).reshape(-1)
        array = array[np.isfinite(array)]
        counts, edges = np.histogram(array, bins) if array.size else (np.zeros(1), np.array([0.0, 0.0]))
        low, high = (array.min(), array.max()) if array.size else (0.0, 0.0)
        facts = (low, high, array.size, array.sum(), np.square(array).sum())
        histogram = b"".join(_number(i, float(fact), _DOUBLE) for i, fact in enumerate(facts, 1))
        histogram += _message(6, edges[1:].astype("<f8").tobytes()) + _message(7, counts.astype("<f8").tobytes())
        self._event(_message(5, _message(1, _text(1, tag) + _message(5, histogram))), global_step)

    def add_text(self, tag: str, text_string: str, global_step: int = 0) -> None:
        """Adds a text, which TensorBoard shows as Markdown."""
        tensor = _integer(1, 7) + _message(2, _message(2, _integer(1, 1))) + _message(8, text_string.encode())  # DT_STRING, (1,)
        metadata = _message(1, _text(1, "text"))
        self._event(_message(5, _message(1, _text(1, tag) + _message(8, tensor) + _message(9, metadata))), global_step)

    def _event(self, what: bytes, step: int = 0) -> None:
        event = _number(1, time.time(), _DOUBLE) + (_integer(2, step) if step else b"") + what
        self._file.write(record(event))  # one write: a reader never sees a part of it for long

    def flush(self) -> None:
        """Makes what was added survive a power loss."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Ends the file; a second call does nothing."""
        if not self._file.closed:
            self.flush()
            self._file.close()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def record(data: bytes) -> bytes:
    """Returns the framed record of a message."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_checksum(length)) + data + struct.pack("<I", masked_checksum(data))


def masked_checksum(data: bytes) -> int:
    """Returns CRC32C, rotated and shifted so that a checksum of data that holds checksums stays strong."""
    from penlight.checksum import crc32c  # in the compiled extension, which a source tree may lack

    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _integer(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + _varint(value)


def _number(field: int, value: float, wire: int) -> bytes:
    if wire == _DOUBLE:
        return _key(field, wire) + struct.pack("<d", value)
    with np.errstate(over="ignore"):  # unlike struct, what is too large becomes infinity
        return _key(field, wire) + np.float32(value).tobytes()


def _message(field: int, content: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(content)) + content


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())
