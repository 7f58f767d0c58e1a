# SPDX-License-Identifier: Apache-2.0
"""Models with channels last, or with time first, lose the Transposes around every layer."""

import numpy as np
import onnx
import pytest
from onnx_text import model_from_text, run_onnx

import penlight_runtime
from penlight_export import convert, passes
from penlight_export import graph as g

RNG = np.random.default_rng(23)


def f32(*shape):
    return (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)


def check(proto, tmp_path, inputs, **options):
    """Operators of the .pen file, whose answers are those of onnxruntime on the original."""
    onnx.save(proto, tmp_path / "model.onnx")
    result = convert(tmp_path / "model.onnx", tmp_path / "model.pen", **options)
    assert result.report.ok
    found = penlight_runtime.Program.open(result.path).session().run(inputs)
    for name, expected in run_onnx(proto, inputs).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-4)
    return result.summary.operators


IN, OUT = "Transpose<perm = [0, 3, 1, 2]>", "Transpose<perm = [0, 2, 3, 1]>"


def layer(x, y, weight, attributes="pads = [1, 1, 1, 1]", activation=True):
    """What converters of TensorFlow write for a Conv2D, a BiasAdd and a Relu6."""
    conv = f"{y}i = {IN}({x}) {y}c = Conv<{attributes}>({y}i, {weight}) {y}o = {OUT}({y}c) "
    return conv + (f"{y}b = Add({y}o, {weight}b) {y} = Clip({y}b, low, high) " if activation else f"{y} = Add({y}o, {weight}b) ")


CHANNELS_LAST = (
    "g (float[n,16,16,3] image) => (float[n,5] y) { "
    + layer("image", "a", "w0", "strides = [2, 2], pads = [0, 0, 1, 1]")
    + layer("a", "b", "w1", "pads = [1, 1, 1, 1], group = 8")
    + layer("b", "c", "w2", "kernel_shape = [1, 1]", activation=False)
    + "r = Add(a, c) "
    + f"pi = {IN}(r) pp = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(pi) p = {OUT}(pp) "
    + "padded = Pad(p, around) "
    + layer("padded", "d", "w3", "kernel_shape = [3, 3]")
    + "e = Concat<axis = -1>(d, p) "
    + f"ni = {IN}(e) nb = BatchNormalization(ni, scale, shift, mean, variance) no = {OUT}(nb) s = Sigmoid(no) t = Mul(no, s) "
    + "m = ReduceMean<keepdims = 0>(t, spatial) o = MatMul(m, dense) y = Add(o, bias) }"
)


def channels_last():
    weights = {
        "w0": f32(8, 3, 3, 3), "w1": f32(8, 1, 3, 3), "w2": f32(8, 8, 1, 1), "w3": f32(6, 8, 3, 3),
        "w0b": f32(8), "w1b": f32(8), "w2b": f32(8), "w3b": f32(6), "dense": f32(14, 5), "bias": f32(5),
        "scale": 1 + f32(14), "shift": f32(14), "mean": f32(14), "variance": 1 + f32(14) ** 2,
        "low": np.float32(0), "high": np.float32(6), "around": np.array([0, 1, 1, 0, 0, 1, 1, 0]), "spatial": np.array([1, 2]),
    }  # fmt: skip
    return model_from_text(CHANNELS_LAST, 18, {name: np.asarray(array) for name, array in weights.items()})


def test_a_model_with_channels_last_keeps_one_transpose(tmp_path):
    proto = channels_last()
    found = check(proto, tmp_path, {"image": f32(2, 16, 16, 3)})
    assert sum(node.op_type == "Transpose" for node in proto.graph.node) == 12
    assert found.get("Transpose", 0) == 1  # of the image
    assert found["ai.penlight.FusedConv"] == 4
    assert sum(found.values()) <= 12


def attention(rows, swap):
    """PyTorch's nn.MultiheadAttention as TorchScript writes it, on (T, B, E), for an x that is (B, T, E) when `swap`."""
    return (
        ("h = Transpose<perm = [1, 0, 2]>(x) " if swap else "h = Identity(x) ")
        + "pm = MatMul(h, win) p = Add(bin, pm) ps = Reshape(p, three) pu = Unsqueeze(ps, zero) "
        "pt = Transpose<perm = [3, 1, 2, 0, 4]>(pu) pq = Squeeze(pt, three_) "
        + "".join(
            f"{n}g = Gather<axis = 0>(pq, i{k}) {n}r = Reshape({n}g, {rows}) {n}t = Transpose<perm = [1, 0, 2]>({n}r) "
            f"{n} = Reshape({n}t, heads) "
            for k, n in enumerate("qkv")
        )
        + "keys = Transpose<perm = [0, 1, 3, 2]>(k) qs = Mul(q, root) ks = Mul(keys, root) s = MatMul(qs, ks) "
        "a = Softmax<axis = -1>(s) o = MatMul(a, v) ot = Transpose<perm = [2, 0, 1, 3]>(o) of = Reshape(ot, flat) "
        "og = Gemm<transB = 1>(of, wout, bout) ob = Reshape(og, back) "
        + ("ox = Transpose<perm = [1, 0, 2]>(ob) " if swap else "ox = Identity(ob) ")
        + "y = Add(x, ox) "
    )


@pytest.mark.parametrize("swap", [True, False])
def test_attention_on_time_first_needs_no_transposes(swap, tmp_path):
    time, heads, size = 7, 3, 4
    width = heads * size
    shape = f"float[n,{time},{width}]" if swap else f"float[{time},n,{width}]"
    numbers = {
        "three": [0, 0, 3, width], "zero": [0], "three_": [3], "rows": [time, -1, size], "heads": [-1, heads, time, size],
        "flat": [-1, width], "back": [time, -1, width],
    }  # fmt: skip
    weights = {name: np.array(value, np.int64) for name, value in numbers.items()} | {f"i{k}": np.array(k) for k in range(3)}
    weights |= {
        "win": f32(width, 3 * width), "bin": f32(3 * width), "wout": f32(width, width), "bout": f32(width),
        "root": np.array(size**-0.25, np.float32),
    }  # fmt: skip
    proto = model_from_text(f"g ({shape} x) => ({shape} y) {{ {attention('rows', swap)} }}", 17, weights)
    found = check(proto, tmp_path, {"x": f32(2, time, width) if swap else f32(time, 2, width)})
    assert found["Attention"] == 1
    if swap:
        assert "Transpose" not in found
        assert found["ai.penlight.FusedMatMul"] == 4  # of queries, keys, values and the result
        assert sum(found.values()) <= 8


SWAP, SWAP4 = "Transpose<perm = [1, 0, 2]>", "Transpose<perm = [1, 0, 2, 3]>"
MOVES = [
    ("float[n,3,4] y", f"t = {SWAP}(x) m = MatMul(t, w) y = {SWAP}(m)", ["MatMul"]),
    ("float[n,3,2,2] y", f"t = {SWAP}(x) r = Reshape(t, split) y = {SWAP4}(r)", ["Reshape"]),
    ("float[n,3,1,4] y", f"t = {SWAP}(x) r = Unsqueeze(t, two) y = {SWAP4}(r)", ["Unsqueeze"]),
    ("float[1,n,3,4] y", f"t = {SWAP}(x) r = Unsqueeze(t, zero) y = Transpose<perm = [0, 2, 1, 3]>(r)", ["Unsqueeze"]),
    (
        "float[n,4] y",
        "t = Transpose<perm = [1, 2, 0]>(x) e = Gather<axis = 0>(t, second) y = Transpose<perm = [1, 0]>(e)",
        ["Gather"],
    ),
    ("float[n,4,3] y", "t = Transpose<perm = [0, 2, 1]>(x) y = MatMul(t, u)", ["Transpose", "MatMul"]),
    ("float[3,n,4] y", f"t = {SWAP}(x) y = MatMul(t, w)", ["MatMul", "Transpose"]),
    ("float[3,n,4] y, float[3,n,4] z", f"z = {SWAP}(x) y = MatMul(z, w)", ["Transpose", "MatMul"]),
]


@pytest.mark.parametrize(("results", "body", "operators"), MOVES)
def test_transposes_pass_linear_layers_and_parts(results, body, operators):
    known = {
        "w": f32(4, 4), "u": f32(3, 3), "split": np.array([3, -1, 2, 2]), "zero": np.array([0]), "two": np.array([2]),
        "second": np.array(1),
    }  # fmt: skip
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    weights = {name: array for name, array in known.items() if name in words}
    proto = model_from_text(f"g (float[n,3,4] x) => ({results}) {{ {body} }}", weights=weights)
    model = g.from_proto(proto)
    g.infer_shapes(model)
    passes.run_passes(model, (passes.FoldShapes(), passes.SinkTransposes(), passes.RemoveDeadCode()))
    assert [node.op_type for node in model.graph] == operators
    inputs = {"x": f32(2, 3, 4)}
    after = run_onnx(g.to_proto(model), inputs)
    for name, expected in run_onnx(proto, inputs).items():
        assert after[name].shape == expected.shape
        np.testing.assert_allclose(after[name], expected, rtol=1e-5, atol=1e-5)


REPEATED = [
    ("", "r = Relu(t)"),
    ("", "r = ReduceMax<keepdims = 0>(t, two)"),
    ("", "r = MatMul(t, w)"),
    ("", "r = Unsqueeze(t, two)"),
    ("", "p = Pad(t, amounts) r = Slice(p, zero, two, zero)"),
    ("", "r = Slice(t, zero, two, zero)"),
    ("e = Slice(t, zero, one, zero) ", "q = Gather(t, second) r = Mul(q, e)"),
    ("e = Relu(t) ", "q = Neg(t) r = Mul(q, e)"),
]


@pytest.mark.parametrize(("around", "inside"), REPEATED)
def test_transposes_stay_out_of_bodies(around, inside):
    """What a loop reads is put in order once, not in every iteration."""
    known = {
        "w": f32(4, 4), "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "second": np.array(1),
        "amounts": np.array([1, 0, 0, 0, 1, 0]),
    }  # fmt: skip
    words = set(f"{around} {inside}".replace("(", " ").replace(")", " ").replace(",", " ").split())
    weights = {name: array for name, array in known.items() if name in words} | {"n": np.array(3), "go": np.array(True)}
    step = f"o = Identity(c) {inside} f = ReduceMax<keepdims = 0>(r) u = Add(s, f)"
    body = f"body = b (int64 i, bool c, float s) => (bool o, float u) {{ {step} }}"
    text = f"g (float[5,3,4] x, float first) => (float y) {{ t = {SWAP}(x) {around}y = Loop (n, go, first) <{body}> }}"
    proto = model_from_text(text, weights=weights)
    model = g.from_proto(proto)
    g.infer_shapes(model)
    passes.run_passes(model, (passes.SinkTransposes(), passes.RemoveDeadCode()))
    (inner,) = (body for node in model.graph for body in g.bodies_of(node))
    assert [node.op_type for node in inner].count("Transpose") == 0
    assert [node.op_type for node in model.graph].count("Transpose") == 1
    inputs = {"x": f32(5, 3, 4), "first": np.array(2, np.float32)}
    np.testing.assert_allclose(run_onnx(g.to_proto(model), inputs)["y"], run_onnx(proto, inputs)["y"], rtol=1e-5)
