# SPDX-License-Identifier: Apache-2.0
"""What is in a model file: operators, interface, parameters, cost, and a tree by module."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from penlight_export.edge.reader import PenFile, PenMethod, read_pen
from penlight_export.engines import Port, dtype_text
from penlight_export.errors import OptionError


@dataclass(frozen=True)
class TreeRow:
    """One line of the tree: a module (no operator) or a node of it."""

    depth: int
    name: str
    operator: str
    shape: str
    parameters: int
    macs: int | None


@dataclass
class ModelSummary:
    """A model at a glance.

    Attributes:
        format: "onnx" or "pen".
        file_bytes, weight_bytes: of the file and of its constants.
        parameters: number of elements of all constants that are not small shape data.
        operators: how often each occurs, most frequent first.
        inputs, outputs: name, dtype and shape; sizes that vary are names.
        macs, arena_bytes: of one run at `sizes`, as the file states them; None where it does not.
        tree: modules and nodes.
        metadata: provenance.
        method, methods: of a .pen file: which method all this is of, and the names of all.
        states: tensors that the method keeps from run to run.
    """

    path: str
    format: str
    file_bytes: int
    weight_bytes: int
    parameters: int
    operators: dict[str, int]
    inputs: list[Port]
    outputs: list[Port]
    macs: int | None = None
    arena_bytes: int | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    tree: list[TreeRow] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    method: str = ""
    methods: list[str] = field(default_factory=list)
    states: list[Port] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        result = asdict(self)
        for name in ("inputs", "outputs", "states"):
            result[name] = [{"name": p.name, "dtype": dtype_text(p.dtype), "shape": list(p.shape)} for p in getattr(self, name)]
        return result

    def to_text(self) -> str:
        """A few lines and the tree."""
        sizes = " ".join(f"{name}={size}" for name, size in self.sizes.items())
        at = f" at {sizes}" if sizes else ""
        lines = [
            f"{self.path}: {self.format}, {self.file_bytes:,} bytes, {self.parameters:,} parameters ({self.weight_bytes:,} bytes)"
        ]
        if len(self.methods) > 1:
            lines.append(f"method  {self.method}, one of {', '.join(self.methods)}")
        lines += [f"{kind}  {p.name}  {dtype_text(p.dtype)} {_shape_text(p.shape)}" for kind, ports in self._ports() for p in ports]
        lines.append("operators  " + ", ".join(f"{name} x{count}" for name, count in self.operators.items()))
        if self.macs is not None:
            lines.append(f"one run{at}  {self.macs:,} MACs, arena {self.arena_bytes or 0:,} bytes")
        return "\n".join([*lines, *(_tree_line(row) for row in self.tree)])

    def _ports(self) -> list[tuple[str, list[Port]]]:
        return [("input", self.inputs), ("output", self.outputs), ("state", self.states)]


def summarize(path: str | os.PathLike[str], method: str | None = None) -> ModelSummary:
    """Reads what a model file holds.

    Args:
        path: an .onnx or .pen file.
        method: which one of a .pen file; its first by default.

    Raises:
        OptionError: another suffix, or the file has no such method.
        ExportError, penlight_runtime.RuntimeFailure: the file is not valid.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".pen":
        return summarize_pen(read_pen(path), os.fspath(path), method)
    if suffix == ".onnx":
        from penlight_export.summary_onnx import summarize_onnx  # here: a .pen file needs no ONNX packages

        return summarize_onnx(path)
    raise OptionError(f"{os.fspath(path)}: expected an .onnx or .pen file, came suffix '{suffix}'")


def summarize_pen(file: PenFile, path: str, name: str | None = None) -> ModelSummary:
    """The summary of a method of a program, by default of its first."""
    number = method_number(file, path, name)
    method = file.methods[number]
    constants = [value for value in method.values if value.constant_bytes is not None]
    resources = next((statement for statement in file.resources if statement.method == number), None)
    node_macs = resources.node_macs if resources and len(resources.node_macs) == len(method.nodes) else ()
    inputs, outputs = file.program.inputs(method.name), file.program.outputs(method.name)
    return ModelSummary(
        path,
        "pen",
        file.size_bytes,
        sum(value.constant_bytes or 0 for value in constants),
        sum(_count(value.shape) for value in constants if value.dtype.startswith(("f", "bf"))),
        count_operators(node.operator for node in method.nodes),
        [Port(*info) for info in inputs],
        [Port(*info) for info in outputs],
        None if resources is None else resources.macs,
        None if resources is None else resources.arena_bytes,
        {} if resources is None else resources.sizes,
        build_tree(_pen_entries(method, node_macs)),
        file.program.metadata,
        method.name,
        [each.name for each in file.methods],
        [Port(*info) for info in method.states],
    )


def method_number(file: PenFile, path: str, name: str | None) -> int:
    """The place of a method in a file; the first one when no name is given."""
    names = [method.name for method in file.methods]
    if name is not None and name not in names:
        raise OptionError(f"{path}: there is no method {name!r}; the file has {', '.join(names)}")
    return 0 if name is None else names.index(name)


def _pen_entries(method: PenMethod, node_macs: Sequence[int]) -> list[tuple[str, TreeRow]]:
    entries = []
    for number, node in enumerate(method.nodes):
        shape = next((method.values[k].shape for k in node.outputs if k >= 0), None)
        values = [method.values[k] for k in node.inputs if k >= 0]
        parameters = sum(_count(v.shape) for v in values if v.constant_bytes is not None and v.dtype.startswith(("f", "bf")))
        macs = node_macs[number] if node_macs else None
        entries.append((node.module_path, TreeRow(0, node.name, node.operator, _shape_text(shape), parameters, macs)))
    return entries


def count_operators(names: Iterable[str]) -> dict[str, int]:
    """How often each occurs: most frequent first, then by name."""
    counts = Counter(names)
    return {name: counts[name] for name in sorted(counts, key=lambda name: (-counts[name], name))}


def build_tree(entries: Iterable[tuple[str, TreeRow]]) -> list[TreeRow]:
    """Puts nodes below the modules of their paths, in the order of computation; a module that is entered again appears again."""
    rows: list[TreeRow] = []
    current: list[str] = []
    for path, row in entries:
        parts = path.split(".") if path else []
        shared = 0
        while shared < min(len(parts), len(current)) and parts[shared] == current[shared]:
            shared += 1
        rows += [TreeRow(depth, parts[depth], "", "", 0, None) for depth in range(shared, len(parts))]
        current = parts
        rows.append(TreeRow(len(parts), row.name, row.operator, row.shape, row.parameters, row.macs))
    return rows


def _count(shape: Sequence[int | str] | None) -> int:
    total = 1
    for size in shape or ():
        total *= size if isinstance(size, int) else 0
    return total


def _shape_text(shape: Sequence[int | str] | None) -> str:
    return "?" if shape is None else "[" + ", ".join(str(size) for size in shape) + "]"


def _tree_line(row: TreeRow) -> str:
    indent = "  " * row.depth
    if not row.operator:
        return f"{indent}{row.name}"
    cost = "" if row.macs is None else f"  {row.macs:,} MACs"
    parameters = f"  {row.parameters:,} parameters" if row.parameters else ""
    return f"{indent}{row.operator} {row.shape}{parameters}{cost}"
