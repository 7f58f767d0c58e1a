# SPDX-License-Identifier: Apache-2.0
"""`.onnx` files, run by onnxruntime. Such files are trusted by the operator of the server: see SECURITY.md."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from penlight_serving.engine import invalid_model
from penlight_serving.errors import BusyError, ModelInvalidError, ModelRefusedError
from penlight_serving.tensors import DATATYPES, TensorInfo

# onnxruntime's names of element types: https://onnxruntime.ai/docs/reference/operators/
_ELEMENTS = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8", "int16": "INT16",
    "int32": "INT32", "int64": "INT64", "float16": "FP16", "float": "FP32", "double": "FP64", "string": "BYTES",
}  # fmt: skip
_NODE = re.compile(r"while running (\w+) node\. Name:'([^']*)'")
_FAILURES = (state.Fail, state.InvalidArgument, state.RuntimeException, state.NotImplemented, state.EPFail)
_log = logging.getLogger("penlight.serving")


class OnnxEngine:
    """One onnxruntime session; sessions may run in several threads at once."""

    platform = "onnxruntime_onnx"
    backend = "onnxruntime"

    def __init__(self, path: Path, threads: int, spinning: bool) -> None:
        options = ort.SessionOptions()
        # Always explicit: the defaults take every physical core, pin threads, and hang in some containers (onnxruntime#10113).
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise invalid_model(path, error) from error
        self._run_options = ort.RunOptions()  # shared by all runs: its only use is to end them
        self.inputs = tuple(_tensor_info(path, node) for node in self._session.get_inputs())
        self.outputs = tuple(_tensor_info(path, node) for node in self._session.get_outputs())

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        try:
            return self._session.run(outputs, inputs, self._run_options)
        except _FAILURES as error:
            raise _refusal(error) from error

    def cancel(self) -> None:
        self._run_options.terminate = True


def _tensor_info(path: Path, node: Any) -> TensorInfo:
    found = re.fullmatch(r"tensor\((\w+)\)", node.type)
    if found is None or found[1] not in _ELEMENTS:
        raise ModelInvalidError(f"{path}: {node.name!r} is a {node.type}, expected a tensor of {', '.join(_ELEMENTS)}")
    dims = tuple(dim if isinstance(dim, int) and dim >= 0 else str(dim or f"dim{axis}") for axis, dim in enumerate(node.shape))
    return TensorInfo(node.name, DATATYPES[_ELEMENTS[found[1]]], dims)


def _refusal(error: Exception) -> ModelRefusedError | BusyError:
    """Returns what a client may know: the node, never onnxruntime's text, which holds source paths and addresses."""
    text = str(error)
    _log.warning("run_failed", extra={"fields": {"engine": "onnxruntime", "detail": text[:2000]}})
    if "allocate memory" in text or "bad_alloc" in text or "bad allocation" in text:
        return BusyError("the server has not enough memory for this request now; send fewer rows at once, or try again later")
    found = _NODE.search(text)
    where = f'node "{found[2]}" ({found[1]})' if found else "a node"
    return ModelRefusedError(f"the model cannot compute this input: {where} refused its values or their sizes")
