# SPDX-License-Identifier: Apache-2.0
"""A program of the edge runtime from a model of any exporter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penlight_export.edge.writer import ProgramWriter
from penlight_export.graph import Model
from penlight_export.onnx.declared import without_declared_sizes
from penlight_export.onnx.strings import DEFAULT_WIDTH
from penlight_export.passes import DEFAULT, Pass
from penlight_export.pipeline import edge_graph


def foreign_program(
    model: Model,
    where: str,
    metadata: Mapping[str, str] | None = None,
    passes: Sequence[Pass] = DEFAULT,
    max_string_bytes: int = DEFAULT_WIDTH,
) -> ProgramWriter:
    """The tables and weights of a .pen file.

    Args:
        model: from `load_onnx`.
        where: how messages name the model.
        metadata: provenance.
        passes: what to optimise with.
        max_string_bytes: what a string of an input may have.
    """
    graph = edge_graph(without_declared_sizes(model), where, passes, max_string_bytes=max_string_bytes)
    writer = ProgramWriter(graph, metadata)
    for symbol in writer.tables.symbols or []:
        symbol.minimum = 0  # nothing forbids it in a foreign model: caches of keys and values start empty
    return writer
