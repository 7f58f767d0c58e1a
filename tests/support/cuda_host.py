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


class Library:
    """Kernels compiled for the CPU, those of a family and an element type when the first of them is asked for."""

    def __init__(self, folder: Path, compiler: str) -> None:
        self._folder = folder
        self._compiler = compiler
        self._built: dict[tuple[str, str], ctypes.CDLL] = {}

    def kernels(self, family: str, dtype: str) -> ctypes.CDLL:
        """All kernels of a family for one element type in one shared library."""
        if (family, dtype) not in self._built:
            self._built[family, dtype] = self._build(family, dtype)
        return self._built[family, dtype]

    def _build(self, family: str, dtype: str) -> ctypes.CDLL:
        path, library = (self._folder / f"{family}_{dtype}.{suffix}" for suffix in ("cpp", "so"))
        entries = [_entry(kernel, of) for kernel, of in source.instances(family) if of == dtype]
        path.write_text("\n".join([f'#include "{family}.cu"', *entries]) + "\n", encoding="ascii")
        # -O1 takes three times as long where a family has dozens of small instances.
        level = "-O0" if len(entries) > 40 else "-O1"
        options = ["-std=c++17", level, "-Wall", "-Wno-unknown-pragmas", "-Werror", "-shared", "-fPIC", "-DPENLIGHT_HOST_SHIM"]
        command = [self._compiler, *options, f"-I{source.FOLDER}", f"-I{SUPPORT}", str(path), "-o", str(library)]
        subprocess.run(command, check=True, timeout=300)
        return ctypes.CDLL(str(library))


def _entry(kernel: source.Kernel, dtype: str) -> str:
    types = [part.rsplit(" ", 1)[0] for part in kernel.declaration.split(", ")]
    values = ", ".join(f"*static_cast<{kind}{' const' if kind.endswith('*') else ''}*>(a[{i}])" for i, kind in enumerate(types))
    return (
        f'extern "C" int {kernel.symbol}_{dtype}(const unsigned* grid, void** a) {{\n'
        f"  using {kernel.template} = {source.TYPES[dtype]};\n"
        f"  return shim::run(grid, [a] {{ {kernel.expression(dtype)}({values}); }});\n}}"
    )


class HostLauncher:
    """Stands in for `loader.Loader`; remembers which kernels ran."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self.launched: list[str] = []

    def pointer(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def launch(self, kernel: source.Kernel, dtype: str, grid: Grid, *values: object) -> None:
        if grid.is_empty:
            return
        assert dtype in kernel.dtypes, (kernel.name, dtype)
        self.launched.append(kernel.symbol)
        pairs = zip(kernel.parameters, values, strict=True)
        packed = [np.array(self._pack(kernel, parameter, value)) for parameter, value in pairs]
        addresses = (ctypes.c_void_p * len(packed))(*(word.ctypes.data for word in packed))
        sizes = (ctypes.c_uint * 6)(*grid.blocks, *grid.threads)
        status = getattr(self._library.kernels(kernel.family, dtype), f"{kernel.symbol}_{dtype}")(sizes, addresses)
        assert status == 0, f"{kernel.name}: threads wait for each other for ever with {grid}"

    def _pack(self, kernel: source.Kernel, parameter: source.Parameter, value: object) -> object:
        packed = parameter.pack(value)
        if parameter.kind == "pointer" and isinstance(packed, np.ndarray):
            assert packed.flags.c_contiguous or kernel.is_strided, parameter.name
            assert packed.flags.writeable or not parameter.written, parameter.name
            return np.uint64(packed.ctypes.data)
        return packed
