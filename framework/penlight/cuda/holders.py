# SPDX-License-Identifier: Apache-2.0
"""Which tensors hold the device's memory, by the names that they have in modules and optimizers."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

import numpy as np

from penlight.nn.module import Module
from penlight.optim.optimizer import Optimizer
from penlight.tensor import Tensor


def largest(count: int = 5) -> list[tuple[str, int]]:
    """Returns (name, bytes) of what holds the most, largest first; memory that several tensors share counts once."""
    alive = gc.get_objects()  # asked by type(): at isinstance, which asks for __class__, some of torch's warn
    names = _names(alive)
    found: Counter[str] = Counter()
    seen: set[int] = set()
    tensors = [t for t in alive if issubclass(type(t), Tensor) and type(t._data) is not np.ndarray]
    for t in sorted(tensors, key=lambda t: (id(t) not in names, -t._data.nbytes)):  # a name says more than "a view of"
        address = t._data.data.ptr
        if address not in seen:
            seen.add(address)
            found[names.get(id(t)) or _described(t)] += t._data.nbytes
    return [(name, size) for name, size in found.most_common(count) if size]


def _names(alive: list[Any]) -> dict[int, str]:
    modules = [m for m in alive if issubclass(type(m), Module)]
    inner = {id(child) for module in modules for child in module._modules.values()}
    names = {}
    for root in modules:
        if id(root) not in inner:
            for name, t in (*root.named_parameters(), *root.named_buffers()):
                names[id(t)] = f"{type(root).__name__} {name}"
    for optimizer in alive:
        if issubclass(type(optimizer), Optimizer):
            for parameter, entries in optimizer.state.items():
                of = f"of {names[id(parameter)]}" if id(parameter) in names else ""
                for name, t in entries.items():
                    names[id(t)] = f"{type(optimizer).__name__} {name} {of}".strip()
    for t in alive:
        if issubclass(type(t), Tensor) and t.grad is not None:
            names[id(t.grad)] = f"gradient of {names.get(id(t), 'a tensor')}"
    return names


def _described(t: Tensor) -> str:
    made = f"results of {t._node.name}" if t._node is not None else "tensors"
    return f"{made} {tuple(t._data.shape)} {t.dtype.name}"
