# SPDX-License-Identifier: Apache-2.0
"""Compiles the `.cu` files through CuPy and NVRTC when a kernel is first used, and launches them."""

from __future__ import annotations

import threading
from typing import Any

from penlight.backends.cuda import source
from penlight.backends.cuda.launch import Grid

# Fast division and square root stay off, so that results agree with the CPU's to the last bits. CuPy itself adds -ftz=true:
# denormal floats count as zero on the GPU.
_OPTIONS = ("--std=c++17",)


class Loader:
    """Compiled kernels of one process; CuPy keeps the machine code on disk between processes."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        # The last part of a key is the device: a module belongs to the context it was loaded in.
        self._modules: dict[tuple[str, str, str, int], Any] = {}
        self._functions: dict[tuple[str, str, int], Any] = {}
        self._lock = threading.Lock()

    def launch(self, kernel: source.Kernel, dtype: str, grid: Grid, *values: Any) -> None:
        """Queues a kernel on the current stream.

        Args:
            kernel: from `source.kernels(family)`.
            dtype: NumPy name of the element type.
            grid: launch sizes; an empty one launches nothing.
            values: one for each of the kernel's parameters: arrays (contiguous) or None for pointers, numbers for the rest.
        """
        if grid.is_empty:
            return
        packed = tuple(parameter.pack(value) for parameter, value in zip(kernel.parameters, values, strict=True))
        self._function(kernel, dtype)(grid.blocks, grid.threads, packed)

    def compile(self, kernel: source.Kernel, dtype: str) -> None:
        """Compiles a kernel, and those that come with it, without a launch."""
        self._function(kernel, dtype)

    def pointer(self, array: Any) -> int:
        """The device address of an array."""
        return array.data.ptr

    def _function(self, kernel: source.Kernel, dtype: str) -> Any:
        device = int(self._cupy.cuda.runtime.getDevice())
        key = (kernel.symbol, dtype, device)
        function = self._functions.get(key)
        if function is None:
            function = self._module(kernel, dtype, device).get_function(kernel.expression(dtype))
            self._functions[key] = function
        return function

    def _module(self, kernel: source.Kernel, dtype: str, device: int) -> Any:
        """All plain kernels of a family for one element type, or all of its kernels with one expression of a list."""
        key = (kernel.family, dtype, kernel.operation, device)
        with self._lock:
            module = self._modules.get(key)
            if module is None:
                together = [other for other, of in source.instances(kernel.family) if (of, other.operation) == key[1:3]]
                names = tuple(other.expression(dtype) for other in together)
                options = (*_OPTIONS, f"-I{source.FOLDER}", f"-DPENLIGHT_HEADERS=0x{source.headers_digest()}")
                module = self._cupy.RawModule(code=source.text(kernel.family), options=options, name_expressions=names)
                self._modules[key] = module
            return module
