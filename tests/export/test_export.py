# SPDX-License-Identifier: Apache-2.0
"""Exporting modules: dynamic sizes, names, errors with the user's line, atomic files, the same bytes each time."""

import json

import numpy as np
import onnx
import pytest

import penlight as pl
import penlight.nn as nn
import penlight.nn.functional as F
import penlight_runtime
from penlight.errors import TraceError
from penlight_export import ExportError, UnsupportedOperatorsError, VerifyError, export, summarize
from penlight_export.engines import OnnxEngine
from penlight_export.errors import OptionError
from penlight_export.graph import Tensor
from penlight_export.passes.base import Pass


class Small(nn.Module):
    """Convolution, normalisation, pooling and a head."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(4 * 4 * 4, 10)

    def forward(self, image):
        return self.head(self.features(image).flatten(1))


class Block(nn.Module):
    """One layer of a transformer, and a mean over time."""

    def __init__(self, width=16):
        super().__init__()
        self.embed = nn.Embedding(11, width)
        self.norm = nn.LayerNorm(width)
        self.attend = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, 5)

    def forward(self, tokens):
        x = self.embed(tokens)
        batch, time, width = x.shape
        q, k, v = self.attend(self.norm(x)).reshape(batch, time, 3, 4, width // 4).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, time, width)
        return {"logits": self.out(F.gelu(x)), "summary": x.mean(1)}


@pytest.fixture(autouse=True)
def seeded():
    pl.manual_seed(3)


def small():
    return export(Small(), pl.randn(2, 1, 8, 8), dynamic={"image": {0: "batch"}})


def block():
    return export(Block(), pl.randint(0, 11, (2, 6)), dynamic={"tokens": {0: "batch", 1: "time"}})


def test_graph_of_a_small_network(tmp_path):
    model = small().onnx_model
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 10
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 21)]
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu", "MaxPool", "Reshape", "Gemm"]
    names = {tensor.name for tensor in model.graph.initializer}
    assert {"head.weight", "head.bias"} <= names  # what no pass touched keeps its name in the state_dict
    assert model.graph.input[0].name == "image"
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert model.graph.output[0].name == "output"
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_nodes_carry_module_and_line():
    nodes = small().onnx_model.graph.node
    notes = {node.op_type: {entry.key: entry.value for entry in node.metadata_props} for node in nodes}
    assert notes["Conv"]["penlight.module_path"] == "features.0"
    assert notes["Gemm"]["penlight.module_path"] == "head"
    assert "test_export.py:" in notes["Gemm"]["penlight.source"]


@pytest.mark.parametrize(("make", "shape", "high"), [(small, (1, 8, 8), None), (block, (None,), 11)])
def test_one_export_runs_at_every_size(make, shape, high, tmp_path):
    pl.manual_seed(3)
    exported = make()
    assert exported.report.ok
    pl.manual_seed(3)
    module = Small() if make is small else Block()
    module.eval()
    path = exported.save(tmp_path / "model.pen")
    session = penlight_runtime.Program.open(path).session()
    onnx_side = OnnxEngine(exported.onnx_model.SerializeToString())
    rng = np.random.default_rng(0)
    for batch in (1, 2, 7):
        for time in (1, 3, 20) if make is block else (None,):
            sizes = (batch, *(time if size is None else size for size in shape))
            x = rng.integers(0, high, sizes) if high else rng.standard_normal(sizes).astype(np.float32)
            with pl.no_grad():
                eager = module(pl.tensor(x))
            expected = {k: t.numpy() for k, t in (eager if isinstance(eager, dict) else {"output": eager}).items()}
            name = onnx_side.inputs[0].name
            for found in (onnx_side.run({name: x}), session.run({name: x})):
                for key, value in expected.items():
                    np.testing.assert_allclose(found[key], value, atol=2e-5)


def test_report_covers_engines_and_sizes():
    report = block().report
    pairs = {row.pair for row in report.rows}
    assert pairs == {"eager / onnxruntime", "eager / edge", "onnxruntime / edge"}
    sizes = {tuple(row.sizes.items()) for row in report.rows}
    assert len(sizes) == 3
    for name in ("batch", "time"):
        assert len({dict(entry)[name] for entry in sizes}) == 3  # both dimensions changed
    assert (("batch", 1), ("time", 1)) in sizes
    assert {row.output for row in report.rows} == {"logits", "summary"}
    assert all(row.agreement == 1.0 for row in report.rows)
    assert "eager / edge" in report.to_text()
    assert json.loads(json.dumps(report.to_json()))["ok"] is True


def test_same_model_same_bytes(tmp_path):
    files = []
    for number in range(2):
        pl.manual_seed(3)
        exported = block()
        files.append([exported.save(tmp_path / f"{number}{suffix}").read_bytes() for suffix in (".onnx", ".pen")])
    assert files[0] == files[1]


def test_the_pen_file_checks_itself(tmp_path):
    path = small().save(tmp_path / "model.pen")
    program = penlight_runtime.Program.open(path)
    assert program.self_test() == 1
    assert program.metadata["producer"].startswith("penlight")
    assert program.golden()[0].inputs["image"].shape == (1, 1, 8, 8)
    summary = summarize(path)
    assert summary.operators == {"Gemm": 1, "MaxPool": 1, "Reshape": 1, "ai.penlight.FusedConv": 1}
    assert summary.macs >= 8 * 8 * 4 * 9 + 640
    assert summary.sizes == {"batch": 1}
    assert 0 < summary.arena_bytes < 20_000
    assert "features" in [row.name for row in summary.tree]


def branch_on_value(x):
    if x.sum() > 0:
        return x
    return -x


def read_a_value(x):
    return x * float(x.max())


@pytest.mark.parametrize("function", [branch_on_value, read_a_value])
def test_branch_over_a_traced_value_names_the_line(function):
    line = function.__code__.co_firstlineno + 1
    with pytest.raises(TraceError, match=f"test_export.py:{line}"):
        export(function, pl.ones(3))


def loop_over_size(x):
    total = x[0]
    for k in range(1, int(x.shape[0])):
        total = total + x[k]
    return total


def test_a_size_that_became_fixed_is_an_error():
    with pytest.raises(TraceError, match="batch"):
        export(loop_over_size, pl.ones(3, 2), dynamic={"x": {0: "batch"}})
    assert export(loop_over_size, pl.ones(3, 2)).report.ok  # without the dimension it is a loop of fixed length


def test_derived_sizes_are_expressions():
    def double(x):
        return pl.cat([x, x], 0)[1:], x.reshape(-1)

    exported = export(double, pl.randn(3, 2), dynamic={"x": {0: "batch"}})
    texts = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in exported.onnx_model.graph.output]
    assert texts == [["2*batch - 1", 2], ["2*batch"]]
    assert penlight_runtime.Program(exported.program).outputs()[0].shape[1] == 2


def test_sizes_in_arithmetic():
    """Every use of a size: arange, full, scaling, halves, reshapes with two new dimensions."""

    def function(x):
        n, m = x.shape
        y = x / n + pl.arange(m).to(pl.float32)
        top = y[: (n + 1) // 2]
        wide = y.reshape(m, n).expand(2, m, n)
        return top, wide, pl.zeros(n, 3) + m

    exported = export(function, pl.randn(4, 6), dynamic={"x": {0: "n", 1: "m"}})
    rng = np.random.default_rng(0)
    engine = OnnxEngine(exported.onnx_model.SerializeToString())
    session = None if exported.program is None else penlight_runtime.Program(exported.program).session()
    for n, m in ((1, 1), (5, 2), (2, 9)):
        x = rng.standard_normal((n, m)).astype(np.float32)
        expected = [t.numpy() for t in function(pl.tensor(x))]
        for found in (engine.run({"x": x}), *([session.run({"x": x})] if session else [])):
            for array, reference in zip(found.values(), expected, strict=True):
                np.testing.assert_allclose(array, reference, rtol=1e-6, atol=1e-6)


def test_outputs_that_are_inputs_constants_or_twice_the_same():
    buffer = pl.tensor([1.0, 2.0])

    def function(x):
        y = x + 1
        return y, y, x, buffer

    exported = export(function, pl.ones(2))
    names = [value.name for value in exported.onnx_model.graph.output]
    assert names == ["output_0", "output_1", "output_2", "output_3"]
    assert exported.report.ok


def test_dict_inputs_and_names():
    def function(left, right):
        return left - 2 * right

    exported = export(function, {"right": pl.ones(2), "left": pl.zeros(2)}, output_names=["difference"])
    assert [value.name for value in exported.onnx_model.graph.input] == ["right", "left"]
    assert [value.name for value in exported.onnx_model.graph.output] == ["difference"]
    renamed = export(function, (pl.ones(2), pl.zeros(2)), names=["a", "b"])
    assert [value.name for value in renamed.onnx_model.graph.input] == ["a", "b"]


@pytest.mark.parametrize("opset", [17, 20, 24])
def test_other_operator_sets(opset):
    exported = export(Small(), pl.randn(1, 1, 8, 8), opset=opset)
    assert exported.onnx_model.opset_import[0].version == opset
    assert exported.report.ok
    assert exported.program is not None


@pytest.mark.parametrize("opset", [16, 25])
def test_operator_sets_out_of_range(opset):
    with pytest.raises(OptionError, match="expected 17 to 24") as caught:
        export(Small(), pl.randn(1, 1, 8, 8), opset=opset)
    assert caught.value.exit_code == 2


def test_modes_are_put_back():
    module = Small()
    module.features[1].eval()
    export(module, pl.randn(1, 1, 8, 8))
    assert module.training
    assert module.features[0].training
    assert not module.features[1].training


class Doubles(Pass):
    """A pass that changes numbers, as a broken one would."""

    name = "doubles"

    def run(self, model):
        value = model.graph.initializers["head.bias"]
        value.const_value = Tensor(value.const_value.numpy() * 2, name=value.name)
        return 1


def test_a_wrong_number_fails_and_names_the_place(tmp_path):
    with pytest.raises(
        VerifyError, match=r"differs from eager in output 'output'.*linear 'output' .head, .* is the first of"
    ) as caught:
        export(Small(), pl.randn(2, 1, 8, 8), dynamic={"image": {0: "batch"}}, passes=(Doubles(),))
    assert caught.value.exit_code == 1
    assert not caught.value.report.ok
    assert list(tmp_path.iterdir()) == []
    unchecked = export(Small(), pl.randn(2, 1, 8, 8), passes=(Doubles(),), verify=False)
    assert unchecked.report.rows == []


def test_save_is_atomic_and_checks_the_suffix(tmp_path, monkeypatch):
    exported = small()
    path = tmp_path / "model.pen"
    path.write_bytes(b"old")
    with pytest.raises(OptionError, match=r"\.onnx or \.pen"):
        exported.save(tmp_path / "model.txt")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(Exception, match="space"):
        exported.save(path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pen"]


def test_what_the_edge_lacks_is_still_an_onnx_file(tmp_path, monkeypatch):
    from penlight_export.edge import kernels

    table = {key: value for key, value in kernels.kernel_table().items() if key[1] not in ("Gemm", "FusedGemm", "MaxPool")}
    monkeypatch.setattr(kernels, "kernel_table", lambda: table)
    exported = small()
    assert exported.program is None
    assert exported.save(tmp_path / "model.onnx").stat().st_size > 1000
    with pytest.raises(UnsupportedOperatorsError) as caught:
        exported.save(tmp_path / "model.pen")
    assert "Gemm-13 (node 'head.linear' (head, " in str(caught.value)
    assert "MaxPool-12" in str(caught.value)
    assert "test_export.py:" in str(caught.value)
    assert any("not on the edge" in note for note in exported.report.notes)


def test_random_numbers_are_refused():
    with pytest.raises((TraceError, ExportError), match=r"random|dropout"):
        export(lambda x: F.dropout(x, 0.5, True), pl.ones(4))
