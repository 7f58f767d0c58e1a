# SPDX-License-Identifier: Apache-2.0
"""The example arguments of a program under trace: nested tensors by name, and back into the call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penlight.errors import TraceInputError
from penlight.tensor import Tensor


@dataclass(frozen=True)
class _Place:
    """Where a tensor stands in the arguments."""

    name: str


@dataclass
class Arguments:
    """Example tensors by name: "x", and "state.0" or "state.h" inside of tuples, lists and dicts.

    Attributes:
        tensors: the examples in the order of the arguments.
        positional, keywords: the arguments, with a place instead of each tensor.
    """

    tensors: dict[str, Tensor]
    positional: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] | None = None

    def call(self, function: Callable[..., Any], tensors: Mapping[str, Any]) -> Any:
        """Calls the program with other tensors in the places of the examples."""
        keywords = {key: _filled(part, tensors) for key, part in (self.keywords or {}).items()}
        return function(*(_filled(part, tensors) for part in self.positional), **keywords)


def example_arguments(function: Any, inputs: Any, names: Sequence[str] | None = None) -> Arguments:
    """The arguments of a call from a tensor, a tuple of positional arguments, or a dict of keyword arguments.

    Args:
        names: of the positional arguments; those of the function's parameters by default.

    Raises:
        TraceInputError: the program cannot be called with them, or one of them holds something that is no tensor.
    """
    _check_function(function)
    if isinstance(inputs, Mapping):
        if names is not None:
            raise TraceInputError("trace: names go with positional inputs; in a dict, the keys are the names")
        arguments = Arguments({}, keywords=dict(inputs))
    else:
        given = (inputs,) if not isinstance(inputs, (tuple, list)) else tuple(inputs)
        arguments = Arguments({}, tuple(given))
    _check_call(function, arguments)
    tensors: dict[str, Tensor] = {}
    labels = _labels(function, len(arguments.positional), names)
    positional = tuple(_placed(part, name, tensors) for part, name in zip(arguments.positional, labels, strict=True))
    keywords = {key: _placed(part, str(key), tensors) for key, part in (arguments.keywords or {}).items()}
    return Arguments(tensors, positional, keywords)


def _check_function(function: Any) -> None:
    if isinstance(function, type):
        name = function.__name__
        raise TraceInputError(f"trace: expected a module or a function, came the class {name}; make a module of it: {name}(...)")
    if not callable(function):
        raise TraceInputError(f"trace: expected a module or a function of tensors, came {type(function).__name__}")
    from penlight.nn.module import Module  # late: layers are imported on demand

    if isinstance(function, Module) and type(function).forward is Module.forward:
        raise TraceInputError(f"trace: the module {type(function).__name__} has no forward(self, ...); define it")


def _check_call(function: Any, arguments: Arguments) -> None:
    target = function.forward if hasattr(function, "forward") else function
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # a function of C, without a signature
        return
    try:
        signature.bind(*arguments.positional, **(arguments.keywords or {}))
    except TypeError as error:
        name = type(function).__name__ if hasattr(function, "forward") else getattr(function, "__name__", "function")
        came = ", ".join(map(repr, arguments.keywords)) if arguments.keywords else f"{len(arguments.positional)} positional"
        raise TraceInputError(f"trace: the example inputs ({came}) do not fit {name}{signature}: {error}") from error


def _labels(function: Any, count: int, names: Sequence[str] | None) -> list[str]:
    if names is not None:
        if len(names) != count or len(set(names)) != count:
            raise TraceInputError(f"trace: expected {count} different names, one for each input, came {list(names)}")
        return list(names)
    found = _parameter_names(function)[:count]
    return found + [f"input_{number}" for number in range(len(found), count)]


def _parameter_names(function: Any) -> list[str]:
    target = function.forward if hasattr(function, "forward") else function
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # a function of C, without a signature
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _placed(part: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The argument with places for its tensors, which go into `tensors`."""
    if isinstance(part, Tensor):
        if name in tensors:
            raise TraceInputError(f"trace: two inputs are called {name!r}")
        tensors[name] = part
        return _Place(name)
    if part is None:
        return None
    if isinstance(part, Mapping):
        return {key: _placed(value, f"{name}.{key}", tensors) for key, value in part.items()}
    if isinstance(part, (tuple, list)):
        entries = [_placed(value, f"{name}.{number}", tensors) for number, value in enumerate(part)]
        return type(part)(*entries) if hasattr(part, "_fields") else type(part)(entries)
    remedy = "convert it with pl.from_numpy" if isinstance(part, np.ndarray) else "bind other arguments with functools.partial"
    raise TraceInputError(f"trace: input {name!r} must be a tensor, came {type(part).__name__}; {remedy}")


def _filled(part: Any, tensors: Mapping[str, Any]) -> Any:
    if isinstance(part, _Place):
        return tensors[part.name]
    if isinstance(part, dict):
        return {key: _filled(value, tensors) for key, value in part.items()}
    if isinstance(part, (tuple, list)):
        entries = [_filled(value, tensors) for value in part]
        return type(part)(*entries) if hasattr(part, "_fields") else type(part)(entries)
    return part
