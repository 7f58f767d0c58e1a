# SPDX-License-Identifier: Apache-2.0
"""A small reader of TensorBoard's event files, written from the format alone, as a check on our writer."""

import struct
from pathlib import Path

POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected


def crc32c(data: bytes) -> int:
    """Bit by bit, as RFC 3720 defines it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % (1 << 32)


def records(path: Path) -> list[bytes]:
    """The messages of a file; a record that is not whole at its end is left out."""
    data, found, at = path.read_bytes(), [], 0
    while at + 12 <= len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        assert struct.unpack_from("<I", data, at + 8)[0] == masked(data[at : at + 8])
        if at + 16 + size > len(data):
            break
        message = data[at + 12 : at + 12 + size]
        assert struct.unpack_from("<I", data, at + 12 + size)[0] == masked(message)
        found.append(message)
        at += 16 + size
    return found


def fields(message: bytes) -> dict[int, list]:
    """The fields of a protocol-buffer message: integers, floats and bytes by number."""
    found: dict[int, list] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        number, wire = divmod(varint(), 8)
        if wire == 0:
            value = varint()
        elif wire == 2:
            size = varint()
            value, at = message[at : at + size], at + size
        else:
            code, size = {1: ("<d", 8), 5: ("<f", 4)}[wire]
            value, at = struct.unpack_from(code, message, at)[0], at + size
        found.setdefault(number, []).append(value)
    return found


def scalars(path: Path) -> list[tuple[int, str, float]]:
    """All (step, tag, value) of a file, in order."""
    found = []
    for event in map(fields, records(path)):
        for summary in event.get(5, []):
            for value in map(fields, fields(summary).get(1, [])):
                if 2 in value:
                    found.append((event.get(2, [0])[0], value[1][0].decode(), value[2][0]))
    return found
