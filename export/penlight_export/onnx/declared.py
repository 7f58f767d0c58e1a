# SPDX-License-Identifier: Apache-2.0
"""Shapes that a foreign file declares for values between inputs and outputs: often those of the exporter's example."""

from __future__ import annotations

from penlight_export.graph import Model, Shape, Value, all_graphs, clone


def without_declared_sizes(model: Model) -> Model:
    """A copy in which only inputs and constants have sizes, for shape inference to find the others.

    Exporters write numbers where sizes vary, such as the time of an LSTM (pytorch#191855); onnxruntime only warns. Ranks, element
    types and names of sizes stay, since nobody could infer them behind a Reshape to a shape that is computed. A model whose inputs
    are all fixed keeps everything.
    """
    if all(isinstance(size, int) for value in model.graph.inputs if value.shape is not None for size in value.shape):
        return model
    model = clone(model)
    for graph in all_graphs(model.graph):
        for node in graph:
            for value in node.outputs:
                _forget(value)
    return model


def _forget(value: Value) -> None:
    if value.shape is not None:
        value.shape = Shape([None if isinstance(size, int) else size for size in value.shape])
