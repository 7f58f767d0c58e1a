# SPDX-License-Identifier: Apache-2.0
"""Published networks, exported by PyTorch with random weights, become .pen files with the answers of onnxruntime at other sizes."""

import numpy as np
import onnx
import pytest
from onnx_text import run_onnx

import penlight_runtime
from penlight_export import convert

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from imported_models import CASES, write_model

LONG = ("vit_tiny", "mobilenet_v3")  # to export
RTOL = 1e-3  # of the largest magnitude of each output
# Nodes of the .onnx file that TorchScript writes, of the .pen file, and how many of those are Attention.
NODES = {
    "bert": (1000, 125, 12),
    "distilbert": (631, 74, 6),
    "gpt2": (1432, 267, 12),
    "vit_tiny": (2032, 146, 12),
    "whisper_decoder": (729, 92, 8),
    "whisper_encoder": (360, 45, 4),
}


def check(name, tmp_path, **options):
    case, path = CASES[name], tmp_path / "model.onnx"
    narrow = case.narrow if options.pop("narrow", False) else {}
    write_model(case, path, **options, **narrow)
    result = convert(path, tmp_path / "model.pen")
    assert result.report.ok
    proto = onnx.load(path)
    session = penlight_runtime.Program.open(result.path).session()
    for sizes in case.sizes:
        inputs = {
            port.name: array.numpy() for port, array in zip(proto.graph.input, case.data(sizes, **narrow).values(), strict=True)
        }
        expected, found = run_onnx(proto, inputs), session.run(inputs)
        for output, array in expected.items():
            np.testing.assert_allclose(found[output], array, rtol=RTOL, atol=RTOL * np.abs(array).max(initial=0), err_msg=output)
        if sizes["batch"] > 1 and name != "yolo":
            first = expected[case.outputs[0]]
            assert np.abs(first[0] - first[1]).max() > 2e-4 * np.abs(first).max(), "the answer does not depend on the input"
    return result.summary.operators


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in CASES])
def test_true_depth(name, tmp_path):
    operators = check(name, tmp_path, narrow=True)
    assert ("NonMaxSuppression" in operators) == (name == "yolo")
    assert ("LSTM" in operators) == (name == "lstm")
    if name in NODES:
        before, after, attention = NODES[name]
        assert len(onnx.load(tmp_path / "model.onnx").graph.node) >= 0.8 * before  # PyTorch's exporter changes, too
        assert sum(operators.values()) <= after
        assert operators["Attention"] == attention


@pytest.mark.parametrize(("name", "opset"), [("mobilenet_v2", 11), ("whisper_encoder", 17)])
def test_older_operator_sets(name, opset, tmp_path):
    check(name, tmp_path, narrow=True, opset=opset)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "whisper_encoder", "whisper_decoder"])
def test_the_newer_exporter(name, tmp_path):
    check(name, tmp_path, narrow=True, dynamo=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "distilbert"])
def test_published_widths(name, tmp_path):
    check(name, tmp_path)
