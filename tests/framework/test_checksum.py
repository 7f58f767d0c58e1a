# SPDX-License-Identifier: Apache-2.0
"""CRC32C against its definition, at every alignment and in parts."""

import numpy as np
import pytest

from penlight.checksum import crc32c


def bitwise(data, crc=0):
    """The definition, bit by bit."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),  # the check value of every catalogue of CRCs
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_crc32c_of_known_vectors(data, crc):
    assert crc32c(data) == crc


@pytest.mark.parametrize("size", [1, 63, 64, 65, 127, 128, 129, 4096, 8192 * 64 - 1, 8192 * 64, 8192 * 66 + 77])
def test_crc32c_of_lengths_and_parts(size):
    data = np.random.default_rng(size).bytes(size)
    if size < 10_000:
        assert crc32c(data) == bitwise(data)
    assert crc32c(data[size // 3 :], crc32c(data[: size // 3])) == crc32c(data)


def test_crc32c_notices_every_flipped_bit():
    data = bytearray(np.random.default_rng(0).bytes(8192 * 64 + 100))
    whole = crc32c(data)
    for position in (0, 1, 8191, 8192, 300_000, len(data) - 1):
        data[position] ^= 1
        assert crc32c(data) != whole
        data[position] ^= 1
