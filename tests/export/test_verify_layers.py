# SPDX-License-Identifier: Apache-2.0
"""Finding the first layer that differs, engines of either side, and the measures of a comparison."""

import itertools

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_text import model_from_text

import penlight as pl
import penlight.nn as nn
from penlight_export import convert, export, verify
from penlight_export.compare import VerifyReport, difference, max_ulp
from penlight_export.errors import OptionError
from penlight_export.layers import Layer, first_divergence
from penlight_export.plots import describe_pair
from penlight_export.verify import Sample


class Chain:
    """Layers v0, v1, ... each of which reads the one before, with those that differ."""

    def __init__(self, count, differ, reads=None):
        self.layers = [Layer(f"v{k}", "Add", inputs=tuple(f"v{i}" for i in (reads or {}).get(k, [k - 1]))) for k in range(count)]
        self.differ, self.runs, self.looked_at = {f"v{k}" for k in differ}, 0, []

    def reference(self, names):
        self.runs += 1
        self.looked_at += names
        return {name: np.zeros(3, np.float32) for name in names}

    def other(self, names):
        return {name: np.full(3, float(name in self.differ), np.float32) for name in names}

    def find(self):
        found = first_divergence(self.layers, self.reference, self.other, 1e-4)
        return None if found is None else int(found.value[1:])


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1000, 4100])
def test_the_first_of_those_that_stay_different(count):
    for first in {0, count // 3, count - 1}:
        chain = Chain(count, range(first, count))
        assert chain.find() == first
        assert chain.runs <= (4 if count <= 4096 else 5)  # the last one looks at what the found layer reads
        assert len(chain.looked_at) == len(set(chain.looked_at)), "a layer was computed twice"
    assert Chain(count, ()).find() is None


def test_a_difference_that_ends_again_is_found():
    assert Chain(1000, [617]).find() == 617


def test_a_branch_of_few_layers_is_followed_to_its_start():
    """v5..v8 differ beside a long branch that agrees; the look at some layers sees their reader first."""
    reads = {5: [0], 9: [0], 900: [899, 8]}
    chain = Chain(1000, [5, 6, 7, 8, *range(900, 1000)], reads)
    assert chain.find() == 5 and chain.runs <= 8


def test_no_layers():
    assert first_divergence([], None, None, 1e-4) is None


# Measures


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_ulp_counts_neighbours(dtype):
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    for start in (0.0, 1.0, -2.0, 6.1e-5):
        a = np.full(3, start, dtype)
        bits = a.view(unsigned)
        b = (bits + np.array([0, 1, 5], unsigned)).view(dtype)
        assert max_ulp(a, b) == max_ulp(b, a) == 5
    tiny = np.array([1], unsigned).view(dtype)
    assert max_ulp(tiny, -tiny) == 2 and max_ulp(np.zeros(1, dtype), -np.zeros(1, dtype)) == 0
    assert max_ulp(np.array([np.nan, 1], dtype), np.array([1, 1], dtype)) == 0
    assert max_ulp(np.array([np.inf], dtype), np.array([1], dtype)) == 0
    assert max_ulp(np.array([1]), np.array([2])) is None


def test_signal_to_noise_and_the_worst_element():
    a = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    found = difference(a, a + np.array([[0, 0], [0.5, 0]], np.float32))
    assert found.snr_db == pytest.approx(20) and found.worst == (1, 0)
    assert difference(a, a).snr_db == np.inf and difference(a, a).worst == ()
    assert difference(np.zeros(2, np.float32), np.ones(2, np.float32)).snr_db == -np.inf


def test_worst_inputs_name_sample_and_row():
    report = VerifyReport(1e-4)
    for sample, row, error in (("a.npy", 1, 0.5), ("b.npy", 2, 2.0)):
        a = np.zeros((4, 3), np.float32)
        b = a.copy()
        b[row, 2] += error
        report.add_pair(report.add("x", "y", "out", {}, difference(a, b), sample), a, b)
    assert [(w.sample, w.row, w.max_abs) for w in report.worst_inputs] == [("b.npy", 2, 2.0), ("a.npy", 1, 0.5)]
    assert "worst input: row 2 of b.npy" in report.to_text()
    (plot,) = report.plots.values()
    assert plot["max_abs"] == 2.0 and plot["worst"] == 2 * 3 + 2


def test_plots_hold_the_largest_differences():
    a = np.zeros(100_000, np.float32)
    b = a.copy()
    b[12_345], b[7] = 3, np.nan
    points = describe_pair(a, b)["points"]
    at = dict(zip(points["place"], points["b"], strict=True))
    assert at[12_345] == 3 and np.isnan(at[7]) and len(at) < 500
    assert sum(describe_pair(a, b)["counts"][1]) == 99_999


# Engines


@pytest.fixture
def model(tmp_path):
    body = "g (float[N,4] x) => (float[N,4] y) { a = MatMul(x, u) c = Tanh(a) y = Add(c, b) }"
    rng = np.random.default_rng(0)
    weights = {"u": rng.standard_normal((4, 4)).astype(np.float32), "b": rng.standard_normal(4).astype(np.float32)}
    for name, extra in (("good", 0.0), ("bad", 0.25)):
        proto = model_from_text(body, weights={**weights, "b": weights["b"] + np.float32(extra)})
        (tmp_path / f"{name}.onnx").write_bytes(proto.SerializeToString())
    convert(tmp_path / "good.onnx", tmp_path / "good.pen")
    return tmp_path


def test_the_report_says_when_onnxruntime_refuses_the_model(model):
    proto = onnx.load(model / "good.onnx")
    for node in proto.graph.node:
        node.name = "same"  # which onnxruntime does not take
    onnx.save(proto, model / "refused.onnx")
    report = verify(model / "refused.onnx", model / "good.pen")
    assert report.ok and report.rows[0].reference == "onnx reference"
    assert "ONNX's reference implementation ran the model: onnxruntime refuses the model: " in "\n".join(report.notes)
    assert verify(model / "good.onnx", model / "good.pen").notes == []


@pytest.mark.parametrize("engines", [*itertools.product(("onnxruntime", "reference", "edge", "eager"), repeat=2)])
def test_any_two_engines(model, engines):
    report = verify(model / "good.onnx", model / "good.onnx", engines=engines)
    assert report.ok and report.rows[0].reference.split(" of ")[0] == engines[0].replace("reference", "onnx reference")
    report = verify(model / "good.onnx", model / "bad.onnx", engines=engines)
    assert not report.ok and report.divergence.value == "y" and report.divergence.operator.endswith("Add")
    assert "first difference: y" in report.plots


def test_engines_that_do_not_run_a_model(model):
    with pytest.raises(OptionError, match="expected the engine edge or onnxruntime or reference or eager, came 'torch'"):
        verify(model / "good.onnx", model / "good.pen", engines=(None, "torch"))
    with pytest.raises(OptionError, match="expected the engine eager, came 'edge'"):
        verify(nn.Linear(4, 4), model / "good.pen", engines=("edge", None))
    for data in (None, [np.ones((2, 4), np.float32)]):
        with pytest.raises(OptionError, match="two modules say nothing"):
            verify(nn.Linear(4, 4), nn.Linear(4, 4), data)


def test_samples_keep_their_names(model):
    samples = [Sample(f"{k}.npy", {"x": np.full((k + 1, 4), k, np.float32)}) for k in range(3)]
    report = verify(model / "good.onnx", model / "good.pen", samples)
    assert [row.sample for row in report.rows] == ["0.npy", "1.npy", "2.npy"] and report.ok


def test_layers_of_a_module_against_its_file(tmp_path):
    pl.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 2))
    exported = export(module, pl.randn(2, 3), dynamic={"x": {0: "batch"}}, names=["x"])
    for path in (exported.save(tmp_path / "m.onnx"), exported.save(tmp_path / "m.pen")):
        assert verify(module, path).ok
    with pl.no_grad():
        module[2].bias.add_(0.1)
    for path in (tmp_path / "m.onnx", tmp_path / "m.pen"):
        report = verify(module, path, {"x": np.ones((3, 3), np.float32)})
        assert not report.ok and report.divergence.module_path in {"2", "3"}  # in the .pen file one node with the sigmoid


def test_two_modules():
    pl.manual_seed(0)
    first, second = (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(2))
    data = {"x": np.ones((3, 3), np.float32)}
    report = verify(first, second, data)
    assert not report.ok and report.divergence.module_path == "0" and "the first Sequential" in report.rows[0].reference
    second.load_state_dict(first.state_dict())
    assert verify(first, second, data).ok


def test_a_thousand_nodes(tmp_path):
    """The search runs the model a few times, not once per layer."""
    lines = "".join(f"v{k + 1} = {'Neg' if k % 2 else 'Tanh'}(v{k}) " for k in range(999))
    body = f"g (float[N,4] x) => (float[N,4] y) {{ v0 = Add(x, b) {lines} y = Add(v999, c) }}"
    weights = {"b": np.ones(4, np.float32), "c": np.zeros(4, np.float32)}
    good = model_from_text(body, weights=weights)
    bad = onnx.ModelProto.FromString(good.SerializeToString())
    bad.graph.node[700].op_type = "Abs"
    for name, proto in (("good", good), ("bad", bad)):
        (tmp_path / f"{name}.onnx").write_bytes(proto.SerializeToString())
    report = verify(tmp_path / "good.onnx", tmp_path / "bad.onnx")
    assert not report.ok and report.divergence.value in {"v700", "v701"} and report.divergence.compared == 1001
    for initializer in bad.graph.initializer:
        if initializer.name == "c":
            initializer.CopyFrom(numpy_helper.from_array(np.full(4, 0.5, np.float32), "c"))
    bad.graph.node[700].op_type = good.graph.node[700].op_type
    (tmp_path / "bad.onnx").write_bytes(bad.SerializeToString())
    assert verify(tmp_path / "good.onnx", tmp_path / "bad.onnx", engines=("edge", "edge")).divergence.value == "y"
