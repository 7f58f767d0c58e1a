# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models from ONNX's text syntax, and runs of them on onnxruntime, for the tests of export."""

import numpy as np
import onnx
import onnxruntime


def model_from_text(body: str, opset: int = 21, weights: dict[str, np.ndarray] | None = None, domains: str = "") -> onnx.ModelProto:
    """`body` is a graph in ONNX text syntax; `weights` become initializers."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}{domains}]> {body}')
    for name, array in (weights or {}).items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return proto


def run_onnx(proto: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every output by name, from onnxruntime without its own optimizer."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))
