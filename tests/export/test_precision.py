# SPDX-License-Identifier: Apache-2.0
"""16-bit exports, and the operator sets and file versions that a model is written for."""

import numpy as np
import onnx
import pytest

import penlight as pl
import penlight.nn.functional as F
from penlight import nn
from penlight_export import export
from penlight_export.engines import OnnxEngine
from penlight_export.errors import OptionError

TYPES = {"float16": onnx.TensorProto.FLOAT16, "bfloat16": onnx.TensorProto.BFLOAT16}


class Net(nn.Module):
    """A convolution with normalisation, and attention over its pixels."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU(), nn.MaxPool2d(2))
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.head = nn.Linear(8, 5)

    def forward(self, image):
        x = self.norm(self.stem(image).flatten(2).transpose(1, 2))
        q, k, v = self.qkv(x).unsqueeze(1).chunk(3, -1)
        x = x + F.scaled_dot_product_attention(q, k, v).squeeze(1)
        return self.head(x.mean(1))


def exported(**options):
    pl.manual_seed(0)
    return export(Net().eval(), pl.randn(2, 1, 6, 6), dynamic={"image": {0: "batch"}}, **options)


@pytest.mark.parametrize("precision", TYPES)
def test_16_bits_inside_and_float32_outside(precision):
    made = exported(precision=precision)
    assert made.report.ok
    graph = made.onnx_model.graph
    assert {port.type.tensor_type.elem_type for port in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}
    weights = [t for t in graph.initializer if t.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL)]
    assert {t.data_type for t in weights} == {TYPES[precision]}
    assert "head.weight" in {t.name for t in weights}


@pytest.mark.parametrize("precision", TYPES)
def test_convolutions_in_16_bits_run_on_the_edge(precision):
    pl.manual_seed(0)
    made = export(Net().stem.eval(), pl.randn(2, 1, 6, 6), precision=precision)
    assert made.refusal is None and made.report.ok
    assert "eager / edge" in {row.pair for row in made.report.rows}


def test_the_module_itself_stays_in_float32():
    pl.manual_seed(0)
    module = Net().eval()
    before = module.head.weight.numpy(force=True).copy()
    export(module, pl.randn(1, 1, 6, 6), precision="float16")
    np.testing.assert_array_equal(module.head.weight.numpy(force=True), before)


def test_another_precision_is_refused():
    with pytest.raises(OptionError, match="precision: expected 'float32', 'float16' or 'bfloat16', came 'int8'"):
        exported(precision="int8")


@pytest.mark.parametrize("opset", range(17, 25))
def test_every_operator_set_with_its_file_version(opset):
    made = exported(opset=opset)
    model = made.onnx_model
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert model.ir_version == onnx.helper.find_min_ir_version_for(model.opset_import)
    onnx.checker.check_model(model, full_check=True)
    assert made.report.ok
    if opset < 24:  # the newest may be ahead of the onnxruntime that is installed
        x = np.random.default_rng(1).standard_normal((3, 1, 6, 6)).astype(np.float32)
        assert OnnxEngine(model.SerializeToString()).run({"image": x})["output"].shape == (3, 5)
