# SPDX-License-Identifier: Apache-2.0
"""The graph of a model file as plain facts: what a page draws and what another viewer reads, the same for .onnx and .pen."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from penlight_export.errors import OptionError

Shape = tuple[int | str, ...]
_LONGEST_TEXT = 200  # of an attribute


@dataclass
class GraphValue:
    """A tensor: sizes that vary are names. `read` gives the numbers of a constant."""

    name: str
    dtype: str
    shape: Shape | None
    read: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    size_bytes: int | None = None

    @property
    def is_constant(self) -> bool:
        """The numbers are in the file."""
        return self.read is not None


@dataclass
class GraphNode:
    """An operator's use; inputs and outputs are indices into the values, -1 where one is left out."""

    name: str
    operator: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    module: tuple[str, ...] = ()
    source: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    macs: int | None = None


@dataclass
class Body:
    """What a node such as If or Loop runs, on values of the same list.

    Attributes:
        owner: the node that runs it: an index into the structure's nodes with those of all bodies in front of this one behind them.
        reads: values of the body, each with the value around it that it is at first.
    """

    name: str
    nodes: list[GraphNode]
    outputs: list[int]
    reads: list[tuple[int, int]] = field(default_factory=list)
    owner: int = -1


@dataclass
class Structure:
    """Nodes in the order of computation, and all values; those of bodies stand behind."""

    format: str
    values: list[GraphValue]
    nodes: list[GraphNode]
    inputs: list[int]
    outputs: list[int]
    bodies: list[Body] = field(default_factory=list)


def collect_bodies(nodes: Sequence[Any], bodies_of: Callable[[Any], Iterable[tuple[Body, Sequence[Any]]]]) -> list[Body]:
    """All bodies, those inside of bodies too; `bodies_of` a node of a file gives each with its nodes in that file."""
    found: list[Body] = []
    places = list(enumerate(nodes))
    for owner, node in places:  # grows meanwhile
        for body, inner in bodies_of(node):
            body.owner = owner
            found.append(body)
            places.extend(enumerate(inner, len(places)))
    return found


def read_structure(path: str | os.PathLike[str]) -> Structure:
    """Reads the main graph of an .onnx file or the first method of a .pen file.

    Raises:
        OptionError: another suffix.
        ExportError, penlight_runtime.RuntimeFailure: the file is not valid.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".pen":
        from penlight_export.edge.reader import read_pen  # here: neither format needs the other's packages
        from penlight_export.structure_pen import pen_structure

        return pen_structure(read_pen(path))
    if suffix == ".onnx":
        from penlight_export.onnx.importer import load_onnx
        from penlight_export.structure_onnx import onnx_structure

        return onnx_structure(load_onnx(path))
    raise OptionError(f"{os.fspath(path)}: expected an .onnx or .pen file, came suffix '{suffix}'")


def module_of(path: str, name: str) -> tuple[str, ...]:
    """The modules around a node, outermost first: of its module path, or as other exporters write it, in its name with slashes."""
    if path:
        return tuple(path.split("."))
    return tuple(part for part in name.split("/")[:-1] if part)


def shorten(value: object) -> str:
    """An attribute as text of bounded length."""
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."


def bytes_of(dtype: np.dtype, shape: Shape | None) -> int | None:
    """Bytes of a tensor whose sizes are all known."""
    if shape is None or not all(isinstance(size, int) for size in shape):
        return None
    return int(np.prod(np.array(shape, dtype=object), dtype=object)) * dtype.itemsize
