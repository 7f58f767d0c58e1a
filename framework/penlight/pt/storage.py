# SPDX-License-Identifier: Apache-2.0
"""Tensors over the storages of a `.pt` file: every view is checked to lie inside its storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penlight.dtype import WORDS
from penlight.dtype import dtype as DType
from penlight.nn.parameter import Parameter
from penlight.pt.archive import Archive
from penlight.tensor import Tensor, from_array

MAX_REPEATED_BYTES = 1 << 30  # an expanded tensor (stride 0) may stand for more bytes than its storage has, up to this
MAX_DIMS = 64

# PyTorch's names of storages; https://github.com/pytorch/pytorch/blob/main/torch/storage.py
STORAGE_TYPES: dict[str, DType] = {f"{word}Storage": kind for word, kind in WORDS.items()}
UNTYPED = "UntypedStorage"


@dataclass(frozen=True)
class StorageType:
    """A global such as torch.FloatStorage; the dtype of an untyped storage is None."""

    dtype: DType | None


@dataclass(frozen=True, eq=False)
class Storage:
    """A reference to a storage: its bytes, shared by all references to the same key, and the dtype named here."""

    content: np.ndarray
    dtype: DType | None


class Storages:
    """The storages of one file, each read once."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._known: dict[str, np.ndarray] = {}
        self._native: dict[str, int] = {}

    def find(self, identity: Any) -> Storage:
        """The storage of a persistent id: ("storage", type, key, location, number of elements).

        Raises:
            FileFormatError: the id is malformed, or the storage is missing or has another size.
        """
        error = self._archive.error
        if type(identity) is not tuple or len(identity) != 5 or identity[0] != "storage":
            raise error(f"expected a reference to a storage, found {_short(identity)}")
        _, kind, key, location, count = identity
        if type(kind) is not StorageType or type(key) is not str or type(location) is not str or not _is_size(count):
            raise error(f"the reference to a storage is malformed: {_short(identity)}")
        size_bytes = count * (1 if kind.dtype is None else kind.dtype.itemsize)
        content = self._known.get(key)
        if content is None:
            content = self._known[key] = self._archive.storage(key, size_bytes)
        if content.nbytes != size_bytes:
            raise error(f"storage {key!r} has {content.nbytes:,} bytes and is also said to have {size_bytes:,}")
        if self._archive.swapped and kind.dtype is not None:
            self._swap(key, content, kind.dtype)
        return Storage(content, kind.dtype)

    def _swap(self, key: str, content: np.ndarray, dtype: DType) -> None:
        """Brings a big-endian storage into native order, once."""
        width = dtype.itemsize // 2 if dtype.kind == 3 else dtype.itemsize
        if self._native.setdefault(key, 1) == width:
            return
        if self._native[key] != 1:
            raise self._archive.error(f"storage {key!r} has two element sizes in a big-endian file")
        self._native[key] = width
        content.reshape(-1, width)[:] = content.reshape(-1, width)[:, ::-1].copy()

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, *rest: Any) -> Tensor:
        """torch._utils._rebuild_tensor_v2: a view of a storage; `rest` is metadata, which must be empty."""
        if type(storage) is not Storage or storage.dtype is None:
            raise self._archive.error(f"expected a typed storage under a tensor, found {_short(storage)}")
        if hooks or any(rest):
            raise self._archive.error("a tensor carries hooks or metadata; detach and clone it before saving")
        return self._view(storage.content, storage.dtype, offset, size, stride, requires_grad)

    def tensor_of_dtype(
        self, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, dtype: Any, *rest: Any
    ) -> Tensor:
        """torch._utils._rebuild_tensor_v3: a view of an untyped storage."""
        if type(storage) is not Storage or type(dtype) is not DType or self._archive.swapped:
            raise self._archive.error("expected a storage and a dtype under a tensor, in little-endian order")
        if hooks or any(rest):
            raise self._archive.error("a tensor carries hooks or metadata; detach and clone it before saving")
        return self._view(storage.content, dtype, offset, size, stride, requires_grad)

    def parameter(self, data: Any, requires_grad: Any, hooks: Any) -> Parameter:
        """torch._utils._rebuild_parameter."""
        if not isinstance(data, Tensor) or hooks or (requires_grad and not data.dtype.is_floating_point):
            raise self._archive.error(f"expected a tensor under a parameter, found {_short(data)}")
        return Parameter(data, requires_grad=bool(requires_grad))

    def _view(self, content: np.ndarray, dtype: DType, offset: Any, size: Any, stride: Any, requires_grad: Any) -> Tensor:
        error = self._archive.error
        if not (_is_size(offset) and _are_sizes(size) and _are_sizes(stride) and len(size) == len(stride)):
            raise error(
                f"a tensor has size {_short(size)}, stride {_short(stride)} and offset {_short(offset)}; "
                f"expected as many strides as sizes, at most {MAX_DIMS}, and none of them negative"
            )
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        available = content.nbytes // dtype.itemsize
        if 0 not in size and last >= available:
            raise error(f"a tensor of size {tuple(size)} reads element {last:,} of a storage with {available:,}")
        self._check_overlap(size, stride, dtype, content.nbytes)
        steps = tuple(step * dtype.itemsize for step in stride)
        array: np.ndarray = (
            np.empty(size, dtype.numpy)
            if 0 in size
            else np.ndarray(tuple(size), dtype.numpy, content, offset * dtype.itemsize, steps)
        )
        result = from_array(array)
        return result.requires_grad_() if requires_grad and dtype.is_floating_point else result

    def _check_overlap(self, size: Sequence[int], stride: Sequence[int], dtype: DType, size_bytes: int) -> None:
        """Elements may repeat through stride 0 (an expanded tensor); windows that overlap are refused."""
        reach = 0
        for step, n in sorted(zip(stride, size, strict=True)):
            if n > 1 and step:
                if step <= reach:
                    raise self._archive.error(
                        f"the elements of a tensor of size {tuple(size)}, stride {tuple(stride)} overlap; clone it before saving"
                    )
                reach += (n - 1) * step
        total = dtype.itemsize
        for n in size:
            total *= n
        if total > max(size_bytes, MAX_REPEATED_BYTES):
            raise self._archive.error(f"a tensor of size {tuple(size)} stands for {total:,} bytes and stores {size_bytes:,}")


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _are_sizes(value: Any) -> bool:
    return type(value) is tuple and len(value) <= MAX_DIMS and all(_is_size(n) for n in value)


def _short(value: Any) -> str:
    """A few words about a value from the file; it may be nested without end."""
    if type(value) is tuple:
        return f"({', '.join(_short(v) if type(v) is not tuple else '(...)' for v in value[:8])})"
    return repr(value)[:40] if type(value) in (int, float, str, bytes, bool, type(None)) else f"a {type(value).__name__}"
