# SPDX-License-Identifier: Apache-2.0
"""What the `.cu` files next to this one declare: the one place where a kernel's name and arguments are written."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent

# Element types of the templates, by NumPy dtype name.
ELEMENTS = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16"}
TYPES = {**ELEMENTS, "int64": "int64", "int32": "int", "bool": "bool"}

_SCALARS = {"size_t": np.uint64, "int64": np.int64, "int": np.int32, "float": np.float32}
# The name of the template's parameter says which element types a kernel is for.
_TEMPLATES = {
    "T": tuple(ELEMENTS),
    "Real": ("float32",),
    "Half": ("float16", "bfloat16"),
    "Number": (*ELEMENTS, "int64", "int32"),
    "Any": tuple(TYPES),
}
# A second parameter F stands for each expression of a list, a number for those that the comment behind it lists.
_KERNEL = re.compile(
    r"template <typename (T|Real|Half|Number|Any)(?:(, typename F)>|, int \w+>\s*// (\d+(?:, \d+)*)|>)\s*"
    r"__global__ void\s+(?:__launch_bounds__\([\w, ]+\)\s+)?(\w+)\(([^)]*)\)\s*\{"
)
_LIST = re.compile(r"#define PENLIGHT_(\w+)\(X\)((?:.*\\\n)*.*)")

# The struct Layout of common.cuh: operand 0 is the output.
MAX_DIMS, OPERANDS = 6, 4
LAYOUT = np.dtype(
    [
        ("dims", np.int32),
        ("packed", np.int32),
        ("inner", np.int64, (OPERANDS,)),
        ("sizes", np.int64, (MAX_DIMS,)),
        ("strides", np.int64, (OPERANDS, MAX_DIMS)),
    ]
)

# The struct Entries of optimizer.cu.
ENTRIES_COUNT = 64
ENTRIES = np.dtype([("counts", np.int64, (ENTRIES_COUNT,)), ("arrays", np.uint64, (ENTRIES_COUNT, 5))])

# The struct Window of pool.cu; pairs are (vertical, horizontal).
_PAIRS = ("size", "out", "kernel", "stride", "padding", "dilation")
WINDOW = np.dtype(
    [("channels", np.int32), ("is_last", np.int32), *((name, np.int32, (2,)) for name in _PAIRS), ("counts_padding", np.int32)]
)

STRUCTS = {"Layout": LAYOUT, "Entries": ENTRIES, "Window": WINDOW}


@dataclass(frozen=True)
class Parameter:
    """One argument of a kernel: `kind` is "pointer", a struct or the C type of a scalar; `written` marks pointers to non-const."""

    name: str
    kind: str
    written: bool = False

    def pack(self, value: object) -> object:
        """The value in the exact width that the kernel reads; arrays and None (a null pointer) for pointers."""
        if self.kind == "pointer":
            return np.uint64(0) if value is None else value
        if self.kind in STRUCTS:
            return np.asarray(value, STRUCTS[self.kind])  # a host array of size 1 travels by value
        return _SCALARS[self.kind](value)  # type: ignore[arg-type]  # a number, as the kind is no pointer


@dataclass(frozen=True)
class Kernel:
    """A `__global__` template over an element type, and maybe over an expression of the list that has the kernel's name."""

    family: str
    name: str
    parameters: tuple[Parameter, ...]
    declaration: str  # the arguments as written, for explicit instantiation
    template: str = "T"  # the template's name for the element type
    operations: tuple[str, ...] = ()
    operation: str = ""

    @property
    def dtypes(self) -> tuple[str, ...]:
        """NumPy names of the element types that there are instances for."""
        return _TEMPLATES[self.template]

    @property
    def symbol(self) -> str:
        """A name of its own among the kernels and expressions."""
        return f"{self.name}_{self.operation}" if self.operation else self.name

    @property
    def is_strided(self) -> bool:
        """Whether arrays come with a layout; without one they are contiguous."""
        return any(parameter.kind == "Layout" for parameter in self.parameters)

    def of(self, operation: str) -> Kernel:
        """The kernel with one expression of its list."""
        if operation not in self.operations:
            raise KeyError(f"{self.name}: no expression {operation}; there are {', '.join(self.operations)}")
        return replace(self, operation=operation)

    def variants(self) -> tuple[Kernel, ...]:
        """The kernel with each of its expressions; itself where it has no list."""
        return tuple(map(self.of, self.operations)) or (self,)

    def arguments(self, dtype: str) -> str:
        """The template's arguments, such as `float, operations::unary_exp` or `__half, 64`."""
        second = self.operation if self.operation.isdigit() else f"operations::{_list_of(self.name)}_{self.operation}"
        return f"{TYPES[dtype]}, {second}" if self.operation else TYPES[dtype]

    def expression(self, dtype: str) -> str:
        """The C++ name of the instance for a NumPy dtype name, such as `relu_forward<float>`."""
        return f"{self.name}<{self.arguments(dtype)}>"


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
def expressions() -> dict[str, tuple[str, ...]]:
    """The names of each list of expressions.cuh, by the list's name in lower case."""
    lists = _LIST.findall((FOLDER / "expressions.cuh").read_text(encoding="utf-8"))
    return {name.lower(): tuple(re.findall(r"X\((\w+),", body)) for name, body in lists}


@functools.cache
def kernels(family: str) -> dict[str, Kernel]:
    """The kernels that a family's file defines, by name. `reduce_rows` takes the list of `reduce`."""
    found = {}
    for template, listed, numbers, name, declaration in _KERNEL.findall(text(family)):
        declaration = " ".join(declaration.split())
        parameters = tuple(_parameter(part) for part in declaration.split(", "))
        operations = expressions()[_list_of(name)] if listed else tuple(numbers.split(", ")) if numbers else ()
        found[name] = Kernel(family, name, parameters, declaration, template, operations)
    return found


def _list_of(kernel: str) -> str:
    """The list of expressions that a kernel takes: the first word of its name."""
    return kernel.split("_")[0]


def instances(family: str) -> Iterator[tuple[Kernel, str]]:
    """(kernel, dtype) of everything that can be launched."""
    for kernel in kernels(family).values():
        for variant in kernel.variants():
            for dtype in variant.dtypes:
                yield variant, dtype


def _parameter(declaration: str) -> Parameter:
    kind, name = declaration.rsplit(" ", 1)
    if kind.endswith("*"):
        return Parameter(name, "pointer", written=not kind.startswith("const "))
    if kind not in _SCALARS.keys() | STRUCTS.keys():
        raise ValueError(f"{declaration}: a kernel argument is a pointer or one of {', '.join([*_SCALARS, *STRUCTS])}")
    return Parameter(name, kind)
