# SPDX-License-Identifier: Apache-2.0
"""Additions behind convolutions and products, and in front of normalisations, are done by the operator beside them."""

import numpy as np
import onnx
import pytest
from onnx_text import model_from_text, run_onnx

import penlight_runtime
from penlight_export import convert, passes, verify
from penlight_export import graph as g
from penlight_export.edge.reader import read_pen
from penlight_export.passes.fused_bodies import add_functions

RNG = np.random.default_rng(17)


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def inputs_of(proto, batch):
    """Random values for all inputs; named sizes are the batch."""
    shapes = {p.name: [d.dim_value or batch for d in p.type.tensor_type.shape.dim] for p in proto.graph.input}
    return {name: f32(*shape) for name, shape in shapes.items()}


def check(proto, each, tmp_path, batch=2):
    """The graph behind the pass, after onnxruntime has run its bodies and the edge runtime the .pen file of the same model."""
    inputs = inputs_of(proto, batch)
    expected = run_onnx(proto, inputs)
    model = g.from_proto(proto)
    g.infer_shapes(model)
    (result,) = passes.run_passes(model, (each,))
    plain = g.clone(model)
    add_functions(plain)
    g.inline_functions(plain)
    found = run_onnx(g.to_proto(plain), inputs)
    onnx.save(proto, tmp_path / "model.onnx")
    pen = convert(tmp_path / "model.onnx", tmp_path / "model.pen")
    assert pen.report.ok
    session = penlight_runtime.Program.open(pen.path).session()
    edge = session.run(inputs)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(edge[name], array, rtol=1e-4, atol=1e-4)
    return model, result.changes, pen


def fused(model):
    return [(node.op_type, node.overload) for node in model.graph if node.domain == g.FUSED_DOMAIN]


CONVOLUTIONS = [
    ("c = Conv<pads = [1, 1, 1, 1]>(x, w, b) y = Add(c, x)", "Residual"),
    ("c = Conv<pads = [1, 1, 1, 1]>(x, w) a = Add(x, c) y = Relu(a)", "ResidualRelu"),
    ("c = Conv<pads = [1, 1, 1, 1]>(x, w, b) a = Add(c, x) y = HardSwish(a)", "ResidualHardSwish"),
    ("c = Conv<pads = [1, 1, 1, 1]>(x, w, b) a = Add(c, x) y = Clip(a, low, high)", "ResidualClip"),
    ("c = Conv<pads = [1, 1, 1, 1], group = 8>(x, d, b) a = Add(c, x) y = Sigmoid(a)", "ResidualSigmoid"),
    ("c = Conv(x, p, b) y = Add(c, x)", "Residual"),
]
WEIGHTS = {
    "w": f32(8, 8, 3, 3), "d": f32(8, 1, 3, 3), "p": f32(8, 8, 1, 1), "b": f32(8),
    "low": np.float32(-0.5), "high": np.float32(1.5),
}  # fmt: skip


def with_weights(text, weights):
    words = set(text.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return model_from_text(text, weights={name: np.asarray(array) for name, array in weights.items() if name in words})


@pytest.mark.parametrize("size", [5, 16])
@pytest.mark.parametrize(("body", "overload"), CONVOLUTIONS)
def test_convolutions_take_the_residual(body, overload, size, tmp_path):
    proto = with_weights(f"g (float[n,8,{size},{size}] x) => (float[n,8,{size},{size}] y) {{ {body} }}", WEIGHTS)
    model, changes, pen = check(proto, passes.FuseResidual(), tmp_path)
    assert changes == 1
    assert fused(model) == [("FusedConv", overload)]
    assert pen.summary.operators == {"ai.penlight.FusedConv": 1}


def test_of_two_convolutions_one_takes_the_other(tmp_path):
    text = """g (float[n,8,6,6] x) => (float[n,8,6,6] y) {
        c = Conv<pads = [1, 1, 1, 1]>(x, w, b) e = Conv(x, p) a = Add(c, e) y = Relu(a) }"""
    model, changes, _ = check(with_weights(text, WEIGHTS), passes.FuseResidual(), tmp_path)
    assert changes == 1
    assert [node.op_type for node in model.graph] == ["Conv", "FusedConv"]


@pytest.mark.parametrize(("body", "overload"), [("y = Add(m, r)", "Residual"), ("a = Add(r, m) y = Relu(a)", "ResidualRelu")])
def test_matrix_products_take_the_residual(body, overload, tmp_path):
    text = f"g (float[n,6] x, float[n,8] r) => (float[n,8] y) {{ m = Gemm<beta = 0.5>(x, k, b) {body} }}"
    model, changes, pen = check(with_weights(text, {"k": f32(6, 8), "b": f32(8)}), passes.FuseResidual(), tmp_path)
    assert changes == 1
    assert fused(model) == [("FusedGemm", overload)]
    assert pen.summary.operators == {"ai.penlight.FusedGemm": 1}


KEPT = [
    ("float[n,8,6,6] x, float[1,8,1,1] r", "c = Conv<pads = [1, 1, 1, 1]>(x, w) y = Add(c, r)"),
    ("float[n,8,6,6] x, float[n,8,6,6] r", "c = Conv<pads = [1, 1, 1, 1]>(x, w) e = Exp(c) s = Add(c, r) y = Mul(e, s)"),
    ("float[n,8,6,6] x, float[n,8,6,6] r", "c = Conv<pads = [1, 1, 1, 1]>(x, w) y = Add(c, c)"),
    ("float[n,8,6,6] x, float[n,8,6,6] r", "c = Conv<pads = [1, 1, 1, 1]>(x, w) s = Sub(r, c) y = Relu(s)"),
]


@pytest.mark.parametrize(("head", "body"), KEPT)
def test_additions_of_other_shapes_or_with_other_readers_stay(head, body):
    proto = with_weights(f"g ({head}) => (float[n,8,6,6] y) {{ {body} }}", WEIGHTS)
    model = g.from_proto(proto)
    g.infer_shapes(model)
    assert passes.FuseResidual().run(model) == 0


NORMS = [
    ("y = LayerNormalization(s, w, b)", "Bias", "FusedLayerNormalization"),
    ("y = LayerNormalization<axis = 2, epsilon = 0.001>(s, w)", "", "FusedLayerNormalization"),
    ("n = LayerNormalization(s, w, b) e = Exp(s) y = Mul(n, e)", "BiasSum", "FusedLayerNormalization"),
    ("e = Exp(s) n = LayerNormalization(s, w) y = Mul(n, e)", "Sum", "FusedLayerNormalization"),
    ("y = RMSNormalization<epsilon = 0.01>(s, w)", "", "FusedRMSNormalization"),
]


@pytest.mark.parametrize("width", [7, 64])
@pytest.mark.parametrize(("body", "overload", "operator"), NORMS)
def test_normalisations_take_the_addition(body, overload, operator, width, tmp_path):
    text = f"g (float[n,3,{width}] x, float[n,3,{width}] r) => (float[n,3,{width}] y) {{ s = Add(x, r) {body} }}"
    proto = with_weights(text, {"w": f32(width), "b": f32(width)})
    proto.opset_import[0].version = 23
    model, changes, pen = check(proto, passes.FuseNorm(), tmp_path)
    assert changes == 1
    assert fused(model) == [(operator, overload)]
    assert pen.summary.operators[f"ai.penlight.{operator}"] == 1


def test_a_sum_that_is_an_output_keeps_its_name(tmp_path):
    text = "g (float[n,3,8] x, float[n,3,8] r) => (float[n,3,8] y, float[n,3,8] s) { s = Add(x, r) y = LayerNormalization(s, w) }"
    _, changes, pen = check(with_weights(text, {"w": f32(8)}), passes.FuseNorm(), tmp_path)
    assert changes == 1
    assert pen.summary.operators == {"ai.penlight.FusedLayerNormalization": 1}


@pytest.mark.parametrize("other", ["float[1,1,8] r", "float[n,3,1] r"])
def test_normalisations_of_broadcast_sums_stay(other):
    text = f"g (float[n,3,8] x, {other}) => (float[n,3,8] y) {{ s = Add(x, r) y = LayerNormalization(s, w) }}"
    model = g.from_proto(with_weights(text, {"w": f32(8)}))
    g.infer_shapes(model)
    assert passes.FuseNorm().run(model) == 0


@pytest.mark.parametrize("name", ["FusedLayerNormalization", "FusedConv"])
def test_written_files_say_what_they_compute(name, tmp_path):
    """`verify` and the onnxruntime engine read a .pen file back through the bodies."""
    if name == "FusedConv":
        text = "g (float[n,8,6,6] x) => (float[n,8,6,6] y) { c = Conv(x, p, b) a = Add(c, x) y = Relu(a) }"
    else:
        text = "g (float[n,3,8] x, float[n,3,8] r) => (float[n,3,8] y) { s = Add(x, r) m = LayerNormalization(s, v) y = Add(m, s) }"
    proto = with_weights(text, WEIGHTS | {"v": f32(8)})
    onnx.save(proto, tmp_path / "model.onnx")
    pen = convert(tmp_path / "model.onnx", tmp_path / "model.pen")
    assert f"ai.penlight.{name}" in pen.summary.operators
    assert verify(tmp_path / "model.onnx", pen.path, engines=("onnxruntime", "onnxruntime")).ok


def test_a_product_in_front_of_a_loop_stays_there(tmp_path):
    """In the body it would be computed once for each iteration."""
    ports = "(int64 i, bool on, float[2,8] v) => (bool go, float[2,8] next)"
    body = f"body = each {ports} {{ go = Identity(on) s = Add(c, v) next = Tanh(s) }}"
    text = f"g (float[2,8] x) => (float[2,8] y) {{ c = Gemm(x, w, b) y = Loop (n, go_on, x) <{body}> }}"
    given = {"w": f32(8, 8), "b": f32(8), "n": np.array(3), "go_on": np.array(True)}
    onnx.save(model_from_text(text, weights=given), tmp_path / "model.onnx")
    result = convert(tmp_path / "model.onnx", tmp_path / "model.pen")
    assert result.report.ok
    nodes = read_pen(tmp_path / "model.pen").methods[0].nodes
    assert [node.operator for node in nodes] == ["Gemm", "Loop"]
