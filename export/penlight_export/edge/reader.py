# SPDX-License-Identifier: Apache-2.0
"""Reads .pen files in Python, for summaries, comparison of layers, and tests. The runtime verifies the bytes first."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import penlight_runtime
from penlight_export.edge.generated import pen_generated as pen
from penlight_export.edge.writer import HEADER_BYTES
from penlight_export.errors import MissingFileError
from penlight_export.pieces import Pieces
from penlight_runtime.dtypes import numpy_dtype

_NAMES = {code: name for name, code in vars(pen.DType).items() if not name.startswith("_")}
_NUMPY = {"f32": "float32", "f16": "float16", "f64": "float64", "boolean": "bool"}


@dataclass(frozen=True)
class PenValue:
    """A value of a method: sizes are numbers, expressions of symbols, or "?"; None when not even the rank is known."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None
    constant_bytes: int | None


@dataclass(frozen=True)
class PenNode:
    """A node; inputs and outputs are indices into the method's values, -1 where one is left out."""

    name: str
    operator: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    module_path: str
    source: str


@dataclass(frozen=True)
class PenMethod:
    """One method of a program."""

    name: str
    values: tuple[PenValue, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    nodes: tuple[PenNode, ...]
    states: tuple[penlight_runtime.TensorInfo, ...] = ()


@dataclass(frozen=True)
class PenResources:
    """The statement of what one run of a method, by its number, costs at these sizes."""

    sizes: dict[str, int]
    arena_bytes: int
    weight_bytes: int
    macs: int
    node_macs: tuple[int, ...]
    method: int = 0


@dataclass(frozen=True)
class PenFile:
    """The content of a .pen file without its constants."""

    program: penlight_runtime.Program
    tables: pen.ProgramT
    content: bytes | Pieces  # Pieces before it is written

    @cached_property
    def methods(self) -> tuple[PenMethod, ...]:
        """What the program can do."""
        symbols = self._symbols()
        return tuple(_method(method, self.tables, symbols) for method in self.tables.methods or [])

    @cached_property
    def resources(self) -> tuple[PenResources, ...]:
        """What runs cost."""
        symbols = self._symbols()
        return tuple(_resources(entry, symbols) for entry in self.tables.resources or [])

    def body(self, number: int) -> PenMethod:
        """One of the program's bodies: what a node such as If runs."""
        bodies = self.tables.bodies or []  # the runtime has checked that the number is one of them
        return _method(bodies[number], self.tables, self._symbols())

    def _symbols(self) -> list[str]:
        return [text(symbol.name) for symbol in self.tables.symbols or []]

    @property
    def data(self) -> bytes:
        """The file's bytes; of one that is not written yet, a copy."""
        return self.content if isinstance(self.content, bytes) else self.content.join()

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.size_bytes

    @property
    def pieces(self) -> Pieces:
        """The file's bytes without a copy."""
        return Pieces([self.content]) if isinstance(self.content, bytes) else self.content


def read_pen(source: str | os.PathLike[str] | bytes) -> PenFile:
    """Loads a program into the runtime, which verifies every offset, and only then reads its tables.

    Raises:
        MissingFileError: there is no such file.
        penlight_runtime.RuntimeFailure: the bytes are no valid program.
    """
    data = source if isinstance(source, bytes) else _read(Path(source))
    program = penlight_runtime.Program(data, check_segments=True)
    return PenFile(program, pen.ProgramT.InitFromObj(pen.Program.GetRootAs(data[: _metadata_bytes(data)])), data)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read: {error.strerror or error}; check the path") from error


def _metadata_bytes(data: bytes) -> int:
    assert struct.unpack_from("<I", data, 8)[0] == HEADER_BYTES  # the runtime has checked it
    return int(struct.unpack_from("<Q", data, 16)[0])


def _method(method: pen.MethodT, tables: pen.ProgramT, symbols: list[str]) -> PenMethod:
    operators = [f"{text(o.domain)}.{text(o.name)}" if o.domain else text(o.name) for o in tables.operators or []]
    return PenMethod(
        text(method.name),
        tuple(_value(value, symbols) for value in method.values or []),
        indices(method.inputs),
        indices(method.outputs),
        tuple(
            PenNode(
                text(node.name),
                operators[node.operator],
                indices(node.inputs),
                indices(node.outputs),
                text(node.modulePath),
                text(node.source),
            )
            for node in method.nodes or []
        ),
        tuple(_state((tables.states or [])[index]) for index in indices(method.states)),
    )


def _state(state: pen.StateT) -> penlight_runtime.TensorInfo:
    return penlight_runtime.TensorInfo(text(state.name), numpy_dtype(state.dtype), indices(state.shape))


def _value(value: pen.ValueT, symbols: list[str]) -> PenValue:
    shape = None if value.shape is None else tuple(_dim(dim, symbols) for dim in value.shape)
    name = _NAMES[value.dtype]
    return PenValue(text(value.name), _NUMPY.get(name, name), shape, None if value.constant is None else value.constant.sizeBytes)


def _dim(dim: pen.DimT, symbols: list[str]) -> int | str:
    if dim.unknown:
        return "?"
    if not dim.terms:
        return int(dim.constant)
    parts = [f"{term.coefficient}*{symbols[term.symbol]}" if term.coefficient != 1 else symbols[term.symbol] for term in dim.terms]
    return " + ".join(parts + ([str(dim.constant)] if dim.constant else []))


def _resources(entry: pen.ResourcesT, symbols: list[str]) -> PenResources:
    sizes = {symbols[binding.symbol]: int(binding.size) for binding in entry.bindings or []}
    return PenResources(sizes, entry.arenaBytes, entry.weightBytes, entry.macs, indices(entry.nodeMacs), entry.method)


def indices(values: Iterable[int] | None) -> tuple[int, ...]:
    """A vector of the tables, which may be left out."""
    return () if values is None else tuple(map(int, values))


def text(value: bytes | str | None) -> str:
    """A text of the tables, which may be bytes or left out."""
    return "" if value is None else value.decode("utf-8", "replace") if isinstance(value, bytes) else value
