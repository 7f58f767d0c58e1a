# SPDX-License-Identifier: Apache-2.0
"""A whole .pen file from an edge graph: written once to measure it on the runtime, then with golden sample and resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import penlight_runtime
from penlight_export.edge.writer import GoldenSample, ResourceStatement, write_program
from penlight_export.errors import EngineError
from penlight_export.graph import Model


def build_program(
    model: Model,
    metadata: Mapping[str, str],
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[np.ndarray],
    sizes: Mapping[str, int],
    tolerance: float,
) -> bytes:
    """Writes a program that carries one sample and what a run of it costs.

    Args:
        model: from `pipeline.edge_graph`.
        metadata: provenance.
        inputs: one small sample by name.
        outputs: what the reference gives for it, in the model's order.
        sizes: the named dimensions of the sample.
        tolerance: for the golden check, absolute and relative.

    Raises:
        EngineError: the runtime refuses what was written, which is a defect of Penlight.
    """
    arrays = [inputs[value.name or ""] for value in model.graph.inputs if value.name in inputs]
    resources = measure(b"".join(write_program(model, metadata=dict(metadata))), arrays, sizes)
    golden = GoldenSample(arrays, list(outputs), tolerance, tolerance)
    return b"".join(write_program(model, metadata=dict(metadata), golden=[golden], resources=[resources]))


def measure(program: bytes, inputs: Sequence[np.ndarray], sizes: Mapping[str, int]) -> ResourceStatement:
    """Asks the runtime what a run with these inputs takes."""
    try:
        session = penlight_runtime.Program(program).session()
        session.prepare(inputs)
        nodes = [node.macs for node in session.profile()]
    except penlight_runtime.RuntimeFailure as error:
        raise EngineError(f"the edge runtime refuses the written program: {error}") from error
    return ResourceStatement(dict(sizes), session.arena_bytes, session.macs, nodes)
