# SPDX-License-Identifier: Apache-2.0
"""Attention that is written out becomes one operator, with masks, factors and heads in all their forms, and keeps its numbers."""

import numpy as np
import pytest
from onnx_text import model_from_text, run_onnx

from penlight_export import convert, passes
from penlight_export import graph as g

RNG = np.random.default_rng(5)
B, H, T, D = 2, 3, 5, 4
NUMBERS = {"scale": 0.5, "root": 2.0, "zero": 0.0, "hidden": -np.inf, "low": -1e9}
WEIGHTS = {
    **{name: np.array(number, np.float32) for name, number in NUMBERS.items()},
    "causal": np.tril(np.ones((T, T), bool)),
    "band": np.tri(T, T, 1, bool),
    "late": np.tri(T, T, -1, bool),
    "split": np.array([0, 0, H, D], np.int64),
    "joined": np.array([0, 0, H * D], np.int64),
}
SPLIT = "q0 = Reshape(q, split) k0 = Reshape(k, split) v0 = Reshape(v, split) " + (
    "qh = Transpose<perm = [0, 2, 1, 3]>(q0) vh = Transpose<perm = [0, 2, 1, 3]>(v0) kt = Transpose<perm = [0, 2, 3, 1]>(k0) "
)
HEADS = "kt = Transpose<perm = [0, 1, 3, 2]>(k) "
SOFTMAX = "p = Softmax<axis = -1>(s) "
GUARD = "w = Softmax<axis = -1>(s) n = IsNaN(w) p = Where(n, zero, w) "


def model_of(body, split=False, mask=""):
    shape = f"B,{T},{H * D}" if split else f"B,{H},{T},{D}"
    inputs = ", ".join(f"float[{shape}] {name}" for name in "qkv")
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    weights = {name: array for name, array in WEIGHTS.items() if name in words}
    return model_from_text(f"g ({inputs}{mask}) => (float[{shape}] y) {{ {body} }}", weights=weights)


def feed(split=False, **more):
    shape = (B, T, H * D) if split else (B, H, T, D)
    return {name: RNG.standard_normal(shape).astype(np.float32) for name in "qkv"} | more


def fused(proto):
    model = g.from_proto(proto)
    g.infer_shapes(model)
    model.graph.opset_imports[""] = 24
    passes.run_passes(model, (passes.FuseAttention(), passes.RemoveDeadCode()))
    return model, [node.op_type for node in model.graph]


@pytest.mark.parametrize(
    ("scores", "attributes"),
    [
        ("a = MatMul(q, kt) s = Mul(a, scale) " + SOFTMAX, {"scale": 0.5}),
        ("a = MatMul(q, kt) s = Div(a, root) " + SOFTMAX, {"scale": 0.5}),
        ("r = Mul(scale, q) s = MatMul(r, kt) " + SOFTMAX, {"scale": 0.5}),
        ("r = Div(q, root) u = Div(kt, root) s = MatMul(r, u) " + SOFTMAX, {"scale": 0.25}),
        ("s = MatMul(q, kt) " + SOFTMAX, {"scale": 1.0}),
        ("a = MatMul(q, kt) b = Mul(a, scale) s = Where(causal, b, hidden) " + SOFTMAX, {"scale": 0.5, "is_causal": 1}),
        ("a = MatMul(q, kt) s = Where(band, a, hidden) " + SOFTMAX, {"scale": 1.0}),  # every row sees the first key
        ("a = MatMul(q, kt) s = Where(late, a, hidden) " + GUARD, {"scale": 1.0}),
    ],
)
def test_heads_first(scores, attributes):
    proto = model_of(HEADS + scores + "y = MatMul(p, v)")
    model, operators = fused(proto)
    assert operators == ["Attention"]
    node = next(iter(model.graph))
    assert {name: g.find_attribute(node, name) for name in attributes} == attributes
    inputs = feed()
    np.testing.assert_allclose(run_onnx(g.to_proto(model), inputs)["y"], run_onnx(proto, inputs)["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", ["a = MatMul(qh, kt) s = Mul(a, scale) ", "r = Mul(qh, scale) s = MatMul(r, kt) "])
@pytest.mark.parametrize("join", ["o = Transpose<perm = [0, 2, 1, 3]>(m) y = Reshape(o, joined)"])
def test_split_heads_need_no_transposes(factor, join):
    proto = model_of(SPLIT + factor + SOFTMAX + "m = MatMul(p, vh) " + join, split=True)
    model, operators = fused(proto)
    assert operators == ["Attention"]
    node = next(iter(model.graph))
    assert (g.find_attribute(node, "q_num_heads"), g.find_attribute(node, "kv_num_heads")) == (H, H)
    inputs = feed(split=True)
    np.testing.assert_allclose(run_onnx(g.to_proto(model), inputs)["y"], run_onnx(proto, inputs)["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(T, T), (B, 1, T, T), (B, H, T, T)])
def test_an_added_mask_is_an_operand(shape):
    sizes = ",".join("B" if size == B else str(size) for size in shape)
    body = HEADS + "a = MatMul(q, kt) b = Mul(a, scale) s = Add(b, mask) " + SOFTMAX + "y = MatMul(p, v)"
    proto = model_of(body, mask=f", float[{sizes}] mask")
    model, operators = fused(proto)
    assert operators == ["Attention"]
    inputs = feed(mask=np.where(RNG.random(shape) < 0.3, -1e9, 0).astype(np.float32))
    np.testing.assert_allclose(run_onnx(g.to_proto(model), inputs)["y"], run_onnx(proto, inputs)["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "scores",
    [
        "a = MatMul(q, kt) s = Where(late, a, hidden) " + SOFTMAX,  # without the guard, a row that sees nothing would be NaN
        "a = MatMul(q, kt) b = Where(causal, a, low) s = Mul(b, scale) " + SOFTMAX,  # the factor scales the mask, too
        "a = MatMul(q, kt) s = Mul(a, scale) p = Softmax<axis = 2>(s) ",
        "a = MatMul(q, kt) s = Tanh(a) " + SOFTMAX,
        "a = MatMul(q, kt) e = Exp(a) s = Add(a, e) " + SOFTMAX,
    ],
)
def test_other_arithmetic_stays(scores):
    _, operators = fused(model_of(HEADS + scores + "y = MatMul(p, v)"))
    assert "Attention" not in operators


def test_a_mask_of_one_row_stays_in_onnx_files():
    """onnxruntime refuses it, although ONNX allows it; the edge runtime is tested below."""
    body = HEADS + "a = MatMul(q, kt) s = Add(a, mask) " + SOFTMAX + "y = MatMul(p, v)"
    assert "Attention" not in fused(model_of(body, mask=f", float[B,1,1,{T}] mask"))[1]


def test_probabilities_that_are_read_elsewhere_stay():
    body = HEADS + "s = MatMul(q, kt) " + SOFTMAX + "m = MatMul(p, v) n = MatMul(p, q) y = Add(m, n)"
    assert "Attention" not in fused(model_of(body))[1]


@pytest.mark.parametrize(("queries", "rows"), [(1, 1), (2, 2), (3, 1), (30, 30), (30, 1)])
def test_the_edge_agrees_for_few_and_many_queries(tmp_path, queries, rows):
    """One or two queries go row by row, more in blocks of 24."""
    proto = model_from_text(
        f"g (float[1,2,{queries},8] q, float[1,2,40,8] k, float[1,2,40,8] v, float[{rows},40] mask) "
        f"=> (float[1,2,{queries},8] y) {{ kt = Transpose<perm = [0, 1, 3, 2]>(k) a = MatMul(q, kt) b = Mul(a, scale) "
        "s = Add(b, mask) p = Softmax(s) y = MatMul(p, v) }",
        weights={"scale": WEIGHTS["scale"]},
    )
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    result = convert(tmp_path / "m.onnx", tmp_path / "m.pen")
    assert result.summary.operators == {"Attention": 1}
    assert max(row.max_abs for row in result.report.rows) < 1e-5
