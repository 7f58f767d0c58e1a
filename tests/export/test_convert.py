# SPDX-License-Identifier: Apache-2.0
"""Models of any exporter on the edge runtime: opsets, functions, weights beside the file, errors that list everything."""

import json
import sys

import numpy as np
import onnx
import pytest
from onnx_text import model_from_text, run_onnx

import penlight_runtime
from penlight_export import UnsupportedFeatureError, UnsupportedOperatorsError, VerifyError, convert, summarize
from penlight_export.errors import EngineError, OptionError
from penlight_export.graph import Tensor
from penlight_export.pipeline import edge_graph

RNG = np.random.default_rng(5)


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def write(tmp_path, proto, name="model.onnx"):
    path = tmp_path / name
    path.write_bytes(proto.SerializeToString())
    return path


def converted(tmp_path, proto, **options):
    result = convert(write(tmp_path, proto), tmp_path / "model.pen", **options)
    return result, penlight_runtime.Program.open(result.path).session()


def test_a_model_with_a_dynamic_batch(tmp_path):
    proto = model_from_text(
        """g (float[N,4] x) => (float[N,8] y) { m = MatMul(x, w) a = Add(m, b) y = Relu(a) }""",
        weights={"w": f32(4, 8), "b": f32(8)},
    )
    result, session = converted(tmp_path, proto)
    assert result.report.ok
    assert {row.sizes["N"] for row in result.report.rows} == {2, 3}
    assert result.summary.operators == {"ai.penlight.FusedGemm": 1}
    for size in (1, 5, 64):
        x = f32(size, 4)
        np.testing.assert_allclose(session.run({"x": x})["y"], run_onnx(proto, {"x": x})["y"], atol=1e-6)
    assert json.loads(json.dumps(result.to_json()))["report"]["ok"]


CASES = [
    (7, "y = Clip<min = -0.5, max = 0.5>(x)"),
    (8, "a = Softmax<axis = 1>(x) y = Neg(a)"),
    (12, "a = Softmax<axis = 2>(x) y = Neg(a)"),
    (13, "a = LogSoftmax<axis = 1>(x) y = Neg(a)"),
    (11, "a = Unsqueeze<axes = [0]>(x) b = Squeeze<axes = [0]>(a) y = Neg(b)"),
    (13, "a = Unsqueeze(x, zero) b = Squeeze(a, zero) y = Neg(b)"),
    (9, "a = Slice<axes = [1], starts = [1], ends = [3]>(x) y = Neg(a)"),
    (13, "a = Slice(x, one, two) y = Neg(a)"),
    (10, "a = Pad<pads = [0, 1, 0, 0, 0, 2]>(x) y = Neg(a)"),
    (11, "y = ReduceSum<axes = [1], keepdims = 0>(x)"),
    (17, "y = ReduceMean<axes = [-1]>(x)"),
    (18, "y = ReduceMean(x, one)"),
    (7, "d = Dropout(x) y = Neg(d)"),
    (13, "a = Transpose<perm = [0, 2, 1]>(x) y = Neg(a)"),
    (8, "a = Flatten(x) y = Neg(a)"),
    (17, "s, t = Split<axis = 2>(x, parts) y = Sub(s, t)"),
    (18, "s, t = Split<axis = 2, num_outputs = 2>(x) y = Sub(s, t)"),
    (20, "y = Gelu(x)"),
    (14, "y = HardSwish(x)"),
    (17, "y = LayerNormalization(x, scale, shift)"),
    (21, "a = Mish(x) y = Neg(a)"),
    (23, "y = RMSNormalization(x, scale)"),
    (24, "y = Swish(x)"),
]


@pytest.mark.parametrize(("opset", "body"), CASES, ids=[f"{opset}-{body}" for opset, body in CASES])
def test_opset_variants(tmp_path, opset, body):
    weights = {
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "parts": np.array([3, 3], np.int64),
        "scale": f32(6),
        "shift": f32(6),
    }
    used = {name: array for name, array in weights.items() if f"{name})" in body or f"{name}," in body}
    proto = model_from_text(f"g (float[N,4,6] x) => (float y) {{ {body} }}", opset, used)
    proto = onnx.shape_inference.infer_shapes(_without_output_shape(proto))
    result, session = converted(tmp_path, proto)
    x = f32(3, 4, 6)
    assert result.report.ok
    np.testing.assert_allclose(session.run({"x": x})["y"], run_onnx(proto, {"x": x})["y"], rtol=1e-5, atol=1e-5)


def _without_output_shape(proto):
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    return proto


def test_all_missing_operators_are_listed(tmp_path):
    """Operators of somebody else's domain: no release of the runtime has kernels for them."""
    proto = model_from_text("g (float[N,4] x) => (float[N,4] y) { a = Exp(x) b = Add(x, a) c = Log(b) y = Add(c, a) }")
    proto.opset_import.append(onnx.helper.make_opsetid("example.com", 1))
    for number, name in ((0, "Whiten"), (2, "Blacken")):
        node = proto.graph.node[number]
        node.op_type, node.domain, node.name = name, "example.com", f"node{number}"
    with pytest.raises(UnsupportedOperatorsError) as caught:
        convert(write(tmp_path, proto), tmp_path / "model.pen")
    for text in ("example.com.Whiten-1 (node 'node0')", "example.com.Blacken-1 (node 'node2')"):
        assert text in str(caught.value)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "model.pen").exists()


def test_unsupported_types_are_named(tmp_path):
    proto = model_from_text("g (float16[2] x, complex64[2] z) => (float16[2] y) { y = Neg(x) }")
    with pytest.raises(UnsupportedFeatureError, match="'z' has element type complex64"):
        convert(write(tmp_path, proto), tmp_path / "model.pen")


def test_weights_beside_the_file(tmp_path):
    proto = model_from_text("g (float[N,64] x) => (float[N,64] y) { y = MatMul(x, w) }", weights={"w": f32(64, 64)})
    path = tmp_path / "model.onnx"
    onnx.save_model(proto, path, save_as_external_data=True, location="model.weights", size_threshold=0)
    result = convert(path, tmp_path / "model.pen")
    assert result.report.ok
    assert result.summary.weight_bytes >= 64 * 64 * 4


def test_integer_inputs_stay_in_the_table(tmp_path):
    proto = model_from_text("g (int64[N,T] tokens) => (float[N,T,3] y) { y = Gather(table, tokens) }", weights={"table": f32(7, 3)})
    result, session = converted(tmp_path, proto)
    assert result.report.ok
    assert session.run({"tokens": np.array([[6, 0]])})["y"].shape == (1, 2, 3)


def test_sizes_that_a_model_refuses_are_replaced(tmp_path):
    """Pooling three times needs an image of at least 8 x 8."""
    body = (
        "a = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) b = MaxPool<kernel_shape = [4, 4], strides = [4, 4]>(a) y = Neg(b)"
    )
    proto = model_from_text(f"g (float[N,1,H,W] x) => (float[N,1,A,B] y) {{ {body} }}")
    result, session = converted(tmp_path, proto)
    assert result.report.ok
    assert session.run({"x": f32(1, 1, 40, 24)})["y"].shape == (1, 1, 5, 3)


def test_data_of_the_caller(tmp_path):
    proto = model_from_text("g (float[2,3] x) => (float[2,3] y) { y = Tanh(x) }")
    result, _ = converted(tmp_path, proto, data={"x": f32(2, 3)})
    assert len(result.report.rows) == 1
    with pytest.raises(OptionError, match="lacks the inputs x"):
        convert(tmp_path / "model.onnx", tmp_path / "model.pen", data={"wrong": f32(2, 3)})


def test_same_file_same_bytes(tmp_path):
    proto = model_from_text("g (float[N,4] x) => (float[N,8] y) { a = MatMul(x, w) y = Relu(a) }", weights={"w": f32(4, 8)})
    path = write(tmp_path, proto)
    first = convert(path, tmp_path / "a.pen").path.read_bytes()
    assert convert(path, tmp_path / "b.pen").path.read_bytes() == first


def test_a_difference_writes_nothing(tmp_path, monkeypatch):
    """A kernel that disagrees with onnxruntime: here the converter itself is broken on purpose."""

    def broken(model, where, *rest, **options):
        edge = edge_graph(model, where, *rest, **options)
        value = edge.graph.initializers["b"]
        value.const_value = Tensor(value.const_value.numpy() + 1, name="b")
        return edge

    monkeypatch.setattr(sys.modules["penlight_export.edge.foreign"], "edge_graph", broken)
    proto = model_from_text("g (float[N,4] x) => (float[N,4] y) { a = Tanh(x) c = Add(a, b) y = Relu(c) }", weights={"b": f32(4)})
    with pytest.raises(VerifyError, match="Add 'c' is the first of"):
        convert(write(tmp_path, proto), tmp_path / "model.pen")
    assert not (tmp_path / "model.pen").exists()


def test_wrong_suffix(tmp_path):
    with pytest.raises(OptionError, match=r"ends in \.pen"):
        convert(tmp_path / "model.onnx", tmp_path / "model.bin")


def test_summary_of_both_formats(tmp_path):
    proto = model_from_text("g (float[N,4] x) => (float[N,8] y) { a = MatMul(x, w) y = Relu(a) }", weights={"w": f32(4, 8)})
    convert(write(tmp_path, proto), tmp_path / "model.pen")
    for suffix, extra in ((".onnx", 0), (".pen", 1)):
        summary = summarize(tmp_path / f"model{suffix}")
        assert summary.parameters == 32
        assert [(p.name, str(p.dtype), p.shape) for p in summary.inputs] == [("x", "float32", ("N", 4))]
        assert summary.format == suffix[1:]
        assert sum(summary.operators.values()) == 2 - extra  # one fused node in the .pen file
        assert (summary.arena_bytes is not None) == bool(extra)
        assert json.loads(json.dumps(summary.to_json()))["parameters"] == 32
        assert "MatMul" in summary.to_text()
    with pytest.raises(OptionError, match="suffix"):
        summarize(tmp_path / "model.txt")


@pytest.mark.parametrize(
    ("size", "start"), [("2", "onnxruntime failed"), ("n", "no sizes of the varying dimensions were accepted")]
)
def test_a_model_that_never_runs_says_why(size, start, tmp_path):
    """Sizes are to blame only where some vary."""
    text = f"g (float[{size},3] x) => (float[a,b] y) {{ y = Reshape(x, shape) }}"
    proto = model_from_text(text, weights={"shape": np.array([7, 11], np.int64)})
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(EngineError, match=f"^{start}"):
        convert(tmp_path / "m.onnx", tmp_path / "m.pen")
