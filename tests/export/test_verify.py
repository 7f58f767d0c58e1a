# SPDX-License-Identifier: Apache-2.0
"""Comparing any two models, and arrays with NaN, infinities and integers."""

import numpy as np
import pytest
from onnx_text import model_from_text

import penlight as pl
import penlight.nn as nn
from penlight_export import convert, export, verify
from penlight_export.compare import VerifyReport, difference
from penlight_export.errors import OptionError

NAN, INF = np.nan, np.inf


def f32(*values):
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("a", "b", "max_abs", "agreement"),
    [
        (f32(1, 2), f32(1, 2.5), 0.5, 1.0),
        (f32(1, 2), f32(3, 2), 2.0, 0.0),
        (f32(NAN, 1), f32(NAN, 1), 0.0, 1.0),
        (f32(NAN, 1), f32(0, 1), INF, 0.0),
        (f32(INF, -INF), f32(INF, -INF), 0.0, 1.0),
        (f32(INF, 1), f32(-INF, 1), INF, 0.0),
        (f32(INF, 1), f32(NAN, 1), INF, 1.0),
        (f32(0.0), f32(-0.0), 0.0, None),
        (f32(), f32(), 0.0, None),
        (np.array(3), np.array(3), 0.0, None),
        (np.array([3, 4]), np.array([3, 5]), 1.0, None),
    ],
)
def test_differences(a, b, max_abs, agreement):
    found = difference(a, b)
    assert found.max_abs == max_abs
    assert found.agreement == agreement


def test_tolerance_is_relative_to_large_outputs_and_exact_for_integers():
    report = VerifyReport(1e-4)
    report.add("a", "b", "large", {}, difference(f32(1e6), f32(1e6 + 50)))
    report.add("a", "b", "small", {}, difference(f32(1e-3), f32(1.05e-3)))
    assert report.ok
    report.add("a", "b", "integer", {}, difference(np.array([100000]), np.array([100001])))
    assert not report.ok
    assert report.worst.output == "integer"


def test_shapes_and_dtypes_must_agree():
    assert "float32 [1] against float32 [2]" in difference(f32(1), f32(1, 1)).note
    assert difference(f32(1), np.array([1.0])).max_abs == INF


def test_json_of_a_report_without_numbers():
    report = VerifyReport()
    report.add("a", "b", "y", {}, difference(f32(NAN), f32(1)))
    assert report.to_json()["rows"][0]["max_abs"] == "inf"
    assert "NaN or infinity on one side only" in report.to_text()


@pytest.fixture
def files(tmp_path):
    """The same model as .onnx and .pen, and one with another bias in its second layer."""
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((4, 4)).astype(np.float32) for name in ("u", "v")} | {"b": f32(1, 2, 3, 4)}
    body = "g (float[N,4] x) => (float[N,4] y) { a = MatMul(x, u) c = Tanh(a) d = MatMul(c, v) e = Add(d, b) y = Sigmoid(e) }"
    for name, extra in (("good", 0), ("bad", 0.01)):
        proto = model_from_text(body, weights=weights | {"b": weights["b"] + np.float32(extra)})
        (tmp_path / f"{name}.onnx").write_bytes(proto.SerializeToString())
    convert(tmp_path / "good.onnx", tmp_path / "good.pen")
    return tmp_path


def test_equal_files(files):
    report = verify(files / "good.onnx", files / "good.pen")
    assert report.ok
    assert report.divergence is None
    assert len(report.rows) == 3  # the golden sample and two sizes


@pytest.mark.parametrize(
    ("pair", "value"), [(("good.onnx", "bad.onnx"), "e"), (("bad.onnx", "good.pen"), "y"), (("good.pen", "bad.onnx"), "y")]
)
def test_first_layer_that_differs(files, pair, value):
    """In the .pen file sum and sigmoid are part of one FusedGemm, which keeps the last name."""
    report = verify(*(files / name for name in pair))
    assert not report.ok
    assert report.divergence.value == value
    assert report.divergence.max_abs == pytest.approx(0.01 if value == "e" else 0.0022, rel=0.15)
    assert value in report.to_text()


def test_module_against_file(tmp_path):
    pl.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    path = export(model, pl.randn(2, 3), dynamic={"input": {0: "batch"}}, names=["input"]).save(tmp_path / "model.pen")
    assert verify(model, path).ok
    assert verify(path, model).ok
    with pl.no_grad():
        model[0].weight.mul_(2)
    report = verify(model, path, {"input": np.ones((3, 3), np.float32)})
    assert not report.ok
    assert report.rows[0].pair == "eager / edge"


def test_models_with_other_interfaces(files, tmp_path):
    other = model_from_text("g (float[N,5] z) => (float[N,5] y) { y = Tanh(z) }")
    (tmp_path / "other.onnx").write_bytes(other.SerializeToString())
    with pytest.raises(OptionError, match="different inputs: x float32 against z float32"):
        verify(files / "good.onnx", tmp_path / "other.onnx")
    with pytest.raises(OptionError, match=r"expected an \.onnx or \.pen file"):
        verify(files / "good.onnx", tmp_path / "other.txt")
