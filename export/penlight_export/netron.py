# SPDX-License-Identifier: Apache-2.0
"""A model's graph as the JSON that Netron opens (extension .netron); weights are named, not copied.

Netron's reader is its source/message.js, https://github.com/lutzroeder/netron.
"""

from __future__ import annotations

import json
import os
from typing import Any

from penlight_export.categories import category_of
from penlight_export.structure import GraphNode, GraphValue, Structure, read_structure


def netron_json(path: str | os.PathLike[str]) -> bytes:
    """The content of a .netron file about an .onnx or .pen file.

    Raises:
        OptionError: another suffix.
        ExportError, penlight_runtime.RuntimeFailure: the file is not valid.
    """
    structure = read_structure(path)
    # The signature must come first: Netron looks for it in the first bytes.
    facts = {
        "signature": "netron:penlight",
        "format": f"Penlight {structure.format}",
        "producer": "penlight",
        "modules": [_module(structure)],
    }
    return json.dumps(facts, separators=(",", ":")).encode("ascii")


def _module(structure: Structure) -> dict[str, Any]:
    return {
        "inputs": [{"name": structure.values[k].name, "value": [k]} for k in structure.inputs],
        "outputs": [{"name": structure.values[k].name, "value": [k]} for k in structure.outputs],
        "values": [_value(value) for value in structure.values],
        "nodes": [_node(node) for node in structure.nodes],
    }


def _value(value: GraphValue) -> dict[str, Any]:
    kind = {"dataType": value.dtype, "shape": {"dimensions": ["?"] if value.shape is None else list(value.shape)}}
    return {"name": value.name, "type": kind} | ({"initializer": {"type": kind}} if value.is_constant else {})


def _node(node: GraphNode) -> dict[str, Any]:
    notes = {"module": ".".join(node.module), "source": node.source}
    attributes = [{"name": name, "value": text} for name, text in (*node.attributes.items(), *notes.items()) if text]
    operator = {"name": node.operator.rpartition(".")[2], "category": category_of(node.operator)[1]}
    return {
        "name": node.name,
        "type": operator,
        "inputs": [{"name": str(place), "value": [k]} for place, k in enumerate(node.inputs) if k >= 0],
        "outputs": [{"name": str(place), "value": [k]} for place, k in enumerate(node.outputs) if k >= 0],
        "attributes": attributes,
    }
