# SPDX-License-Identifier: Apache-2.0
"""Every pass keeps the numbers, does what its name says, and runs in linear time."""

import itertools
import sys

import numpy as np
import onnx
import pytest
from onnx_text import model_from_text, run_onnx

from penlight_export import graph as g
from penlight_export import passes
from penlight_export.errors import OptionError, PassError
from penlight_export.passes.base import Pass, check_graph
from penlight_export.passes.fused_bodies import add_functions

RNG = np.random.default_rng(7)


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def operators(model):
    return [node.op_type for node in model.graph]


def differential(proto, each, inputs, tolerance=1e-5):
    """Runs the pass and compares before with after on the same inputs. Returns the changed graph and the number of changes."""
    before = run_onnx(proto, inputs)
    model = g.from_proto(proto)
    g.infer_shapes(model)
    results = passes.run_passes(model, each if isinstance(each, tuple) else (each,))
    plain = g.clone(model)
    add_functions(plain)
    g.inline_functions(plain)
    written = g.to_proto(plain)
    onnx.checker.check_model(written)
    after = run_onnx(written, inputs)
    assert list(after) == list(before)
    for name in before:
        assert after[name].dtype == before[name].dtype
        assert after[name].shape == before[name].shape
        np.testing.assert_allclose(after[name], before[name], rtol=tolerance, atol=tolerance)
    return model, sum(result.changes for result in results)


def test_constant_folding_folds_chains():
    proto = model_from_text(
        """g (float[N,4] x) => (float[N,4] y) {
            two = Constant<value_float = 2.0>()
            a = Mul(w, two)
            b = Transpose<perm = [1, 0]>(a)
            c = Exp(b)
            y = MatMul(x, c) }""",
        weights={"w": f32(4, 4)},
    )
    model, changes = differential(proto, (passes.LiftConstants(), passes.FoldConstants()), {"x": f32(3, 4)})
    assert operators(model) == ["MatMul"]
    assert changes == 4


def test_constant_folding_keeps_an_output_that_is_constant():
    proto = model_from_text("g (float[2] x) => (float[2] y, float[2] z) { y = Neg(x) z = Exp(w) }", weights={"w": f32(2)})
    model, _ = differential(proto, passes.FoldConstants(), {"x": f32(2)})
    assert operators(model) == ["Neg", "Identity"]
    assert passes.FoldConstants().run(model) == 0


def test_constant_folding_is_bounded():
    """A few bytes that would become gigabytes stay a node."""
    weights = {"w": f32(1), "shape": np.array([1 << 20, 1 << 10], np.int64)}
    proto = model_from_text("g (float[1] x) => (float[A,B] y) { e = Expand(w, shape) y = Mul(e, x) }", weights=weights)
    model = g.from_proto(proto)
    assert passes.FoldConstants().run(model) == 0
    small = passes.FoldConstants(node_bytes=1 << 10, total_bytes=20)
    chain = model_from_text(
        "g (float[4] x) => (float[4] y) { a = Exp(w) b = Exp(a) c = Exp(b) y = Add(x, c) }", weights={"w": f32(4)}
    )
    assert small.run(g.from_proto(chain)) == 1  # 16 of 20 bytes are spent after the first


def test_constant_folding_never_touches_random_or_dequantize():
    proto = model_from_text(
        """g (float[4] x) => (float[4] y) {
            q = DequantizeLinear(w, s)
            y = Add(x, q) }""",
        weights={"w": np.array([1, 2, 3, 4], np.int8), "s": np.array(0.5, np.float32)},
    )
    model, changes = differential(proto, passes.FoldConstants(), {"x": f32(4)})
    assert changes == 0
    assert operators(model) == ["DequantizeLinear", "Add"]


def test_shape_folding_of_static_sizes():
    proto = model_from_text(
        """g (float[N,3,4] x) => (float[N,12] y, int64 c) {
            s = Shape(x)
            i = Constant<value = int64 {1}>()
            c = Gather(s, i)
            j = Constant<value = int64[1] {0}>()
            n = Gather(s, j)
            m = Constant<value = int64[1] {-1}>()
            t = Concat<axis = 0>(n, m)
            y = Reshape(x, t) }"""
    )
    chain = (passes.LiftConstants(), passes.FoldShapes(), passes.RemoveDeadCode())
    model, _ = differential(proto, chain, {"x": f32(5, 3, 4)})
    assert operators(model) == ["Identity", "Reshape"]  # the identity feeds the output c
    reshape = next(node for node in model.graph if node.op_type == "Reshape")
    assert g.constant_of(reshape.inputs[1]).tolist() == [0, -1]


def test_shape_folding_leaves_two_unknown_sizes():
    proto = model_from_text(
        """g (float[N,M] x) => (float[M2,N2] y) {
            s = Shape(x)
            j = Constant<value = int64[2] {1, 0}>()
            t = Gather(s, j)
            y = Reshape(x, t) }"""
    )
    model, _ = differential(proto, (passes.LiftConstants(), passes.FoldShapes()), {"x": f32(2, 3)})
    assert "Gather" in operators(model)


@pytest.mark.parametrize(
    ("body", "removed"),
    [
        ("a = Identity(x) y = Neg(a)", 1),
        ("a = Dropout(x) y = Neg(a)", 1),
        ("a = Cast<to = 1>(x) y = Neg(a)", 1),
        ("a = Cast<to = 11>(x) b = Cast<to = 1>(a) y = Neg(b)", 0),
        ("a = Transpose<perm = [0, 1]>(x) y = Neg(a)", 1),
        ("a = Transpose<perm = [1, 0]>(x) b = Transpose<perm = [1, 0]>(a) y = Neg(b)", 0),
        ("a = Mul(x, one) y = Neg(a)", 1),
        ("a = Mul(one, x) y = Neg(a)", 1),
        ("a = Mul(wide, x) b = Squeeze(a) y = Neg(b)", 0),
        ("a = Sub(x, zero) y = Neg(a)", 1),
        ("a = Add(x, zero) y = Neg(a)", 0),  # -0.0 + 0.0 is 0.0
        ("a = Pad(x, nothing) y = Neg(a)", 1),
        ("a = Concat<axis = 0>(x) y = Neg(a)", 1),
        ("y = Identity(x)", 0),  # an input must not be an output
        ("a = Neg(x) y = Identity(a)", 1),  # the output keeps its name
    ],
)
def test_identities(body, removed):
    weights = {
        "one": np.ones(1, np.float32),
        "wide": np.ones((1, 1, 1), np.float32),
        "zero": np.zeros((), np.float32),
        "nothing": np.zeros(4, np.int64),
    }
    proto = model_from_text(
        f"g (float[3,4] x) => (float[3,4] y) {{ {body} }}", weights={k: v for k, v in weights.items() if k in body}
    )
    model, _ = differential(proto, passes.RemoveIdentities(), {"x": f32(3, 4)})
    assert len(proto.graph.node) - len(operators(model)) == removed


def test_identity_between_two_outputs_stays():
    proto = model_from_text("g (float[2] x) => (float[2] y, float[2] z) { y = Neg(x) z = Identity(y) }")
    model, changes = differential(proto, passes.RemoveIdentities(), {"x": f32(2)})
    assert changes == 0
    assert operators(model) == ["Neg", "Identity"]


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("group", [1, 2])
def test_batch_norm_folds_into_convolution(kind, bias, group):
    shape = (6, 4 // group, 3, 3) if kind == "Conv" else (4, 6 // group, 3, 3)
    weights = {"w": f32(*shape), "scale": f32(6), "shift": f32(6), "mean": f32(6), "variance": np.abs(f32(6)) + 0.1}
    if bias:
        weights["b"] = f32(6)
    proto = model_from_text(
        f"""g (float[N,4,7,8] x) => (float[N,6,H,W] y) {{
            c = {kind}<group = {group}, pads = [1, 1, 1, 1]>(x, w{", b" if bias else ""})
            y = BatchNormalization<epsilon = 0.001>(c, scale, shift, mean, variance) }}""",
        weights=weights,
    )
    model, changes = differential(proto, passes.FoldBatchNorm(), {"x": f32(2, 4, 7, 8)}, tolerance=2e-5)
    expected = int(kind == "Conv" or group == 1)
    assert changes == expected
    assert len(operators(model)) == 2 - expected


def test_batch_norm_stays_when_the_convolution_is_read_twice():
    names = ("scale", "shift", "mean")
    proto = model_from_text(
        """g (float[N,2,4,4] x) => (float[N,3,2,2] y, float[N,3,2,2] c) {
            c = Conv(x, w)
            y = BatchNormalization(c, scale, shift, mean, variance) }""",
        weights={"w": f32(3, 2, 3, 3), **{n: f32(3) for n in names}, "variance": np.ones(3, np.float32)},
    )
    _, changes = differential(proto, passes.FoldBatchNorm(), {"x": f32(1, 2, 4, 4)})
    assert changes == 0


@pytest.mark.parametrize(
    ("left", "right", "bias", "fused"),
    [((3, 4), (4, 5), (5,), 1), ((3, 4), (4, 5), (1, 5), 1), ((3, 4), (4, 5), (3, 5), 0), ((2, 3, 4), (4, 5), (5,), 0)],
)
@pytest.mark.parametrize("order", ["m, b", "b, m"])
def test_matmul_and_add_become_gemm(left, right, bias, fused, order):
    rank = ",".join(str(size) for size in left)
    result = ",".join(str(size) for size in (*left[:-1], right[-1]))
    proto = model_from_text(
        f"g (float[{rank}] x) => (float[{result}] y) {{ m = MatMul(x, w) y = Add({order}) }}",
        weights={"w": f32(*right), "b": f32(*bias)},
    )
    model, changes = differential(proto, passes.FuseMatMulAdd(), {"x": f32(*left)})
    assert changes == fused
    assert operators(model) == (["Gemm"] if fused else ["MatMul", "Add"])


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [
        ("Relu(a)", {}),
        ("LeakyRelu<alpha = 0.2>(a)", {"activation_alpha": 0.2}),
        ("LeakyRelu(a)", {"activation_alpha": 0.01}),
        ("Clip(a, low, high)", {"activation_alpha": -0.5, "activation_beta": 0.5}),
        ("Clip(a, low)", {"activation_alpha": -0.5}),
        ("Sigmoid(a)", {}),
        ("Tanh(a)", {}),
        ("HardSwish(a)", {}),
        ("HardSigmoid<alpha = 0.3>(a)", {"activation_alpha": 0.3, "activation_beta": 0.5}),
    ],
)
@pytest.mark.parametrize("linear", ["Conv<strides = [2, 1]>(x, w, b)", "Conv(x, w)", "Gemm<transB = 1>(m, v, b)"])
def test_activation_fusion(activation, parameters, linear):
    gemm = linear.startswith("Gemm")
    weights = {"low": np.array(-0.5, np.float32), "high": np.array(0.5, np.float32), "b": f32(3)}
    weights |= {"v": f32(3, 32)} if gemm else {"w": f32(3, 2, 3, 3)}
    body = f"{'m = Flatten(x)' if gemm else ''} a = {linear} y = {activation}"
    proto = model_from_text(
        f"g (float[N,2,4,4] x) => (float y) {{ {body} }}",
        weights={k: v for k, v in weights.items() if f"{k})" in body or f"{k}," in body},
    )
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    model, changes = differential(proto, passes.FuseActivation(), {"x": f32(2, 2, 4, 4)})
    assert changes == 1
    fused = next(node for node in model.graph if node.domain == g.FUSED_DOMAIN)
    assert fused.op_type == ("FusedGemm" if gemm else "FusedConv")
    assert g.find_attribute(fused, "activation") == activation.split("(")[0].split("<")[0]
    for name, value in parameters.items():
        assert g.find_attribute(fused, name) == pytest.approx(value)


def test_activation_fusion_can_be_limited():
    proto = model_from_text(
        "g (float[1,2,4,4] x) => (float[1,3,2,2] y) { a = Conv(x, w) y = Relu(a) }", weights={"w": f32(3, 2, 3, 3)}
    )
    model = g.from_proto(proto)
    assert passes.FuseActivation(frozenset({"Clip"})).run(model) == 0


def test_dead_code_goes_in_one_run():
    proto = model_from_text(
        "g (float[2] x) => (float[2] y) { y = Neg(x) a = Exp(x) b = Add(a, w) c = Tanh(b) }",
        weights={"w": f32(2), "unused": f32(2)},
    )
    model, changes = differential(proto, passes.RemoveDeadCode(), {"x": f32(2)})
    assert operators(model) == ["Neg"]
    assert changes == 5
    assert not model.graph.initializers


class Breaks(Pass):
    name = "breaks"

    def run(self, model):
        node = next(iter(model.graph))
        model.graph.remove(node)
        return 1


class Renames(Pass):
    name = "renames"

    def run(self, model):
        model.graph.outputs[0].name = "other"
        return 1


@pytest.mark.parametrize(
    ("each", "words"), [(Breaks(), "pass breaks.*reads 'a' before"), (Renames(), "pass renames changed the inputs or outputs")]
)
def test_a_broken_pass_is_caught_by_name(each, words):
    model = g.from_proto(model_from_text("g (float[2] x) => (float[2] y) { a = Neg(x) y = Exp(a) }"))
    with pytest.raises(PassError, match=words):
        passes.run_passes(model, (each,))


def test_check_graph_finds_duplicate_names():
    model = g.from_proto(model_from_text("g (float[2] x) => (float[2] y) { a = Neg(x) y = Exp(a) }"))
    next(iter(model.graph)).outputs[0].name = "x"
    with pytest.raises(PassError, match="two values are called 'x'"):
        check_graph(model.graph, "now")


def chain(count):
    """`count` blocks of MatMul, Add, Relu, Dropout and a shape chain."""
    lines = []
    value = "x"
    for i in range(count // 5):
        lines.append(f"m{i} = MatMul({value}, w) a{i} = Add(m{i}, b) r{i} = Relu(a{i}) d{i} = Identity(r{i}) s{i} = Mul(d{i}, one)")
        value = f"s{i}"
    weights = {"w": np.eye(4, dtype=np.float32), "b": np.ones(4, np.float32), "one": np.ones((), np.float32)}
    return model_from_text(f"g (float[N,4] x) => (float[N,4] y) {{ {' '.join(lines)} y = Neg({value}) }}", weights=weights)


def calls(count):
    """How many functions the passes call, which says the same on every machine however loaded it is."""
    model = g.from_proto(chain(count))
    g.infer_shapes(model)
    counter = itertools.count()
    sys.setprofile(lambda frame, event, argument: next(counter))
    try:
        results = passes.run_passes(model, (*passes.DEFAULT, passes.FuseActivation()))
    finally:
        sys.setprofile(None)
    assert len(operators(model)) == count // 5 + 1
    assert sum(result.changes for result in results) >= count * 4 // 5
    return next(counter)


def test_passes_are_linear():
    calls(100)  # imports and caches
    small, large = calls(125), calls(1000)
    assert large < 8 * small * 1.02, f"125 nodes {small} calls, 1000 nodes {large} calls"


def test_passes_are_deterministic():
    def written():
        model = g.from_proto(chain(50))
        g.infer_shapes(model)
        passes.run_passes(model, passes.DEFAULT)
        return g.to_proto(model).SerializeToString(deterministic=True)

    assert written() == written()


@pytest.mark.parametrize("each", [passes.RemoveIdentities(), passes.FoldShapes(), passes.FuseActivation()])
def test_passes_that_need_modern_forms_say_so(each):
    model = g.from_proto(model_from_text("g (float[2] x) => (float[2] y) { y = Clip<min = 0.0>(x) }", opset=9))
    with pytest.raises(PassError, match="needs operator set 13 or above, the model has 9"):
        passes.run_passes(model, (each,))


def test_equal_computations_become_one():
    proto = model_from_text(
        """g (float[2,3] x) => (float[2,3] y, float[2,3] z) {
            a = Exp(x) b = Exp(x) c = Mul(a, two) d = Mul(b, other) z = Exp(x)
            e = Transpose<perm = [0, 1]>(c) f = Transpose<perm = [1, 0]>(d) h = Transpose<perm = [1, 0]>(f)
            y = Add(e, h) }""",
        weights={"two": np.array(2, np.float32), "other": np.array(2, np.float32)},
    )
    model, changes = differential(proto, passes.MergeCommon(), {"x": f32(2, 3)})
    assert changes == 3  # a constant, an Exp and a Mul; z keeps its node
    assert operators(model).count("Exp") == 2
    assert operators(model).count("Mul") == 1


def test_random_numbers_are_not_shared():
    proto = model_from_text("g (float[64] x) => (float[64] y) { a = RandomNormalLike(x) b = RandomNormalLike(x) y = Sub(a, b) }")
    model = g.from_proto(proto)
    assert passes.MergeCommon().run(model) == 0


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("a = Transpose<perm = [0, 2, 3, 1]>(x) b = Transpose<perm = [0, 3, 1, 2]>(a) y = Neg(b)", 0),
        ("a = Transpose<perm = [0, 2, 3, 1]>(x) b = Transpose<perm = [0, 2, 3, 1]>(a) y = Neg(b)", 1),
        ("a = Transpose<perm = [0, 2, 3, 1]>(x) r = Relu(a) s = Add(r, row) b = Transpose<perm = [0, 3, 1, 2]>(s) y = Neg(b)", 0),
        ("a = Transpose<perm = [0, 2, 3, 1]>(x) r = Relu(a) s = Mul(r, r) b = Transpose<perm = [0, 3, 1, 2]>(s) y = Neg(b)", 0),
        ("a = Transpose<perm = [0, 2, 3, 1]>(x) m = ReduceMean(a, axes) s = Add(m, one) y = Transpose<perm = [0, 3, 1, 2]>(s)", 0),
        (
            "a = Transpose<perm = [0, 2, 3, 1]>(x) e = Exp(x) b = Transpose<perm = [0, 2, 3, 1]>(e) c = Concat<axis = 3>(a, b) "
            "y = Transpose<perm = [0, 3, 1, 2]>(c)",
            0,
        ),
        ("a = Transpose<perm = [0, 2, 3, 1]>(x) m = ReduceMax<keepdims = 0>(a, axes) y = Exp(m)", 0),
        ("a = Transpose(x) r = Relu(a) y = Transpose(r)", 0),
        ("y = Transpose<perm = [0, 2, 3, 1]>(x)", 1),
    ],
)
def test_transposes_sink_and_cancel(body, left):
    weights = {"row": f32(2), "one": np.ones((), np.float32), "axes": np.array([1, 2], np.int64)}
    proto = model_from_text(
        f"g (float[N,2,4,5] x) => (float y) {{ {body} }}", weights={k: v for k, v in weights.items() if f" {k})" in body}
    )
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    model, _ = differential(proto, (passes.SinkTransposes(), passes.RemoveDeadCode()), {"x": f32(3, 2, 4, 5)})
    assert operators(model).count("Transpose") == left


def test_parts_are_taken_before_the_transpose():
    proto = model_from_text(
        """g (float[B,T,12] x) => (float[B,2,T,2] y) {
            r = Reshape(x, shape) p = Transpose<perm = [2, 0, 3, 1, 4]>(r)
            q0 = Slice(p, zero, one, zero) q = Squeeze(q0, zero)
            k0 = Slice(p, one, two, zero) k = Squeeze(k0, zero)
            y = Add(q, k) }""",
        weights={
            "shape": np.array([0, 0, 3, 2, 2], np.int64),
            **{name: np.array([number], np.int64) for number, name in enumerate(("zero", "one", "two"))},
        },
    )
    model, _ = differential(proto, (passes.SinkTransposes(), passes.RemoveDeadCode()), {"x": f32(2, 5, 12)})
    found = [node for node in model.graph if node.op_type == "Transpose"]
    assert [list(g.find_attribute(node, "perm")) for node in found] == [[0, 2, 1, 3]]


@pytest.mark.parametrize(
    ("pads", "value", "folded"),
    [
        ((0, 0, 1, 2, 0, 0, 3, 0), 0.0, 1),
        ((0, 0, 1, 2, 0, 0, 3, 0), 1.0, 0),
        ((0, 1, 0, 0, 0, 1, 0, 0), 0.0, 0),
        ((0, 0, -1, 0, 0, 0, 0, 0), 0.0, 0),
    ],
)
def test_pads_move_into_the_convolution(pads, value, folded):
    channels = 2 + pads[1] + pads[5]
    proto = model_from_text(
        "g (float[N,2,6,7] x) => (float[N,3,H,W] y) { p = Pad(x, pads, value) y = Conv<pads = [1, 0, 1, 0]>(p, w) }",
        weights={"pads": np.array(pads, np.int64), "value": np.array(value, np.float32), "w": f32(3, channels, 3, 3)},
    )
    model, changes = differential(proto, (passes.FoldPad(), passes.RemoveDeadCode()), {"x": f32(2, 2, 6, 7)})
    assert ("Pad" in operators(model)) == (not folded)
    assert bool(changes) == bool(folded)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("m = MatMul(x, w) y = Mul(m, c)", ["MatMul"]),
        ("m = MatMul(x, w) a = Add(m, b) y = Div(a, c)", ["MatMul", "Add"]),
        (
            "m = MatMul(x, w) a = Add(b, m) r = Reshape(a, shape) t = Transpose<perm = [1, 0, 2]>(r) y = Mul(c, t)",
            ["MatMul", "Add", "Reshape", "Transpose"],
        ),
        ("m = Gemm(x, w, b) y = Mul(m, c)", ["Gemm"]),
        ("m = MatMul(x, w) r = Relu(m) y = Mul(r, c)", ["MatMul", "Relu", "Mul"]),
        ("m = MatMul(x, w) a = Add(m, m) y = Mul(a, c)", ["MatMul", "Add", "Mul"]),
        ("m = MatMul(x, w) n = Neg(m) s = Mul(m, c) y = Add(n, s)", ["MatMul", "Neg", "Mul", "Add"]),
        ("m = MatMul(x, w) v = MatMul(m, w) y = Mul(v, c)", ["MatMul", "MatMul", "Mul"]),
    ],
)
def test_factors_go_into_weights(body, left):
    weights = {"w": f32(4, 4), "b": f32(4), "c": np.array(0.25, np.float32), "shape": np.array([2, 3, 2], np.int64)}
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    proto = model_from_text(f"g (float[3,4] x) => (float y) {{ {body} }}", weights={k: v for k, v in weights.items() if k in words})
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    model, _ = differential(proto, passes.ScaleWeights(), {"x": f32(3, 4)})
    assert operators(model) == left


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("t = Transpose<perm = [1, 0]>(f) r = QuantizeLinear(t, s, z)", ["QuantizeLinear", "Transpose", "DequantizeLinear"]),
        ("r = QuantizeLinear(f, s, z)", ["QuantizeLinear", "DequantizeLinear"]),
        ("t = Transpose(f) r = QuantizeLinear(t, s2, z)", None),
        ("t = Relu(f) r = QuantizeLinear(t, s, z)", None),
    ],
)
def test_moves_of_quantized_numbers(body, left):
    weights = {"s": np.array(0.05, np.float32), "s2": np.array(0.06, np.float32), "z": np.array(3, np.uint8)}
    proto = model_from_text(
        "g (float[2,3] x) => (float y) { q = QuantizeLinear(x, s, z) f = DequantizeLinear(q, s, z) "
        f"{body} y = DequantizeLinear(r, {'s2' if 's2' in body else 's'}, z) }}",
        weights={k: v for k, v in weights.items() if k != "s2" or "s2" in body},
    )
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    chain = (passes.MoveQuantized(), passes.RemoveIdentities(), passes.RemoveDeadCode())
    model, changes = differential(proto, chain, {"x": f32(2, 3)}, tolerance=0)
    assert (operators(model) == left) if left else changes == 0


@pytest.mark.parametrize("biased", [True, False])
def test_products_of_one_input_become_one(biased):
    body = " ".join(f"m{n} = MatMul(x, w{n}) {f'a{n} = Add(m{n}, b{n})' if biased else f'a{n} = Relu(m{n})'}" for n in range(3))
    weights = {f"w{n}": f32(4, 2 + n) for n in range(3)} | ({f"b{n}": f32(2 + n) for n in range(3)} if biased else {})
    proto = model_from_text(
        f"g (float[B,3,4] x) => (float[B,3,9] y) {{ {body} y = Concat<axis = 2>(a0, a1, a2) }}", weights=weights
    )
    model, changes = differential(proto, passes.MergeProducts(), {"x": f32(2, 3, 4)})
    assert changes == 2
    assert operators(model).count("MatMul") == 1


@pytest.mark.parametrize(
    ("body", "overload"),
    [
        ("a = Add(m, b) y = Relu(a)", "BiasRelu"),
        ("a = Add(b, m) y = Gelu(a)", "BiasGelu"),
        ("a = Add(m, b) n = Exp(x) y = Add(n, a)", "BiasResidual"),
        ("n = Exp(x) y = Add(m, n)", "Residual"),
        ("y = Add(m, b)", "Bias"),
        ("y = Tanh(m)", "Tanh"),
    ],
)
def test_linear_fusion(body, overload):
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    proto = model_from_text(
        f"g (float[B,3,4] x) => (float[B,3,4] y) {{ m = MatMul(x, w) {body} }}",
        weights={"w": f32(4, 4)} | ({"b": f32(4)} if "b" in words else {}),
    )
    model, changes = differential(proto, passes.FuseLinear(), {"x": f32(2, 3, 4)})
    assert changes == 1
    assert [node.overload for node in model.graph if node.domain == g.FUSED_DOMAIN] == [overload]


BRANCH = """g (bool c, float[3,4] x) => (float[3,4] y) {
    unused = Exp(x)
    used = Neg(x)
    y = If(c)<
        then_branch = t () => (float[3,4] a) {
            k = Constant<value_float = 1.0>() b = Mul(used, k) d = Identity(b) e = Exp(x) a = Neg(d) },
        else_branch = f () => (float[3,4] p) { s = Sigmoid(x) q = Sigmoid(x) p = Mul(s, q) }
    > }"""


@pytest.mark.parametrize("condition", [True, False])
def test_bodies_are_optimised_and_what_they_read_stays(condition):
    proto = model_from_text(BRANCH)
    model, _ = differential(proto, passes.DEFAULT, {"c": np.array(condition), "x": f32(3, 4)})
    assert operators(model) == ["Neg", "If"]
    node = next(node for node in model.graph if node.op_type == "If")
    assert [inner.op_type for inner in node.attributes["then_branch"].value] == ["Neg"]
    assert [inner.op_type for inner in node.attributes["else_branch"].value] == ["Sigmoid", "Mul"]


class Branches(Pass):
    """Puts the branches of another model in the place of a Tanh."""

    name = "branches"

    def run(self, model):
        found = next(node for node in model.graph if node.op_type == "Tanh")
        source = g.from_proto(model_from_text(BRANCH)).graph
        taken = next(node for node in source if node.op_type == "If")
        bodies = {name: taken.attributes[name].value.clone(allow_outer_scope_values=True) for name in taken.attributes}
        for body in bodies.values():
            for node in tuple(body):
                for index, value in enumerate(node.inputs):
                    if value is not None and value.name in ("x", "used"):
                        node.replace_input_with(index, found.inputs[0])
        made = g.make_node("If", [model.graph.inputs[0]], bodies, output_names=["made"], like=found)
        g.replace_node(found, [made], made.outputs)
        return 1


def test_a_pass_may_bring_bodies():
    """Passes that run behind it see them, and the note that there are none does not outlive the run."""
    proto = model_from_text("g (bool c, float[3,4] x) => (float[3,4] y) { h = Abs(x) t = Tanh(h) y = Neg(t) }")
    model = g.from_proto(proto)
    passes.run_passes(model, (passes.RemoveIdentities(), Branches(), passes.RemoveIdentities(), passes.MergeCommon()))
    assert operators(model) == ["Abs", "If", "Neg"] and g.NO_BODIES not in model.graph.meta
    assert [inner.op_type for inner in g.all_nodes(model.graph)].count("Sigmoid") == 1
    assert not [inner for inner in g.all_nodes(model.graph) if inner.op_type == "Identity"]
    onnx.checker.check_model(g.to_proto(model))
    plain = g.from_proto(proto)
    seen = []
    passes.run_passes(plain, (Looks(seen),))
    assert seen == [True] and g.NO_BODIES not in plain.graph.meta


class Looks(Pass):
    name = "looks"

    def __init__(self, seen):
        self.seen = seen

    def run(self, model):
        self.seen.append(g.NO_BODIES in model.graph.meta)
        return 0


def test_passes_are_chosen_by_name():
    names = [each.name for each in passes.select_passes(["dead-code", "common-subexpressions"])]
    assert list(dict.fromkeys(names)) == ["common subexpressions", "dead code"]  # in the order in which they run
    assert passes.select_passes(["none"]) == ()
    assert passes.select_passes(["default"]) == passes.DEFAULT
    without = passes.select_passes(["no-attention", "no-dead-code"])
    assert len(without) == len(passes.DEFAULT) - 3  # attention stands there twice, for .pen files once more
    with pytest.raises(OptionError, match="pass 'magic': there is none of this name; there are constants-to-initializers, "):
        passes.select_passes(["magic"])


PROMISES = [  # a model, the pass that fuses something in it, and how a mistake would look
    ("m = MatMul(x, w) a = Add(m, b) y = Relu(a)", passes.FuseLinear(), lambda node: setattr(node, "overload", "Relu")),
    ("m = MatMul(x, w) y = Add(m, x)", passes.FuseLinear(), lambda node: node.replace_input_with(3, None)),
    ("s = Add(x, r) y = LayerNormalization(s, b)", passes.FuseNorm(), lambda node: setattr(node, "overload", "Sum")),
    ("s = Add(x, r) y = RMSNormalization(s, b)", passes.FuseNorm(), lambda node: node.replace_input_with(2, None)),
    ("g = Gemm(x, w, b) y = Add(g, r)", passes.FuseResidual(), lambda node: node.replace_input_with(3, None)),
    ("g = Gemm(x, w) a = Add(g, r) y = Relu(a)", passes.FuseResidual(), lambda node: node.attributes.pop("activation")),
    ("g = Gemm(x, w) y = Tanh(g)", passes.FuseActivation(), lambda node: setattr(node, "overload", "Relu")),
    ("m = MatMul(x, w) y = Add(m, b)", passes.FuseMatMulAdd(), lambda node: setattr(node.inputs[0], "shape", g.Shape([2, 3, 4]))),
    ("k = Transpose(x) s = MatMul(x, k) f = Softmax(s) y = MatMul(f, x)", passes.FuseAttention(), None),
]


@pytest.mark.parametrize(("body", "each", "spoil"), PROMISES)
def test_fusions_keep_what_they_promise(body, each, spoil):
    weights = {"w": f32(4, 4), "b": f32(4)}
    shape = "float[n,4]"
    if spoil is None:
        shape, body = "float[2,3,n,4]", body.replace("Transpose", "Transpose<perm = [0, 1, 3, 2]>")
    used = {name: array for name, array in weights.items() if f" {name}" in body.replace("(", " ")}
    proto = model_from_text(f"g ({shape} x, {shape} r) => ({shape} y) {{ {body} }}", 23, weights=used)
    model = g.from_proto(proto)
    g.infer_shapes(model)
    assert passes.run_passes(model, (each,))[0].changes == 1
    (node,) = (node for node in model.graph if node.domain or node.op_type in ("Gemm", "Attention"))
    (spoil or (lambda node: setattr(node.inputs[0], "shape", g.Shape([2, 3, 4]))))(node)
    with pytest.raises(PassError, match=f"; not so {node.op_type} |, which has no body"):
        each.ensures(model)
