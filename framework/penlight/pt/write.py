# SPDX-License-Identifier: Apache-2.0
"""Writing `.pt` files that `torch.load(path, weights_only=True)` reads."""

from __future__ import annotations

import ctypes
import os
import sys
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from penlight.pt.pickling import Pickler, Placement
from penlight.serialize import as_array, atomic_write
from penlight.tensor import Tensor

_ALIGNMENT = 64  # PyTorch's, so that a mapped file gives aligned storages
_DATE = (1980, 1, 1, 0, 0, 0)  # equal content gives equal files
_FOLDER = "archive"


def save_pt(obj: Any, path: str | os.PathLike[str]) -> Path:
    """Saves tensors in dicts, lists and tuples as a `.pt` file; the save is atomic and durable.

    Tensors that overlap in memory share a storage in the file, so that tied weights stay tied.

    Raises:
        TypeError: `obj` holds something other than tensors, containers, numbers and text.
        SaveError: the file cannot be written; an old one stays whole.
    """
    storages = _Storages(_tensors(obj))
    program = Pickler(storages.place).dump(obj)

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            _member(archive, "data.pkl", program)
            _member(archive, "byteorder", sys.byteorder.encode())
            for number, content in enumerate(storages.contents()):
                _member(archive, f"data/{number}", content)
            _member(archive, "version", b"3\n")

    return atomic_write(path, write)


def _member(archive: zipfile.ZipFile, name: str, content: Any) -> None:
    info = zipfile.ZipInfo(f"{_FOLDER}/{name}", _DATE)
    header = archive.start_dir + 30 + len(info.filename)
    padding = -(header + 4) % _ALIGNMENT
    info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding  # as PyTorch pads
    archive.writestr(info, content)


def _tensors(obj: Any) -> list[Tensor]:
    """The tensors in nested containers, each once; the pickler complains of everything else."""
    found: dict[int, Tensor] = {}
    seen: set[int] = set()
    waiting = [obj]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            found[id(value)] = value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return list(found.values())


class _Storages:
    """Joins tensors of one dtype whose memory overlaps into one storage that spans them, and no more than that."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._arrays = {id(t): _supported(as_array(t)) for t in tensors}
        self._spans: list[tuple[int, int]] = []
        self._number: dict[int, int] = {}
        by_dtype: dict[Any, list[int]] = {}
        for key, array in self._arrays.items():
            by_dtype.setdefault(array.dtype, []).append(key)
        for keys in by_dtype.values():
            self._join(keys)
        self._tighten()

    def _join(self, keys: list[int]) -> None:
        bounds = {key: _bounds(self._arrays[key]) for key in keys}
        end = -1
        for key in sorted(keys, key=lambda k: bounds[k]):
            low, high = bounds[key]
            itemsize = self._arrays[key].itemsize
            if low < end and (low - self._spans[-1][0]) % itemsize == 0 and low < high:
                self._spans[-1] = (self._spans[-1][0], max(end, high))
            else:
                self._spans.append((low, high))
            end = self._spans[-1][1]
            self._number[key] = len(self._spans) - 1

    def _tighten(self) -> None:
        """A lone tensor with gaps is stored without them: its neighbours in memory are nobody's business."""
        owners: dict[int, list[int]] = {}
        for key, number in self._number.items():
            owners.setdefault(number, []).append(key)
        for number, keys in owners.items():
            array = self._arrays[keys[0]]
            low, high = self._spans[number]
            if len(keys) == 1 and array.size * array.itemsize < high - low:
                self._arrays[keys[0]] = array = np.ascontiguousarray(array).reshape(array.shape)
                self._spans[number] = _bounds(array)

    def place(self, t: Tensor) -> Placement:
        array = self._arrays[id(t)]
        number = self._number[id(t)]
        low, high = self._spans[number]
        offset = (array.ctypes.data - low) // array.itemsize if array.size else 0
        strides = tuple(step // array.itemsize for step in array.strides)
        return Placement(str(number), (high - low) // array.itemsize, offset, strides)

    def contents(self) -> Any:
        for low, high in self._spans:
            yield memoryview((ctypes.c_ubyte * (high - low)).from_address(low)).cast("B") if high > low else b""


def _supported(array: np.ndarray) -> np.ndarray:
    """PyTorch has no negative strides, and strides in whole elements only."""
    odd = any(step < 0 or step % array.itemsize for step in array.strides)
    return array.copy() if odd or not array.size else array


def _bounds(array: np.ndarray) -> tuple[int, int]:
    return np.lib.array_utils.byte_bounds(array) if array.size else (array.ctypes.data, array.ctypes.data)
