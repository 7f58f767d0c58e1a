# SPDX-License-Identifier: Apache-2.0
"""The edge runtime as an onnx backend: models by the steps of `penlight convert`, and run by the functions of penlight.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

import penlight_runtime
from penlight_export.edge.writer import write_program
from penlight_export.graph import from_proto
from penlight_export.pipeline import edge_graph


class EdgeRep(BackendRep):
    """A loaded program; each run has a session of its own."""

    def __init__(self, program: penlight_runtime.Program) -> None:
        self.program = program

    def run(self, inputs: Sequence[Any], **kwargs: Any) -> tuple[np.ndarray, ...]:
        return tuple(self.program.session().run(list(inputs)).values())


class EdgeBackend(Backend):
    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> EdgeRep:
        return EdgeRep(penlight_runtime.Program(b"".join(write_program(edge_graph(from_proto(model), "test")))))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"
