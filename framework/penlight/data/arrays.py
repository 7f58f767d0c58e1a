# SPDX-License-Identifier: Apache-2.0
"""Readers that return whole NumPy arrays: MNIST-style idx files, `.npz`, CSV and plain text; and a check for NaN.

Each checks what the file says against what it holds, so that a truncated or foreign file is an error here and not a strange
training run.
"""

import csv
import gzip
import io
import math
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from penlight.errors import DataError, FileFormatError
from penlight.serialize import read_file

PathLike = str | os.PathLike[str]

# The third byte of an idx file; http://yann.lecun.com/exdb/mnist (all big-endian)
IDX_DTYPES: dict[int, np.dtype] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}


def read_idx(path: PathLike) -> np.ndarray:
    """Returns the array of an idx file, gzip-compressed or not (told by content, not by name).

    Raises:
        FileMissingError: there is no such file.
        FileFormatError: not idx, or shorter or longer than its header says.
    """
    data = _gunzip(path, read_file(path, "idx file"))
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_DTYPES or not 1 <= data[3] <= 8:
        raise FileFormatError(
            f"idx file {path}: expected it to start with 00 00, a dtype and a rank; it starts with {data[:4].hex(' ')}"
        )
    dtype, start = IDX_DTYPES[data[2]], 4 + 4 * data[3]
    shape = tuple(int(size) for size in np.frombuffer(data[4 : min(start, len(data) // 4 * 4)], ">u4"))
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected or len(shape) != data[3]:
        raise FileFormatError(
            f"idx file {path}: the header says shape {shape}, hence {expected:,} bytes, and the file has {len(data):,}; "
            "it was cut off or damaged: copy it again"
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _gunzip(path: PathLike, data: bytes) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise FileFormatError(f"{path}: the gzip data is damaged or cut off ({error}); copy it again") from error


def read_npz(path: PathLike) -> dict[str, np.ndarray]:
    """Returns the arrays of a `.npz` file by name; files that need pickle are refused.

    Raises:
        FileMissingError: there is no such file.
        FileFormatError: not a whole `.npz`, or it holds Python objects.
    """
    data = read_file(path, "npz file")
    if not data.startswith(b"PK"):
        raise FileFormatError(
            f"npz file {path}: expected a zip archive of arrays as written by numpy.savez; its first bytes are {data[:4]!r}"
        )
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise FileFormatError(
            f"npz file {path}: {error}; the file is damaged or holds Python objects, which are never loaded"
        ) from error


def read_csv(path: PathLike, *, delimiter: str = ",", dtype: np.dtype | type = np.float32) -> tuple[list[str], np.ndarray]:
    """Returns the column names and the values of a CSV file of numbers.

    A first row that does not parse as numbers is the header; without one the columns are named "0", "1", ...

    Args:
        path: the file, UTF-8.
        delimiter: what separates the fields.
        dtype: dtype of the result.

    Returns:
        The names, and the values (rows, columns).

    Raises:
        FileMissingError: there is no such file.
        FileFormatError: no rows, rows of different length, or a field that is no number (line and column are named).
    """
    text = read_text(path).removeprefix("\ufeff")
    rows = [(number, row) for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1) if row]
    if not rows:
        raise FileFormatError(f"csv file {path}: there are no rows")
    names = [str(column) for column in range(len(rows[0][1]))]
    if not all(_is_number(field) for field in rows[0][1]):
        names = [field.strip() for field in rows.pop(0)[1]]
    values = np.empty((len(rows), len(names)), dtype)
    for index, (number, row) in enumerate(rows):
        if len(row) != len(names):
            raise FileFormatError(f"csv file {path}, line {number}: expected {len(names)} fields, found {len(row)}")
        values[index] = [_number(path, number, column, field) for column, field in zip(names, row, strict=True)]
    return names, values


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _number(path: PathLike, line: int, column: str, field: str) -> float:
    try:
        return float(field)
    except ValueError:
        raise FileFormatError(f"csv file {path}, line {line}, column {column!r}: expected a number, found {field!r}") from None


def read_text(path: PathLike) -> str:
    """Returns a UTF-8 text file.

    Raises:
        FileMissingError: there is no such file.
        FileFormatError: it is empty or not UTF-8.
    """
    data = read_file(path, "text file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(
            f"text file {path}: byte {error.start} is not UTF-8; if it is text, convert it (iconv -t utf-8 {Path(path).name})"
        ) from error


def check_finite(array: np.ndarray, name: str) -> np.ndarray:
    """Returns `array` unchanged if it holds no NaN and no infinity; integer and boolean arrays always pass.

    Raises:
        DataError: naming the array, the number of bad values and the first bad position.
    """
    if array.dtype.kind not in "fc" or np.isfinite(array).all():
        return array
    bad = ~np.isfinite(array)
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    raise DataError(
        f"{name} {array.shape}: {int(bad.sum()):,} of {array.size:,} values are NaN or infinite, the first at index {first} "
        f"({array[first]}); remove or repair those samples"
    )
