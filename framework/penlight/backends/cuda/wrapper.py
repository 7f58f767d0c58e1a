# SPDX-License-Identifier: Apache-2.0
"""What the kernels' wrappers share: which arrays they take, and binding of arguments by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from penlight.backends.cuda import source
from penlight.backends.cuda.launch import Grid

# (operator, *arrays) -> array(s), or NotImplemented; see Backend.kernels.
Wrapper = Callable[..., Any]


class Launcher(Protocol):
    """Runs kernels: `loader.Loader` on the GPU, a stand-in on the CPU in tests."""

    def launch(self, kernel: source.Kernel, dtype: str, grid: Grid, *values: Any) -> None:
        """Runs a kernel with one value for each of its parameters."""

    def pointer(self, array: Any) -> int:
        """The address of an array's first element."""


def takes(*arrays: Any) -> bool:
    """Whether these are arrays of one element type that the kernels are compiled for.

    A backward kernel may be handed a `Spec` or None for what the tape did not keep; those are declined here.
    """
    names = {str(getattr(array, "dtype", None)) for array in arrays}
    return len(names) == 1 and names <= source.ELEMENTS.keys() and all(hasattr(array, "strides") for array in arrays)


def first(*candidates: Wrapper) -> Wrapper:
    """A wrapper that asks each until one does not decline."""

    def ask(operator: Any, *arrays: Any) -> Any:
        for candidate in candidates:
            result = candidate(operator, *arrays)
            if result is not NotImplemented:
                return result
        return NotImplemented

    return ask


def launch(launcher: Launcher, kernel: source.Kernel, dtype: str, grid: Grid, values: Mapping[str, Any]) -> None:
    """Launches with values bound to the kernel's parameters by name.

    Raises:
        KeyError: a parameter has no value; our bug, found by the tests without a GPU.
    """
    launcher.launch(kernel, dtype, grid, *(values[parameter.name] for parameter in kernel.parameters))
