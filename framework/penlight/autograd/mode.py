# SPDX-License-Identifier: Apache-2.0
"""Whether calls are written to the tape: `no_grad`, `enable_grad`, `set_grad_enabled`, `inference_mode`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from penlight.tape import mode


class _GradMode:
    """Base of the context managers, which also decorate functions and generators."""

    _enabled = True

    def __enter__(self) -> None:
        self._before = mode.enabled
        mode.enabled = self._enabled and not mode.inference

    def __exit__(self, *_: Any) -> None:
        mode.enabled = self._before

    def _again(self) -> _GradMode:
        """A manager of the same kind for another call, since calls may nest."""
        return type(self)()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function):
            return self._generator(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return wrapped

    def _generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Iterator[Any]:
            generator, answer = function(*args, **kwargs), None
            try:
                while True:
                    with self._again():  # the caller has its own mode between two steps
                        value = generator.send(answer)
                    answer = yield value
            except StopIteration as stop:
                return stop.value
            finally:
                generator.close()

        return wrapped


class no_grad(_GradMode):
    """Within it (or a function decorated with it) no tape is written."""

    _enabled = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        return self if function is None else self(function)


class enable_grad(_GradMode):
    """Within it the tape is written again, inside a `no_grad`; not inside an `inference_mode`."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        return self if function is None else self(function)


class set_grad_enabled(_GradMode):
    """Switches the tape on or off from here on, as `mode` says; as a context manager or decorator only within it."""

    def __init__(self, mode: bool) -> None:
        self._enabled = bool(mode)
        super().__enter__()

    def __enter__(self) -> None:
        """The mode is set since the manager was made."""

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        self.__exit__()  # a decorator sets it for the calls alone
        return super().__call__(function)

    def _again(self) -> _GradMode:
        return set_grad_enabled(self._enabled)


class inference_mode(_GradMode):
    """Within it no tape is written, and `enable_grad` does not bring it back; the mode for models in use.

    Tensors made within are ordinary tensors without a gradient: unlike PyTorch's they may be used in training later.

    Args:
        mode: with False the tape is written within, also inside another `inference_mode`.
    """

    def __new__(cls, mode: bool | Callable[..., Any] = True) -> Any:
        self = super().__new__(cls)
        if callable(mode):
            self._enabled = False
            return self(mode)
        return self

    def __init__(self, mode: bool = True) -> None:
        self._enabled = not mode

    def __enter__(self) -> None:
        self._inference = mode.inference
        mode.inference = not self._enabled
        super().__enter__()

    def __exit__(self, *_: Any) -> None:
        super().__exit__()
        mode.inference = self._inference

    def _again(self) -> _GradMode:
        return inference_mode(not self._enabled)


def is_grad_enabled() -> bool:
    """Whether calls are written to the tape in this thread."""
    return mode.enabled


def is_inference_mode_enabled() -> bool:
    """Whether this thread is within `inference_mode`."""
    return mode.inference
