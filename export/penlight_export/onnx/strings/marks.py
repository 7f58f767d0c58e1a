# SPDX-License-Identifier: Apache-2.0
"""What is known of a model's strings outside of its graph: which ports are strings, and which strings the model knows."""

from __future__ import annotations

import json

from penlight_export.graph import DataType, Model, all_nodes, texts_of
from penlight_runtime.strings import METADATA

STRINGS = "penlight.strings"  # in a graph's meta: names of inputs and outputs whose strings have become bytes
_MOST = 200  # strings that random inputs are drawn from
_NUMBERS, _WORDS = ["0", "1", "-2.5"], ["", "a", "Two words", "b,c", "\u00e9t\u00e9"]


def string_metadata(model: Model, method: str) -> dict[str, str]:
    """The entry of a .pen file's metadata that marks strings; none without strings."""
    names = model.graph.meta.get(STRINGS)
    return {METADATA + method: json.dumps(sorted(names))} if names else {}


def vocabulary(model: Model) -> tuple[str, ...]:
    """Strings that mean something to a model that takes strings, for random inputs; none for other models."""
    if all(value.dtype != DataType.STRING for value in model.graph.inputs):
        return ()
    found: dict[str, None] = {}
    for value in model.graph.initializers.values():
        if value.dtype == DataType.STRING:
            found.update(dict.fromkeys(texts_of(value).reshape(-1).tolist()))
    nodes = list(all_nodes(model.graph))
    for node in nodes:
        for attribute in node.attributes.values():
            if attribute.type.name == "STRINGS" and attribute.name.startswith(("keys", "cats", "pool", "classes_", "stopwords")):
                found.update(dict.fromkeys(attribute.value))
    casts = any(n.op_type == "Cast" and n.inputs[0] is not None and n.inputs[0].dtype == DataType.STRING for n in nodes)
    return tuple(list(found)[:_MOST]) or tuple(_NUMBERS if casts else _WORDS)
