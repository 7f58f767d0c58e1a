# SPDX-License-Identifier: Apache-2.0
"""Reading `.pt` and `.pth` files: the table of what their programs may name."""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penlight.dtype import ALL
from penlight.dtype import dtype as DType
from penlight.errors import FileFormatError, FileMissingError, UnsafeFileError
from penlight.pt.archive import Archive
from penlight.pt.storage import STORAGE_TYPES, UNTYPED, Storages, StorageType
from penlight.pt.unpickle import Global, UnpickleError, as_key, unpickle
from penlight.tensor import Tensor


def load_pt(path: str | os.PathLike[str]) -> Any:
    """Returns what a `.pt` file of PyTorch 1.6 or newer holds: tensors in dicts, lists and tuples, on the CPU.

    Tensors that share a storage share memory; parameters become `nn.Parameter`. Nothing in the file can run code: it may
    name tensors, containers and numbers only.

    Raises:
        FileMissingError: there is no such file.
        UnsafeFileError: it names something else, such as a whole model's class; the message says what to do.
        FileFormatError: it is damaged, or of another format.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            archive = Archive(file, path)
            table = Table(archive)
            return unpickle(archive.program(), table.find, table.storages.find, (Tensor, DType))
    except FileFormatError:
        raise
    except OSError as error:
        raise FileMissingError(f"load {path}: {error.strerror}; expected a readable file, check the path") from error
    except UnpickleError as error:
        raise FileFormatError(f"load {path}: data.pkl: {error}; the file is damaged or was not written by torch.save") from error


class Table:
    """The globals that a program may name, and the storages that they read."""

    def __init__(self, archive: Archive) -> None:
        self._path = archive.path
        self.storages = Storages(archive)
        functions: dict[str, Callable[..., Any]] = {
            "collections.OrderedDict": _ordered,
            "collections.Counter": _counter,
            "_codecs.encode": _encode,
            "torch.Size": lambda sizes=(): tuple(sizes),
            "torch._utils._rebuild_tensor_v2": self.storages.tensor,
            "torch._utils._rebuild_tensor_v3": self.storages.tensor_of_dtype,
            "torch._utils._rebuild_parameter": self.storages.parameter,
        }
        for module in ("builtins", "__builtin__"):
            functions |= {f"{module}.set": _members(set), f"{module}.frozenset": _members(frozenset)}
            functions |= {f"{module}.complex": complex, f"{module}.bytearray": _bytearray}
        self._known: dict[str, Any] = {name: Global(name, function) for name, function in functions.items()}
        self._known |= {f"torch.{name}": StorageType(dtype) for name, dtype in STORAGE_TYPES.items()}
        self._known |= {f"torch.storage.{UNTYPED}": StorageType(None), f"torch.{UNTYPED}": StorageType(None)}
        self._known |= {f"torch.{dtype.name}": dtype for dtype in ALL}

    def find(self, module: str, name: str) -> Any:
        """The value of a global.

        Raises:
            UnsafeFileError: it is not in the table.
        """
        full = f"{module}.{name}"
        if full not in self._known:
            raise UnsafeFileError(f"load {self._path}: the file names {full[:100]!r}, and {_remedy(module, full)}")
        return self._known[full]


def _remedy(module: str, full: str) -> str:
    if full.startswith("torch.") and full.endswith("Storage"):
        return "tensors of its kind (quantized, for example) are not read; convert them to float before torch.save"
    if module.startswith(("torch.nn", "torch.fx", "torch.optim", "torchvision", "transformers", "__main__")):
        return "a whole object is code, which is never loaded; in PyTorch save its .state_dict() instead"
    if module.startswith("numpy"):
        return "NumPy objects are not read from .pt files; convert them with torch.from_numpy or .item() before torch.save"
    if module.startswith(("torch", "pathlib", "argparse", "datetime", "omegaconf", "collections")):
        return "only tensors, containers, numbers and text are read; in PyTorch save those alone, such as a .state_dict()"
    return "loading it would run code, which is refused; if you trust its author, ask for the state_dict() as safetensors"


def _ordered(items: Any = ()) -> OrderedDict[Any, Any]:
    if type(items) not in (tuple, list):
        raise UnpickleError(f"an OrderedDict of a {type(items).__name__}")
    return OrderedDict((as_key(key), value) for key, value in items)


def _counter(counts: Any = None) -> Counter[Any]:
    if not (counts is None or (type(counts) is dict and all(type(n) is int for n in counts.values()))):
        raise UnpickleError("a Counter of other than numbers")
    return Counter(counts or {})


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How protocol 2 writes bytes."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise UnpickleError("bytes in an encoding other than latin1")
    return text.encode("latin1", "replace")


def _bytearray(content: Any = b"") -> bytearray:
    if type(content) is not bytes:
        raise UnpickleError("a bytearray of other than bytes")  # an integer would ask for that many zeros
    return bytearray(content)


def _members(cls: Any) -> Any:
    def make(items: Any = ()) -> Any:
        if type(items) not in (list, tuple):
            raise UnpickleError(f"a {cls.__name__} of a {type(items).__name__}")
        return cls(map(as_key, items))

    return make
