# SPDX-License-Identifier: Apache-2.0
"""Runs the kernels of penlight/backends/cuda on the CPU, with NumPy arrays: the same launcher interface, the same sources.

What this checks is everything but the GPU itself: the kernels' mathematics, barriers and indices, launch sizes, and arguments.
"""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np

from penlight.backends.cuda import source
from penlight.backends.cuda.launch import Grid

SUPPORT = Path(__file__).parent


def build(folder: Path, compiler: str) -> ctypes.CDLL:
    """Compiles all kernels for all element types into one shared library."""
    path = folder / "kernels.cpp"
    lines = [f'#include "{family}.cu"' for family in source.families()]
    for family in source.families():
        for kernel in source.kernels(family).values():
            lines += [_entry(kernel, dtype) for dtype in source.ELEMENTS]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    library = folder / "kernels.so"
    command = [
        compiler,
        "-std=c++17",
        "-O1",
        "-Wall",
        "-Wno-unknown-pragmas",
        "-Werror",
        "-shared",
        "-fPIC",
        "-DPENLIGHT_HOST_SHIM",
    ]
    subprocess.run([*command, f"-I{source.FOLDER}", f"-I{SUPPORT}", str(path), "-o", str(library)], check=True, timeout=300)
    return ctypes.CDLL(str(library))


def _entry(kernel: source.Kernel, dtype: str) -> str:
    types = [part.rsplit(" ", 1)[0] for part in kernel.declaration.split(", ")]
    values = ", ".join(f"*static_cast<{kind}{' const' if kind.endswith('*') else ''}*>(a[{i}])" for i, kind in enumerate(types))
    return (
        f'extern "C" int {kernel.name}_{dtype}(const unsigned* grid, void** a) {{\n'
        f"  using T = {source.ELEMENTS[dtype]};\n"
        f"  return shim::run(grid, [a] {{ {kernel.name}<T>({values}); }});\n}}"
    )


class HostLauncher:
    """Stands in for `loader.Loader`; remembers which kernels ran."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.launched: list[str] = []

    def pointer(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def launch(self, kernel: source.Kernel, dtype: str, grid: Grid, *values: object) -> None:
        if grid.is_empty:
            return
        self.launched.append(kernel.name)
        packed = [np.array(self._pack(parameter, value)) for parameter, value in zip(kernel.parameters, values, strict=True)]
        addresses = (ctypes.c_void_p * len(packed))(*(word.ctypes.data for word in packed))
        sizes = (ctypes.c_uint * 6)(*grid.blocks, *grid.threads)
        status = getattr(self._library, f"{kernel.name}_{dtype}")(sizes, addresses)
        assert status == 0, f"{kernel.name}: threads wait for each other for ever with {grid}"

    def _pack(self, parameter: source.Parameter, value: object) -> object:
        packed = parameter.pack(value)
        if isinstance(packed, np.ndarray):
            assert packed.flags.c_contiguous, parameter.name
            assert packed.flags.writeable or not parameter.written, parameter.name
            return np.uint64(packed.ctypes.data)
        return packed
