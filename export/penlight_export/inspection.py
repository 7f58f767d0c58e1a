# SPDX-License-Identifier: Apache-2.0
"""Everything that the page of `penlight inspect --html` shows of a model file, as plain values."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import penlight_runtime
from penlight_export.categories import category_of
from penlight_export.edge.reader import PenFile, read_pen
from penlight_export.errors import EngineError, OptionError
from penlight_export.histogram import describe_numbers
from penlight_export.page.document import write_page
from penlight_export.profiling import Profile, profile_model, sample_of, shapes, times_of
from penlight_export.structure import Body, GraphNode, GraphValue, Structure
from penlight_export.structure_pen import pen_structure
from penlight_export.summary import ModelSummary, method_number, summarize_pen

_SMALLEST_WEIGHT = 16  # elements; less is a shape or a scalar


def inspect_page(
    path: str | os.PathLike[str], *, profile: Profile | None = None, measure: bool = False, method: str | None = None
) -> bytes:
    """One self-contained HTML page about a model file.

    Args:
        path: an .onnx or .pen file.
        profile: measured times to show, from `penlight bench --profile`.
        measure: time every node now instead.
        method: of a .pen file with several; its first by default.

    Raises:
        OptionError: another suffix.
        ExportError, penlight_runtime.RuntimeFailure: the file is not valid.
    """
    if Path(path).suffix.lower() not in (".onnx", ".pen"):
        raise OptionError(f"{os.fspath(path)}: expected an .onnx or .pen file, came suffix '{Path(path).suffix}'")
    data = inspection(path, profile_model(path, method=method) if measure else profile, method)
    return write_page(f"{Path(path).name} - Penlight", "inspect", data)


def inspection(path: str | os.PathLike[str], profile: Profile | None = None, method: str | None = None) -> dict[str, Any]:
    """The page's data."""
    plan: dict[str, Any] | None = None
    ran: dict[str, list[int]] = {}
    if Path(path).suffix.lower() == ".pen":
        file = read_pen(path)
        number = method_number(file, os.fspath(path), method)
        structure, summary = pen_structure(file, number), summarize_pen(file, Path(path).name, method)
        plan, ran = _plan(file, file.methods[number].name, structure)
    else:
        structure, summary = _onnx(path)
    times = None if profile is None else times_of(profile, [(n.name, n.operator) for n in structure.nodes])
    return {
        "model": replace(summary, tree=[]).to_json(),
        "graph": graph_facts(structure, times),
        "plan": plan,
        "weights": _weights(structure),
        "profile": None if profile is None else {"engine": profile.engine, "runs": profile.runs, "inputs": profile.inputs},
        "sizes": ran,
    }


def _onnx(path: str | os.PathLike[str]) -> tuple[Structure, ModelSummary]:
    from penlight_export.onnx.importer import load_onnx  # here: a .pen file needs no ONNX packages
    from penlight_export.structure_onnx import onnx_structure
    from penlight_export.summary_onnx import summarize_model

    model = load_onnx(path)
    return onnx_structure(model), summarize_model(model, Path(path).name, Path(path).stat().st_size)


def graph_facts(structure: Structure, times: list[int | None] | None = None) -> dict[str, Any]:
    """Nodes and values as the page's graph takes them; the nodes of bodies stand behind the others, each body as a module."""
    owned: dict[int, list[Body]] = {}
    for body in structure.bodies:
        owned.setdefault(body.owner, []).append(body)
    nodes = [_node_facts(node, structure, None if times is None else times[k]) for k, node in enumerate(structure.nodes)]
    for body in structure.bodies:
        owner = nodes[body.owner]
        around = (*owner["module"], f"{owner['name'] or owner['operator']} {body.name}")
        inner = [_node_facts(node, structure, None) for node in body.nodes]
        nodes += [facts | {"module": (*around, *_below(facts["module"], owner["module"])), "owner": body.owner} for facts in inner]
    for number, bodies in owned.items():
        nodes[number]["results"] = [value for body in bodies for value in body.outputs]
    values = [
        {"name": v.name, "dtype": v.dtype, "shape": v.shape, "bytes": v.size_bytes, "constant": v.is_constant}
        for v in structure.values
    ]
    reads = [pair for body in structure.bodies for pair in body.reads]
    return {"nodes": nodes, "values": values, "inputs": structure.inputs, "outputs": structure.outputs, "reads": reads}


def _below(module: tuple[str, ...], outer: tuple[str, ...]) -> tuple[str, ...]:
    """The part of a module path inside of a body that the path of the node around it does not say already."""
    return module[len(outer) :] if module[: len(outer)] == outer else module


def _node_facts(node: GraphNode, structure: Structure, ns: int | None) -> dict[str, Any]:
    return {
        "name": node.name,
        "operator": node.operator,
        "category": category_of(node.operator)[0],
        "inputs": node.inputs,
        "outputs": node.outputs,
        "module": node.module,
        "source": node.source,
        "attributes": node.attributes,
        "macs": node.macs,
        "bytes": sum(structure.values[k].size_bytes or 0 for k in {*node.inputs, *node.outputs} if k >= 0),
        "ns": ns,
    }


def _plan(file: PenFile, method: str, structure: Structure) -> tuple[dict[str, Any] | None, dict[str, list[int]]]:
    """Asks the runtime for its plan at the sample's sizes; fills in what it knows of shapes and work."""
    try:
        sample = sample_of(file, method)
        session = file.program.session(method)
        session.prepare(sample)
    except (EngineError, penlight_runtime.RuntimeFailure):
        return None, {}  # a model that needs special inputs is still worth a look
    for node, cost in zip(structure.nodes, session.profile(), strict=True):
        node.macs = cost.macs
    plan = session.plan()
    for value, entry in zip(structure.values, plan.values, strict=False):  # those of bodies are planned when they run
        if entry.dtype is not None and not value.is_constant:
            value.dtype, value.size_bytes = str(entry.dtype), int(entry.dtype.itemsize)
            for size in entry.shape:
                value.size_bytes *= size
            value.shape = value.shape if _says_more(value) else entry.shape
    blocks = [[k, -1, *entry.block] for k, entry in enumerate(plan.values) if entry.block and entry.block.size_bytes]
    blocks += [[-1, k, *entry.block] for k, entry in enumerate(plan.scratch) if entry.block]
    return {"arena_bytes": session.arena_bytes, "steps": len(structure.nodes), "blocks": blocks}, shapes(sample)


def _says_more(value: GraphValue) -> bool:
    """Names of sizes tell more than numbers; a question mark does not."""
    return value.shape is not None and "?" not in value.shape


def _weights(structure: Structure) -> dict[int, Any]:
    return {
        k: describe_numbers(value.read())
        for k, value in enumerate(structure.values)
        if value.read is not None and _is_weight(value)
    }


def _is_weight(value: GraphValue) -> bool:
    size = 1
    for dim in value.shape or ():
        size *= int(dim)
    return size >= _SMALLEST_WEIGHT and not value.dtype.startswith(("int64", "bool", "?"))
