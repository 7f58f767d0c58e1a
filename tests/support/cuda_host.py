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

_ORDER = 'extern "C" void set_reversed(int reversed) { shim::is_reversed = reversed != 0; }'


class DeviceArray(np.ndarray):
    """NumPy's array with the methods that CuPy has for copies from and to the host."""

    def set(self, values: np.ndarray) -> None:
        self[...] = values

    def get(self) -> np.ndarray:
        return np.array(self)


class Arrays:
    """NumPy whose new arrays are like CuPy's."""

    def __getattr__(self, name: str) -> object:
        return getattr(np, name)

    def empty(self, shape: object, dtype: object) -> DeviceArray:
        return np.empty(shape, dtype).view(DeviceArray)  # type: ignore[call-overload]  # what NumPy takes


class Library:
    """Kernels compiled for the CPU, when the first of those that are compiled together is asked for."""

    def __init__(self, folder: Path, compiler: str) -> None:
        self._folder = folder
        self._compiler = compiler
        self._built: dict[tuple[str, str, str], ctypes.CDLL] = {}

    def kernels(self, kernel: source.Kernel, dtype: str) -> ctypes.CDLL:
        """All kernels of a family for one element type, and for one number where they are templates over a number."""
        key = (kernel.family, dtype, _number(kernel))
        if key not in self._built:
            self._built[key] = self._build(*key)
        return self._built[key]

    def _build(self, family: str, dtype: str, number: str) -> ctypes.CDLL:
        path, library = (self._folder / f"{family}_{dtype}_{number}.{suffix}" for suffix in ("cpp", "so"))
        instances = [(kernel, of) for kernel, of in source.instances(family) if (of, _number(kernel)) == (dtype, number)]
        entries = [_entry(kernel, of) for kernel, of in instances]
        path.write_text("\n".join([f'#include "{family}.cu"', *entries, _ORDER]) + "\n", encoding="ascii")
        # -O1 takes three times as long where a family has dozens of small instances.
        options = self._options("-O0" if len(entries) > 40 else "-O1")
        self._run([*options, f"-I{source.FOLDER}", f"-I{SUPPORT}", "-shared", str(path), "-o", str(library)])
        return ctypes.CDLL(str(library))

    def _options(self, level: str) -> list[str]:
        """The compiler's, with the shim read once for all families: its standard headers take most of a compilation."""
        folder = self._folder / level[1:]
        options = ["-std=c++17", level, "-Wall", "-Wno-unknown-pragmas", "-Werror", "-fPIC", "-DPENLIGHT_HOST_SHIM"]
        if not folder.exists():
            folder.mkdir()
            self._run([*options, "-w", "-x", "c++-header", str(SUPPORT / "host_shim.h"), "-o", str(folder / "host_shim.h.gch")])
        return [*options, "-include", str(folder / "host_shim.h")]  # an -I would not do: only the first include may be precompiled

    def _run(self, command: list[str]) -> None:
        subprocess.run([self._compiler, *command], check=True, timeout=900)


def _number(kernel: source.Kernel) -> str:
    return kernel.operation if kernel.operation.isdigit() else ""


def _entry(kernel: source.Kernel, dtype: str) -> str:
    types = [part.rsplit(" ", 1)[0] for part in kernel.declaration.split(", ")]
    values = ", ".join(f"*static_cast<{kind}{' const' if kind.endswith('*') else ''}*>(a[{i}])" for i, kind in enumerate(types))
    return (
        f'extern "C" int {kernel.symbol}_{dtype}(const unsigned* grid, void** a) {{\n'
        f"  using {kernel.template} [[maybe_unused]] = {source.TYPES[dtype]};\n"
        f"  return shim::run(grid, [a] {{ {kernel.expression(dtype)}({values}); }});\n}}"
    )


class HostLauncher:
    """Stands in for `loader.Loader`; remembers which kernels ran.

    Attributes:
        launched: the names of the kernels that ran.
        is_reversed: threads run in the other order, and copies in the background land early instead of late.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self.launched: list[str] = []
        self.is_reversed = False

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
        library = self._library.kernels(kernel, dtype)
        library.set_reversed(self.is_reversed)
        status = getattr(library, f"{kernel.symbol}_{dtype}")(sizes, addresses)
        assert status == 0, f"{kernel.name}: threads wait for each other for ever with {grid}"

    def _pack(self, kernel: source.Kernel, parameter: source.Parameter, value: object) -> object:
        packed = parameter.pack(value)
        if parameter.kind == "pointer" and isinstance(packed, np.ndarray):
            assert packed.flags.c_contiguous or kernel.is_strided, parameter.name
            assert packed.flags.writeable or not parameter.written, parameter.name
            return np.uint64(packed.ctypes.data)
        return packed
