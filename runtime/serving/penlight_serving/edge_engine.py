# SPDX-License-Identifier: Apache-2.0
"""`.pen` files, run by the edge runtime, which checks every byte of the file itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import penlight_runtime
from penlight_serving.engine import invalid_model
from penlight_serving.errors import ModelInvalidError
from penlight_serving.options import Options
from penlight_serving.tensors import BY_DTYPE, DATATYPES, TensorInfo


class EdgeEngine:
    """A program and a stack of sessions: a session serves one thread at a time, the program is shared.

    Sessions are made when all are in use, so there are as many as runs at once, and the one used last, whose memory is warm, is
    taken first.
    """

    platform = "penlight_pen"
    backend = "penlight"

    def __init__(self, path: Path, options: Options) -> None:
        self._options = options
        self._sessions: list[Any] = []
        self._idle: deque[Any] = deque()
        try:
            self._program = penlight_runtime.Program.open(path, memory_budget=options.pen_memory_bytes, check_segments=True)
            self._program.self_test()  # wrong numbers on this machine are found before anybody gets them
            method = self._program.methods[0]
            self._idle.append(self._session())
        except penlight_runtime.RuntimeFailure as error:
            raise invalid_model(path, error) from error
        if len(self._program.methods) > 1 or self._idle[0].states():
            raise invalid_model(
                path, "it has several methods, or keeps tensors from run to run; a server answers each request alone"
            )
        self.inputs = tuple(_tensor_info(path, info) for info in self._program.inputs(method))
        self.outputs = tuple(_tensor_info(path, info) for info in self._program.outputs(method))

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._session()
        try:
            results = session.run(inputs)
        finally:
            self._idle.append(session)
        return [results[name] for name in outputs]

    def cancel(self) -> None:
        for session in self._sessions:
            session.cancel()

    def _session(self) -> Any:
        session = self._program.session(
            self._program.methods[0], threads=self._options.run_threads, mac_budget=self._options.pen_mac_budget
        )
        self._sessions.append(session)
        return session


def _tensor_info(path: Path, info: Any) -> TensorInfo:
    datatype = DATATYPES["BYTES"] if info.dtype.kind == "S" else BY_DTYPE.get(np.dtype(info.dtype))
    if datatype is None:
        raise ModelInvalidError(f"{path}: {info.name!r} is {info.dtype}, expected one of {', '.join(map(str, BY_DTYPE))}")
    dims = tuple(dim if isinstance(dim, int) else str(dim) for dim in info.shape)
    return TensorInfo(info.name, datatype, dims)
