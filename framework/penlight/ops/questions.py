# SPDX-License-Identifier: Apache-2.0
"""PyTorch's questions to a tensor about its device, type and memory, as methods; and what changes nothing here."""

from __future__ import annotations

from typing import Any

from penlight import random, random_fill
from penlight.backends import cuda
from penlight.backends.cuda import memory
from penlight.dtype import WORDS, as_dtype
from penlight.errors import DTypeError
from penlight.ops import count
from penlight.ops.complex_parts import conj
from penlight.tensor import Tensor, from_array

_TYPES = {kind.name: word for word, kind in WORDS.items()}


def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """Returns the tensor in another dtype, or without one the name of its type: "penlight.FloatTensor".

    Args:
        dtype: a dtype, or such a name, also with "torch.".
    """
    if dtype is None:
        place = "cuda." if self.device.type == "cuda" else ""
        return f"penlight.{place}{_TYPES.get(self.dtype.name, self.dtype.name.capitalize())}Tensor"
    if isinstance(dtype, str) and dtype.endswith("Tensor"):
        word = dtype.removesuffix("Tensor").rpartition(".")[2]
        if word not in WORDS:
            raise DTypeError(f"type: there is no type {dtype!r}; pass a dtype such as penlight.float32")
        dtype = WORDS[word]
    return self.to(as_dtype(dtype))


def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """Returns a copy in pinned memory, from which a device copies while the host goes on; itself where there is no device.

    Raises:
        GradientError: the tensor requires a gradient. DTypeError: it lives on a device.
    """
    array = self.numpy()
    if memory.is_pinned(array) or not cuda.is_available():
        return self
    return from_array(memory.pinned_copy(cuda.backend().xp, array))


def share_memory_(self: Tensor) -> Tensor:
    """Returns the tensor: other processes get copies, or views of the loader's shared memory."""
    return self


def storage_offset(self: Tensor) -> int:
    """Returns how many elements of the memory lie before the first one."""
    base = self._data
    while getattr(base, "base", None) is not None and hasattr(base.base, "dtype"):
        base = base.base
    start = base.ctypes.data if hasattr(base, "ctypes") else base.data.ptr
    return (self.data_ptr() - start) // self.itemsize


def get_device(self: Tensor) -> int:
    """Returns the number of the CUDA device; -1 on the CPU."""
    return -1 if self.device.index is None else self.device.index


def adjoint(self: Tensor) -> Tensor:
    """Returns the matrices transposed, and conjugated where complex."""
    return conj(self.transpose(-2, -1))


def new(self: Tensor, *arguments: Any) -> Tensor:
    """Returns a tensor of this dtype and device, of data or of sizes; `new_tensor` and `new_empty` say it clearer."""
    if all(isinstance(a, int) for a in arguments) or (len(arguments) == 1 and isinstance(arguments[0], tuple)):
        return self.new_empty(*(arguments or (0,)))
    return self.new_tensor(*arguments)


METHODS: dict[str, Any] = {
    "type": type_,
    "pin_memory": pin_memory,
    "is_pinned": lambda self: memory.is_pinned(self._data),
    "share_memory_": share_memory_,
    "storage_offset": storage_offset,
    "get_device": get_device,
    "adjoint": adjoint,
    "new": new,
    "is_cuda": property(lambda self: self.device.type == "cuda"),
    "is_cpu": property(lambda self: self.device.type == "cpu"),
    **dict.fromkeys(("is_sparse", "is_quantized", "is_meta", "is_mps"), property(lambda self: False)),
    "bernoulli": random.bernoulli,
    "multinomial": random.multinomial,
    "histogram": count.histogram,
    **{
        name: getattr(random_fill, name)
        for name in ("random_", "bernoulli_", "exponential_", "geometric_", "log_normal_", "cauchy_")
    },
}
