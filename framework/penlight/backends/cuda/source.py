# SPDX-License-Identifier: Apache-2.0
"""What the `.cu` files next to this one declare: the one place where a kernel's name and arguments are written."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent

# Element types of the templates, by NumPy dtype name.
ELEMENTS = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16"}

_SCALARS = {"size_t": np.uint64, "int64": np.int64, "int": np.int32, "float": np.float32}
_KERNEL = re.compile(r"template <typename T>\s*__global__ void (\w+)\(([^)]*)\)\s*\{")


@dataclass(frozen=True)
class Parameter:
    """One argument of a kernel: `kind` is "pointer" or the C type of a scalar; `written` marks pointers to non-const."""

    name: str
    kind: str
    written: bool = False

    def pack(self, value: object) -> object:
        """The value in the exact width that the kernel reads; arrays and None (a null pointer) for pointers."""
        if self.kind == "pointer":
            return np.uint64(0) if value is None else value
        return _SCALARS[self.kind](value)  # type: ignore[arg-type]  # a number, as the kind is no pointer


@dataclass(frozen=True)
class Kernel:
    """A `__global__` template over one element type."""

    family: str
    name: str
    parameters: tuple[Parameter, ...]
    declaration: str  # the arguments as written, for explicit instantiation

    def expression(self, dtype: str) -> str:
        """The C++ name of the instance for a NumPy dtype name, such as `relu_forward<float>`."""
        return f"{self.name}<{ELEMENTS[dtype]}>"


def families() -> tuple[str, ...]:
    """The names of all kernel files."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.cu")))


@functools.cache
def text(family: str) -> str:
    """The source of a family."""
    return (FOLDER / f"{family}.cu").read_text(encoding="utf-8")


@functools.cache
def headers_digest() -> str:
    """A hash of the headers: CuPy's cache of compiled kernels looks at the `.cu` text and the options only."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.cuh")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def kernels(family: str) -> dict[str, Kernel]:
    """The kernels that a family's file defines, by name."""
    found = {}
    for name, declaration in _KERNEL.findall(text(family)):
        declaration = " ".join(declaration.split())
        found[name] = Kernel(family, name, tuple(_parameter(part) for part in declaration.split(", ")), declaration)
    return found


def _parameter(declaration: str) -> Parameter:
    kind, name = declaration.rsplit(" ", 1)
    if kind.endswith("*"):
        return Parameter(name, "pointer", written=not kind.startswith("const "))
    if kind not in _SCALARS:
        raise ValueError(f"{declaration}: a kernel argument is a pointer or one of {', '.join(_SCALARS)}")
    return Parameter(name, kind)
