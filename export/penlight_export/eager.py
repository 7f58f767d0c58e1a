# SPDX-License-Identifier: Apache-2.0
"""Running a module of the framework on arrays, as an engine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import penlight as pl
from penlight.arguments import Arguments


def run_module(module: Any, arrays: Sequence[np.ndarray], names: Sequence[str] | None = None) -> list[np.ndarray]:
    """Calls a module or function in evaluation mode without a tape, by keyword if `names` are given."""
    tensors = [pl.tensor(array) for array in arrays]
    with evaluation(module), pl.no_grad():
        result = module(*tensors) if names is None else module(**dict(zip(names, tensors, strict=True)))
        return [np.asarray(t.detach().numpy()) for t in flatten_outputs(result)]


def run_arguments(module: Any, arguments: Arguments, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Calls a module or function like its example, with other arrays by name."""
    tensors = {name: pl.tensor(arrays[name]) for name in arguments.tensors}
    with evaluation(module), pl.no_grad():
        return [np.asarray(t.detach().numpy()) for t in flatten_outputs(arguments.call(module, tensors))]


@contextlib.contextmanager
def evaluation(module: Any) -> Iterator[None]:
    """Puts a module into evaluation mode, and each of its parts back as it was."""
    module = getattr(module, "__self__", module)  # of a bound method
    parts = (
        [part for part in module.modules() if part.training] if hasattr(module, "modules") and not isinstance(module, type) else []
    )
    for part in parts:
        part.training = False
    try:
        yield
    finally:
        for part in parts:
            part.training = True


def state_reset(module: Any) -> Callable[[], None] | None:
    """A function that gives the states of a module the content that they have now; None where it has no states."""
    root = getattr(module, "__self__", module)
    states = list(root.named_export_states()) if hasattr(root, "named_export_states") else []
    copies = [t._data.copy() for _, t in states]

    def reset() -> None:
        for (_, t), content in zip(states, copies, strict=True):
            t._data[...] = content

    return reset if states else None


def flatten_outputs(result: Any) -> list[Any]:
    """Tensors of nested tuples, lists and dicts, in order; None is left out, as in a trace."""
    if result is None:
        return []
    if isinstance(result, Mapping):
        return [tensor for value in result.values() for tensor in flatten_outputs(value)]
    if isinstance(result, (tuple, list)):
        return [tensor for value in result for tensor in flatten_outputs(value)]
    return [result]
