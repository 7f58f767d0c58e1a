# SPDX-License-Identifier: Apache-2.0
"""Files that are no models, and models that reach out of their folder, are refused with one clear error."""

import os

import numpy as np
import onnx
import pytest
from onnx_text import model_from_text, run_onnx

from penlight_export import graph as g
from penlight_export.errors import (
    ExportError,
    ExternalDataError,
    InvalidModelError,
    MissingFileError,
    UnsupportedOperatorsError,
    UnsupportedOpsetError,
)
from penlight_export.onnx.functions import expand_functions
from penlight_export.onnx.importer import load_onnx
from penlight_export.pipeline import edge_graph

WEIGHTS = {"w": np.arange(12, dtype=np.float32).reshape(4, 3)}


def small(**options):
    return model_from_text("g (float[N,4] x) => (float[N,3] y) { y = MatMul(x, w) }", weights=WEIGHTS, **options)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.onnx"
    path.write_bytes(small().SerializeToString())
    return path


def test_a_good_model_loads(good):
    model = load_onnx(good)
    assert [node.op_type for node in model.graph] == ["MatMul"]
    assert model.opset_imports == {"": 21}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello, this is no model at all", "is no ONNX model"),
        (b"PK\x03\x04....", "zip archive"),
        (b"<html></html>", "HTML"),
        (b'{"a": 1}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x5c\x00\x00\x00PEN1" + bytes(64), "is a .pen file"),
        (bytes(4096), "is no ONNX model"),
        (b"\x08\x0a", "no graph or no operator set"),
        (onnx.ModelProto(ir_version=10).SerializeToString(), "no graph or no operator set"),
    ],
)
def test_foreign_files(tmp_path, content, words):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidModelError, match=words) as caught:
        load_onnx(path)
    assert caught.value.exit_code == 3
    assert caught.value.code == "PL-E2002"
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "absent.onnx", tmp_path):
        with pytest.raises(MissingFileError, match=path.name):
            load_onnx(path)


def test_every_truncation_is_one_error(good, tmp_path):
    data = good.read_bytes()
    path = tmp_path / "cut.onnx"
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises((InvalidModelError, UnsupportedOpsetError)):
            load_onnx(path)


@pytest.mark.parametrize("opset", [6, 29])
def test_opset_range(tmp_path, opset):
    proto = small()
    proto.opset_import[0].version = opset
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(UnsupportedOpsetError, match=f"operator set {opset}.*expected 7 to 28"):
        load_onnx(path)


def test_unknown_operators_are_all_listed(tmp_path):
    proto = small()
    for number, name in enumerate(["Frobnicate", "Reticulate", "Frobnicate"]):
        proto.graph.node.append(onnx.helper.make_node(name, ["x"], [f"u{number}"], name=f"bad{number}"))
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(UnsupportedOperatorsError) as caught:
        load_onnx(path)
    message = str(caught.value)
    assert "Frobnicate (nodes 'bad0', 'bad2')" in message
    assert "Reticulate (node 'bad1')" in message
    assert caught.value.exit_code == 3


def test_rule_of_onnx_broken(tmp_path):
    proto = small()
    proto.graph.node[0].input[0] = "nowhere"
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidModelError, match="breaks a rule of ONNX"):
        load_onnx(path)


def external(folder, location="weights.bin", offset="0", length="48"):
    """A model whose weight points to `location`."""
    proto = small()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "model"
    inside.mkdir()
    for place in (inside, tmp_path):
        (place / "weights.bin").write_bytes(WEIGHTS["w"].tobytes())
    return inside


def test_external_data_inside_the_folder(folder, monkeypatch):
    path = external(folder)
    model = load_onnx(path)
    np.testing.assert_array_equal(g.constant_of(model.graph.initializers["w"]), WEIGHTS["w"])
    monkeypatch.chdir(folder)  # a bare file name must not switch the checks off
    model = load_onnx("model.onnx")
    assert model.graph.initializers["w"].const_value.base_dir == os.fspath(folder)
    np.testing.assert_array_equal(g.constant_of(model.graph.initializers["w"]), WEIGHTS["w"])


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("../weights.bin", "leaves the model's folder"),
        ("a/../../weights.bin", "leaves the model's folder"),
        ("/etc/passwd", "no relative path"),
        ("C:\\weights.bin", "no relative path"),
        ("..\\weights.bin", "no relative path"),
        ("", "no relative path"),
        ("absent.bin", "cannot be read"),
        (".", "no regular file"),
        ("symlink.bin", "a link that leaves"),
        ("linked/weights.bin", "a link that leaves"),
        ("hard.bin", "hard links"),
        ("loop.bin", "cannot be read"),
    ],
)
def test_external_data_escapes(folder, location, words):
    outside = folder.parent / "weights.bin"
    (folder / "symlink.bin").symlink_to(outside)
    (folder / "linked").symlink_to(folder.parent)
    (folder / "loop.bin").symlink_to(folder / "loop.bin")
    os.link(outside, folder / "hard.bin")
    with pytest.raises(ExternalDataError, match=words) as caught:
        load_onnx(external(folder, location))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("offset", "length", "words"),
    [
        ("0", "47", "needs 48 bytes"),
        ("4", "48", "truncated"),
        ("-1", "48", "offset '-1'"),
        ("0", "1e3", "length '1e3'"),
        ("9" * 30, "48", "offset"),
    ],
)
def test_external_data_lengths(folder, offset, length, words):
    with pytest.raises(ExternalDataError, match=words):
        load_onnx(external(folder, offset=offset, length=length))


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("y = Gelu(x)", "Gelu"),
        ("y = LayerNormalization(x, s, b)", "LayerNormalization"),
        ("z = Celu(x) y = Elu(z)", "Celu"),
        ("y = HardSwish(x)", "HardSwish"),
    ],
)
def test_operators_without_kernel_become_their_bodies(body, name):
    weights = {"s": np.full(4, 2, np.float32), "b": np.ones(4, np.float32)} if "s," in body else {}
    proto = model_from_text(f"g (float[N,4] x) => (float[N,4] y) {{ {body} }}", weights=weights)
    x = {"x": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}
    model = expand_functions(g.from_proto(proto), lambda domain, operator, version: operator not in (name, "CastLike"))
    assert name not in {node.op_type for node in model.graph}
    assert set(model.graph.initializers) == set(weights)
    np.testing.assert_allclose(run_onnx(g.to_proto(model), x)["y"], run_onnx(proto, x)["y"], atol=2e-6)


def test_local_functions_are_inlined():
    proto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21, "mine" : 1]>
           g (float[N,4] x) => (float[N,4] y) { y = mine.Twice <factor = 3.0> (x) }
           <domain: "mine", opset_import: ["" : 21]>
           Twice <factor> (a) => (c) { f = Constant <value_float: float = @factor> () b = Mul(a, f) c = Add(b, b) }"""
    )
    model = expand_functions(g.from_proto(proto), lambda *_: True)
    assert [node.op_type for node in model.graph] == ["Constant", "Mul", "Add"]
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(run_onnx(g.to_proto(model), {"x": x})["y"], 6 * x)


def test_damaged_models_are_refused_or_read(tmp_path):
    """Random bytes in a model: whatever happens, it is an error of ours."""
    weights = {"k": np.ones((2, 1, 3, 3), np.float32), "s": np.array([0, -1], np.int64)}
    body = "a = Conv<pads = [1, 1, 0, 0]>(x, k) b = Relu(a) c = MaxPool<kernel_shape = [2, 2]>(b) y = Reshape(c, s)"
    good = model_from_text(f"g (float[N,1,4,4] x) => (float[N,8] y) {{ {body} }}", weights=weights).SerializeToString()
    rng = np.random.default_rng(0)
    path = tmp_path / "model.onnx"
    outcomes = set()
    for _ in range(500):
        data = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(data)
        try:
            edge_graph(load_onnx(path), "model")
            outcomes.add("read")
        except ExportError as error:
            outcomes.add(type(error).__name__)
    assert {"read", "InvalidModelError", "UnsupportedOperatorsError"} <= outcomes
