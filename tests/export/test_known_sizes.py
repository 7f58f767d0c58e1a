# SPDX-License-Identifier: Apache-2.0
"""Sizes are followed in names and sums of names: what is known becomes constant, equal vectors are computed once."""

import numpy as np
import pytest
from onnx_text import model_from_text, run_onnx

from penlight_export import graph as g
from penlight_export import passes

RNG = np.random.default_rng(17)
INTEGERS = {
    "zero": 0, "one": 1, "two": 2, "zero1": [0], "one1": [1], "two1": [2], "last": [-1], "all": [2**62], "rest": [-1, -1],
    "ones": [1, 1, 1], "minus": [-1, -1, -1], "heads": [2, 4], "wide": [8], "hidden": [-1],
}  # fmt: skip


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def folded(body, inputs, **weights):
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    integers = {name: np.array(number, np.int64) for name, number in INTEGERS.items() if name in words}
    proto = model_from_text(body, weights=integers | {name: array for name, array in weights.items() if name in words})
    model = g.from_proto(proto)
    g.infer_shapes(model)
    passes.run_passes(model, (passes.FoldShapes(), passes.FoldConstants(), passes.RemoveIdentities(), passes.MergeCommon()))
    after = run_onnx(g.to_proto(model), inputs)
    for name, array in run_onnx(proto, inputs).items():
        np.testing.assert_array_equal(after[name], array)
    return model


def operators(model):
    return [node.op_type for node in model.graph]


def shape_behind(model, operator):
    value = next(node for node in model.graph if node.op_type == operator).outputs[0]
    return [size if isinstance(size, int) else size.value for size in value.shape]


def test_a_token_for_each_image():
    """What PyTorch writes for token.expand(n, -1, -1) and torch.cat: the sizes behind it are known."""
    body = """g (float[N,3,8] x) => (float[N,M,8] y) {
        s = Shape(x) n = Gather(s, zero) v = Unsqueeze(n, zero1) w = Concat<axis = 0>(v, rest)
        e = Equal(w, minus) c = Where(e, ones, w) t = Expand(token, c) a = Concat<axis = 1>(t, x) y = Relu(a) }"""
    model = folded(body, {"x": f32(5, 3, 8)}, token=f32(1, 1, 8))
    assert shape_behind(model, "Expand") == ["N", 1, 8]
    assert shape_behind(model, "Concat") != []
    assert shape_behind(model, "Relu") == ["N", "M", 8]  # an output keeps its names
    assert "Equal" not in operators(model)


def test_a_factor_from_the_width_of_the_heads_is_constant():
    body = """g (float[N,T,8] x) => (float[N,A,B,C] y) {
        s = Shape(x) n = Slice(s, zero1, two1) h = Concat<axis = 0>(n, heads) r = Reshape(x, h) p = Shape(r)
        d = Slice(p, last, all) f = Cast<to = 1>(d) q = Sqrt(f) y = Div(r, q) }"""
    model = folded(body, {"x": f32(2, 5, 8)})
    assert operators(model) == ["Reshape", "Div"]
    assert g.constant_of(next(iter(model.graph)).inputs[1]).tolist() == [0, 0, 2, 4]


def test_a_cache_grows_by_the_new_part():
    """past + time - time is past; the second vector of equal sizes reads the first."""
    body = """g (float[N,P,8] past, float[N,T,8] x) => (int64 a, int64 b, float[Q] y) {
        k = Concat<axis = 1>(past, x) s = Shape(k) l = Gather(s, one) u = Shape(x) t = Gather(u, one) a = Sub(l, t)
        k2 = Concat<axis = 1>(past, x) m = Relu(k2) s2 = Shape(m) l2 = Gather(s2, one) d = Sub(l2, t) b = Add(d, one)
        o = Unsqueeze(d, zero1) c = Unsqueeze(l2, zero1) y = Slice(table, o, c) }"""
    model = folded(body, {"past": f32(2, 3, 8), "x": f32(2, 4, 8)}, table=f32(100))
    assert operators(model).count("Sub") == 1
    assert "Relu" not in operators(model)


def test_a_slice_may_be_cut():
    """table[:n] has n entries only where the table is long enough."""
    body = """g (float[N] x, float[4] table) => (int64[1] y) {
        s = Shape(x) t = Slice(table, zero1, s) y = Shape(t) }"""
    assert operators(folded(body, {"x": f32(9), "table": f32(4)})) == ["Shape", "Slice", "Shape"]


def test_sizes_without_a_name_are_different_ones():
    body = """g (float[?,8] a, float[?,8] b) => (int64[2] y, int64[2] z) { y = Shape(a) z = Shape(b) }"""
    proto_sizes = {"a": f32(2, 8), "b": f32(3, 8)}
    model = folded(body.replace("?,8", "N,8").replace("float[N,8] b", "float[M,8] b"), proto_sizes)
    for value in model.graph.inputs:
        value.shape = g.Shape(["?", 8])
    passes.run_passes(model, (passes.FoldShapes(),))
    assert operators(model) == ["Shape", "Shape"]


@pytest.mark.parametrize(("sizes", "after"), [((2, 4, 6), [0, 0, -1]), ((1, 1, 3), [0, 0, -1])])
def test_products_of_names_divide(sizes, after):
    """(N * 2, T, 4) back to (N, T, 8): -1 stands for N."""
    body = """g (float[N,T,H] x) => (float[N2,T2,H2] y) {
        s = Shape(x) n = Gather(s, zero1) t = Gather(s, one1) w = Concat<axis = 0>(n, t, hidden) y = Reshape(x, w) }"""
    model = folded(body, {"x": f32(*sizes)})
    assert operators(model) == ["Reshape"]
    assert g.constant_of(next(iter(model.graph)).inputs[1]).tolist() == after


CAUSAL = {"first": np.tril(np.ones((1, 1, 16, 16), bool)), "second": np.tril(np.ones((1, 1, 16, 16), bool), -1)}


@pytest.mark.parametrize(("mask", "start", "found"), [("first", "zero1", 1), ("second", "zero1", 0), ("first", "one1", 0)])
def test_rows_of_a_triangle_mask_attention(mask, start, found):
    """A mask in which every row sees the first key needs no guard; one that may hide a whole row does."""
    body = f"""g (float[1,2,T,4] q, float[1,2,S,4] k, float[1,2,S,4] v) => (float[1,2,T,4] y) {{
        a = Shape(k) s = Gather(a, two) b = Shape(q) t = Gather(b, two) d = Sub(s, t)
        d1 = Unsqueeze(d, zero1) s1 = Unsqueeze(s, zero1) r = Slice({mask}, d1, s1, two1, one1)
        s2 = Add(s1, {start}) m = Slice(r, {start}, s2, last, one1)
        kt = Transpose<perm = [0, 1, 3, 2]>(k) p = MatMul(q, kt) w = Where(m, p, low)
        f = Softmax<axis = -1>(w) y = MatMul(f, v) }}"""
    words = {mask: CAUSAL[mask], "low": np.array(-3e38, np.float32)}
    integers = {name: np.array(INTEGERS[name], np.int64) for name in ("zero1", "one1", "two1", "two", "last")}
    proto = model_from_text(body, weights=words | integers)
    model = g.from_proto(proto)
    g.infer_shapes(model)
    model.graph.opset_imports[""] = 24
    passes.run_passes(model, (passes.FoldShapes(), passes.FuseAttention(), passes.RemoveDeadCode()))
    assert operators(model).count("Attention") == found
    feed = {"q": f32(1, 2, 3, 4), "k": f32(1, 2, 5, 4), "v": f32(1, 2, 5, 4)}
    np.testing.assert_allclose(run_onnx(g.to_proto(model), feed)["y"], run_onnx(proto, feed)["y"], rtol=1e-5, atol=1e-5)


def test_an_unsqueeze_that_is_taken_back():
    body = "g (float[N,4] x) => (float[N,4] y) { a = Unsqueeze(x, one1) b = Squeeze(a, one1) y = Relu(b) }"
    model = folded(body, {"x": f32(3, 4)})
    assert operators(model)[-1] == "Relu"
    assert "Squeeze" not in operators(model)


@pytest.mark.parametrize(
    "body",
    [
        "y = Slice(x, zero1, one1, two1)",
        "a = Squeeze(x) b = ReduceSum<keepdims = 0>(a) y = Concat<axis = 0>(b, b)",
    ],
)
def test_axes_that_are_not_there_are_left_to_the_runtime(body):
    words = {name: np.array(number, np.int64) for name, number in INTEGERS.items() if f" {name}" in body.replace("(", " ")}
    model = g.from_proto(model_from_text(f"g (float[4] x) => (float[n] y) {{ {body} }}", weights=words))
    before = operators(model)
    g.infer_shapes(model)
    passes.run_passes(model, (passes.FoldShapes(),))
    assert operators(model) == before
