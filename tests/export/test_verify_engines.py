# SPDX-License-Identifier: Apache-2.0
"""Any two of {module, .onnx, .pen} on any two of {eager, onnxruntime, edge, reference}."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_text import model_from_text

import penlight as pl
import penlight.nn as nn
from penlight.nn import functional as F
from penlight_export import Method, convert, export, export_methods, verify
from penlight_export.edge.original import original_model
from penlight_export.edge.reader import read_pen
from penlight_export.errors import OptionError, UnsupportedOperatorsError
from penlight_export.graph import to_proto

FILE_ENGINES = ("eager", "onnxruntime", "edge", "reference")


class Net(nn.Module):
    """Fused convolution, fused products with bias, activation and residual, and a softmax."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        y = F.hardtanh(self.conv(x), -0.5, 0.5).mean((2, 3)).unsqueeze(1)
        y = y + self.first(y)
        return F.softmax(F.gelu(self.second(y)), -1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    pl.manual_seed(0)
    folder, module = tmp_path_factory.mktemp("verify"), Net().eval()
    exported = export(module, (pl.randn(2, 2, 5, 5),), dynamic={"x": {0: "batch", 2: "height"}})
    return module, exported.save(folder / "net.onnx"), exported.save(folder / "net.pen")


def test_the_program_is_fused(files):
    domains = {node.operator.rpartition(".")[0] for node in read_pen(files[2]).methods[0].nodes}
    assert "ai.penlight" in domains


@pytest.mark.parametrize(("a", "b"), list(itertools.combinations_with_replacement(FILE_ENGINES, 2)))
def test_any_two_engines_on_files(files, a, b):
    _, graph, program = files
    report = verify(graph, program, engines=(a, b))
    assert report.ok, report.to_text()
    assert len({row.sizes["batch"] for row in report.rows}) > 1


@pytest.mark.parametrize("engine", FILE_ENGINES)
def test_a_module_against_a_program(files, engine):
    module, _, program = files
    assert verify(module, program, engines=(None, engine)).ok


@pytest.mark.parametrize("engines", [("eager", "onnxruntime"), ("edge", "eager"), ("onnxruntime", "edge")])
def test_the_layer_that_differs_is_named(files, engines, tmp_path):
    _, graph, _ = files
    proto = onnx.load(graph)
    bias = next(each for each in proto.graph.initializer if each.name == "first.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 0.25, bias.name))
    onnx.save(proto, tmp_path / "other.onnx")
    report = verify(graph, tmp_path / "other.onnx", engines=engines)
    assert not report.ok
    assert report.divergence is not None
    assert "first" in report.divergence.module_path or report.divergence.operator == "Add"  # the edge adds the bias in one node
    assert report.divergence.max_abs == pytest.approx(0.25, abs=1e-4)


def test_control_flow_comes_back(tmp_path):
    model = model_from_text("""f (float[n] x, int64 count) => (float[n] y, float[k, n] rows) {
        yes = Constant <value = bool {1}> ()
        y, rows = Loop (count, yes, x) <body = b (int64 i, bool go, float[n] v) => (bool more, float[n] w, float[n] row) {
            more = Identity (go)
            half = Constant <value = float {0.5}> ()
            small = Mul (v, half)
            w = Add (small, x)
            row = Neg (w)
        }>
    }""")
    onnx.save(model, tmp_path / "loop.onnx")
    convert(tmp_path / "loop.onnx", tmp_path / "loop.pen", data={"x": np.ones(3, np.float32), "count": np.array(3)})
    data = {"x": np.array([1, 2, 3], np.float32), "count": np.array(4)}
    for engine in FILE_ENGINES:
        assert verify(tmp_path / "loop.onnx", tmp_path / "loop.pen", data, engines=("onnxruntime", engine)).ok
    proto = to_proto(original_model(read_pen(tmp_path / "loop.pen"), "forward"))
    onnx.checker.check_model(proto)
    onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


class Two(nn.Module):
    """Two methods that share a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(pl.randn(3, 3))

    def encode(self, x):
        return pl.tanh(x @ self.weight)

    def decode(self, code):
        return code @ self.weight.T


def two_methods(path, module):
    inputs = {"encode": "x", "decode": "code"}
    methods = {
        name: Method(getattr(module, name), (pl.randn(2, 3),), dynamic={label: {0: "batch"}}) for name, label in inputs.items()
    }
    return export_methods(methods).save(path)


def test_every_method_is_compared(tmp_path):
    pl.manual_seed(1)
    module = Two().eval()
    first = two_methods(tmp_path / "first.pen", module)
    assert {row.reference for row in verify(first, first).rows} == {
        f"edge of the first first.pen {name}" for name in ("encode", "decode")
    }
    report = verify(module, first)
    assert report.ok
    assert {row.reference for row in report.rows} == {"eager encode", "eager decode"}
    assert verify(first, first, {"code": np.ones((4, 3), np.float32)}).ok

    class Changed(Two):
        def decode(self, code):
            return super().decode(code) * 1.5

    other = Changed()
    other.load_state_dict(module.state_dict())
    report = verify(first, two_methods(tmp_path / "second.pen", other.eval()))
    assert {row.reference.split()[-1] for row in report.rows if not row.ok} == {"decode"}
    assert report.divergence is not None


def test_methods_must_have_the_same_names(tmp_path):
    pl.manual_seed(1)
    module = Two().eval()
    first = two_methods(tmp_path / "first.pen", module)
    methods = {name: Method(module.encode, (pl.randn(2, 3),)) for name in ("encode", "other")}
    second = export_methods(methods).save(tmp_path / "second.pen")
    with pytest.raises(OptionError, match="different methods: encode, decode against encode, other"):
        verify(first, second)


def test_a_file_of_one_graph_is_compared_with_the_method_that_takes_its_inputs(tmp_path):
    pl.manual_seed(1)
    module = Two().eval()
    first = two_methods(tmp_path / "first.pen", module)
    graph = export(module.decode, (pl.randn(2, 3),), dynamic={"code": {0: "batch"}}).save(tmp_path / "decode.onnx")
    assert verify(graph, first).ok


def test_operators_of_the_edge_alone_are_listed(tmp_path):
    model = model_from_text(
        """f (float[n, 2] x) => (float[n, 1] y) { y = ai.onnx.ml.TreeEnsembleRegressor <n_targets = 1, nodes_treeids = [0, 0, 0],
        nodes_nodeids = [0, 1, 2], nodes_featureids = [0, 0, 0], nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values = [0.5, 0.0, 0.0], nodes_truenodeids = [1, 0, 0], nodes_falsenodeids = [2, 0, 0],
        nodes_missing_value_tracks_true = [0, 0, 0], nodes_hitrates = [1.0, 1.0, 1.0],
        target_treeids = [0, 0], target_nodeids = [1, 2], target_ids = [0, 0], target_weights = [1.0, 2.0]> (x) }""",
        domains=', "ai.onnx.ml" : 3',
    )
    onnx.save(model, tmp_path / "tree.onnx")
    convert(tmp_path / "tree.onnx", tmp_path / "tree.pen")
    with pytest.raises(UnsupportedOperatorsError, match=r"no form of ai.penlight.TreeEnsemble \(node 'y'"):
        verify(tmp_path / "tree.pen", tmp_path / "tree.pen", engines=("edge", "onnxruntime"))
