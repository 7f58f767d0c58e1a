# SPDX-License-Identifier: Apache-2.0
"""`load` and `save`: one call for `.pt`, `.pth` and `.safetensors` files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from penlight.device import device
from penlight.errors import ArgumentError, FileFormatError, FileMissingError
from penlight.pt.read import load_pt
from penlight.pt.write import save_pt
from penlight.serialize import load_safetensors, save_safetensors
from penlight.tensor import Tensor

_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # the magic number of torch.save before PyTorch 1.6
_LARGEST_HEADER = 1 << 30


def load(path: str | os.PathLike[str], map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Returns the tensors of a file; its content and not its name tells the format.

    A `.pt` or `.pth` file of PyTorch gives what was saved, a `.safetensors` file a dict of tensors. No file can run code.

    Args:
        path: the file.
        map_location: the device that all tensors move to, such as "cuda:0"; they come on the CPU by default.
        weights_only: accepted for PyTorch's signature; there is no other way to load.

    Raises:
        ArgumentError: `weights_only` is False, or `map_location` is no device.
        FileMissingError: there is no such file.
        UnsafeFileError: a `.pt` file holds other than tensors and containers.
        FileFormatError: the file is damaged or of another format.
    """
    if not weights_only:
        raise ArgumentError("load: weights_only=False would run code from the file, which is never done; leave it out")
    if map_location is not None and not isinstance(map_location, (str, device)):
        raise ArgumentError(f"load: map_location must be a device such as 'cpu', came {type(map_location).__name__}")
    found = _read(path)
    return found if map_location is None else _moved(found, map_location)


def _read(path: str | os.PathLike[str]) -> Any:
    start = _first_bytes(path)
    if start.startswith(b"PK"):
        return load_pt(path)
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LARGEST_HEADER:
        return load_safetensors(path)
    raise FileFormatError(f"load {path}: {_guess(start)}")


def _moved(value: Any, where: Any) -> Any:
    """What was loaded with its tensors on a device; containers keep their type."""
    if isinstance(value, Tensor):
        return value.to(where)
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = _moved(item, where)
        return value
    return type(value)(_moved(item, where) for item in value) if type(value) in (list, tuple) else value


def save(obj: Any, path: str | os.PathLike[str]) -> Path:
    """Saves tensors: a dict of them as safetensors where the name ends in `.safetensors`, anything nested as `.pt`.

    `torch.load(path, weights_only=True)` reads the `.pt` file. The save is atomic and durable.

    Raises:
        TypeError: `obj` holds something other than tensors, containers, numbers and text.
        SaveError: the file cannot be written; an old one stays whole.
    """
    if Path(path).suffix != ".safetensors":
        return save_pt(obj, path)
    if not isinstance(obj, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in obj.items()):
        raise TypeError("save: a .safetensors file holds a dict of tensors by name; nested content goes into a .pt file")
    return save_safetensors(path, obj)


def _first_bytes(path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(32)
    except OSError as error:
        raise FileMissingError(f"load {path}: {error.strerror}; expected a readable file, check the path") from error


def _guess(start: bytes) -> str:
    """What a file that is none of ours seems to be."""
    if not start:
        return "the file is empty; it was probably cut off while being written or copied"
    if start.startswith(_LEGACY):
        return "it was saved before PyTorch 1.6 (or without the zip format); load it in PyTorch and torch.save it again"
    if start.startswith(b"\x80"):
        return "it is a bare pickle, which can run code and is never loaded; in PyTorch, torch.save the state_dict() again"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer: run 'git lfs pull'"
    return "it is neither a .pt nor a .safetensors file; it was cut off or is of another format"
