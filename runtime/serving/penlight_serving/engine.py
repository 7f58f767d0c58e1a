# SPDX-License-Identifier: Apache-2.0
"""What the server asks of an engine that runs models, and the choice of one by file suffix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from penlight_serving.errors import EngineMissingError, ModelInvalidError
from penlight_serving.options import Options
from penlight_serving.tensors import TensorInfo


class Engine(Protocol):
    """A loaded model. `run` may be called from several threads at once."""

    platform: str  # as the protocol's metadata says it
    backend: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Returns the named outputs, in order. Raises ModelRefusedError (or an error with a `code`) for bad values."""
        ...

    def cancel(self) -> None:
        """Makes runs that have begun end soon, with an error; none begins after this."""
        ...


def open_engine(path: Path, options: Options, spinning: bool) -> Engine:
    """Loads a `.onnx` or `.pen` file.

    Args:
        path: The model file.
        options: For the threads and the budgets.
        spinning: Whether idle threads may spin for work, which is quick when this is the only model and harmful otherwise.

    Raises:
        ModelInvalidError: The file is not a model that can be served.
        EngineMissingError: The engine's package is not installed.
    """
    try:
        # Each engine is imported only when a file asks for it: onnxruntime alone takes 0.2 s.
        if path.suffix == ".onnx":
            from penlight_serving.onnx_engine import OnnxEngine

            return OnnxEngine(path, options.run_threads, spinning)
        from penlight_serving.edge_engine import EdgeEngine

        return EdgeEngine(path, options)
    except ImportError as error:
        raise EngineMissingError(f"{path.name}: the engine for {path.suffix} files cannot be imported: {error}") from error


def invalid_model(path: Path, reason: object) -> ModelInvalidError:
    """Returns the error for a model file that an engine refuses, with the engine's words on one line."""
    words = " ".join(str(reason).split())
    return ModelInvalidError(f"{path}: not a model that can be served: {words[:400]}")
