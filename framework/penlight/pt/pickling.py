# SPDX-License-Identifier: Apache-2.0
"""The pickle program (protocol 2) of tensors and containers, as PyTorch's own loader with weights_only=True accepts it."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from penlight.dtype import dtype as DType
from penlight.nn.parameter import Parameter
from penlight.pt.storage import STORAGE_TYPES
from penlight.pt.unpickle import MAX_DEPTH
from penlight.tensor import Tensor

_STORAGE_NAMES = {dtype.name: name for name, dtype in STORAGE_TYPES.items()}


class Placement:
    """Where a tensor's elements are: storage key, elements in it, offset, strides; in elements."""

    __slots__ = ("count", "key", "offset", "strides")

    def __init__(self, key: str, count: int, offset: int, strides: tuple[int, ...]) -> None:
        self.key, self.count, self.offset, self.strides = key, count, offset, strides


class Pickler:
    """Writes one program.

    Args:
        place: the placement of a tensor.
    """

    def __init__(self, place: Callable[[Tensor], Placement]) -> None:
        self._place = place
        self._parts: list[bytes] = []
        self._memo: dict[Any, int] = {}
        self._kept: list[Any] = []  # what the memo names must live, or its id() might be given to another object
        self._open: set[int] = set()
        self._writers: dict[type, Callable[[Any], None]] = {
            type(None): lambda _: self._emit(b"N"),
            bool: lambda value: self._emit(b"\x88" if value else b"\x89"),
            int: self._integer,
            float: lambda value: self._emit(b"G" + struct.pack(">d", value)),
            complex: lambda value: self._call("__builtin__ complex", (value.real, value.imag)),
            str: self._text,
            bytes: lambda value: self._call("_codecs encode", (value.decode("latin1"), "latin1")),
            tuple: self._tuple,
            list: self._list,
            dict: self._dict,
            OrderedDict: self._ordered,
            set: lambda value: self._call("__builtin__ set", (sorted(value, key=repr),)),
            DType: lambda value: self._global(f"torch {value.name}"),
            Tensor: self._tensor,
            Parameter: self._parameter,
        }

    def dump(self, value: Any) -> bytes:
        """Returns the program that builds `value`.

        Raises:
            TypeError: it holds something other than tensors, containers, numbers and text.
            ValueError: it is nested too deeply or contains itself.
        """
        self._emit(b"\x80\x02")
        self._write(value)
        self._emit(b".")
        return b"".join(self._parts)

    def _emit(self, part: bytes) -> None:
        self._parts.append(part)

    def _write(self, value: Any) -> None:
        if isinstance(value, np.generic):
            value = value.item()
        writer = self._writers.get(type(value))
        if writer is None:
            raise TypeError(f"save: a .pt file holds tensors, containers, numbers and text, came {_describe(value)}")
        number = self._memo.get(_identity(value))
        if number is not None:
            self._emit(b"h" + bytes([number]) if number < 256 else b"j" + struct.pack("<I", number))
            return
        if id(value) in self._open or len(self._open) >= MAX_DEPTH:
            raise ValueError(f"save: containers contain each other, or are nested more than {MAX_DEPTH} deep")
        if isinstance(value, (dict, list, tuple, set)):
            self._open.add(id(value))
            writer(value)
            self._open.discard(id(value))
        else:
            writer(value)
        if isinstance(value, (str, Tensor, dict, list)):
            self._remember(value)

    def _remember(self, value: Any) -> None:
        number = self._memo[_identity(value)] = len(self._memo)
        self._kept.append(value)
        self._emit(b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<I", number))

    def _integer(self, value: int) -> None:
        if 0 <= value < 256:
            self._emit(b"K" + bytes([value]))
        elif -(1 << 31) <= value < 1 << 31:
            self._emit(b"J" + struct.pack("<i", value))
        else:
            width = value.bit_length() // 8 + 1
            self._emit(b"\x8a" + bytes([width]) + value.to_bytes(width, "little", signed=True))

    def _text(self, value: str) -> None:
        data = value.encode("utf-8", "surrogatepass")
        self._emit(b"X" + struct.pack("<I", len(data)) + data)

    def _tuple(self, value: tuple[Any, ...]) -> None:
        if not value:
            self._emit(b")")
            return
        self._emit(b"(")
        for item in value:
            self._write(item)
        self._emit(b"t")

    def _list(self, value: list[Any]) -> None:
        self._emit(b"](")
        for item in value:
            self._write(item)
        self._emit(b"e")

    def _dict(self, value: dict[Any, Any]) -> None:
        self._emit(b"}")
        self._items(value)

    def _ordered(self, value: OrderedDict[Any, Any]) -> None:
        self._global("collections OrderedDict")
        self._emit(b")R")
        self._items(value)

    def _items(self, value: dict[Any, Any]) -> None:
        self._emit(b"(")
        for key, item in value.items():
            self._write(key)
            self._write(item)
        self._emit(b"u")

    def _global(self, name: str) -> None:
        module, _, attribute = name.partition(" ")
        self._emit(b"c" + module.encode() + b"\n" + attribute.encode() + b"\n")

    def _call(self, name: str, arguments: tuple[Any, ...]) -> None:
        self._global(name)
        self._tuple(arguments)
        self._emit(b"R")

    def _tensor(self, t: Tensor) -> None:
        self._rebuild(t, t.requires_grad)

    def _parameter(self, t: Parameter) -> None:
        self._global("torch._utils _rebuild_parameter")
        self._emit(b"(")
        self._rebuild(t, False)
        self._write(bool(t.requires_grad))
        self._hooks()
        self._emit(b"tR")

    def _rebuild(self, t: Tensor, requires_grad: bool) -> None:
        place = self._place(t)
        typed = _STORAGE_NAMES.get(t.dtype.name)
        self._global(f"torch._utils _rebuild_tensor_v{2 if typed else 3}")
        self._emit(b"((")
        self._write("storage")
        self._global(f"torch {typed}" if typed else "torch.storage UntypedStorage")
        self._write(place.key)
        self._write("cpu")
        self._integer(place.count if typed else place.count * t.itemsize)
        self._emit(b"tQ")
        self._integer(place.offset)
        self._tuple(tuple(int(n) for n in t._data.shape))
        self._tuple(place.strides)
        self._write(bool(requires_grad))
        self._hooks()
        if not typed:
            self._write(t.dtype)
        self._emit(b"tR")

    def _hooks(self) -> None:
        self._global("collections OrderedDict")
        self._emit(b")R")


def _identity(value: Any) -> Any:
    return value if type(value) is str else id(value)


def _describe(value: Any) -> str:
    kind = type(value).__name__
    if hasattr(value, "state_dict"):
        return f"a {kind}; save its .state_dict()"
    if isinstance(value, np.ndarray):
        return f"a NumPy array; wrap it with penlight.from_numpy, dtype {value.dtype}"
    return f"a {kind}"
