# SPDX-License-Identifier: Apache-2.0
"""Arithmetic written out by older exporters becomes one operator, and keeps its numbers."""

import numpy as np
import pytest
from onnx_text import model_from_text, run_onnx

from penlight_export import graph as g
from penlight_export import passes

RNG = np.random.default_rng(11)
X = RNG.standard_normal((2, 3, 8)).astype(np.float32)
SQRT_HALF, TANH_SCALE = 0.70710678, 0.79788456

CENTRED = "m = ReduceMean<axes = [-1]>(x) d = Sub(x, m) "
VARIANCE = CENTRED + "q = Pow(d, two) v = ReduceMean<axes = [-1]>(q) w = Add(v, eps) r = Sqrt(w) "
CUBE = "c = Mul(x, x) u = Mul(c, x) k = Mul(cubic, u) a = Add(x, k) i = Mul(scale, a) t = Tanh(i) s = Add(one, t) "
GELU = [
    "h = Mul(x, half) q = Div(x, root) e = Erf(q) s = Add(e, one) y = Mul(h, s)",
    "q = Div(x, root) e = Erf(q) s = Add(e, one) p = Mul(x, s) y = Mul(p, half)",
    "q = Mul(x, inverse) e = Erf(q) s = Add(one, e) h = Mul(s, half) y = Mul(x, h)",
    "q = Mul(inverse, x) e = Erf(q) t = Mul(half, e) s = Add(t, half) y = Mul(s, x)",
]
TANH = [
    "c = Pow(x, three) k = Mul(c, cubic) a = Add(x, k) i = Mul(a, scale) t = Tanh(i) s = Add(t, one) "
    "h = Mul(half, x) y = Mul(h, s)",
    CUBE + "h = Mul(x, s) y = Mul(h, half)",
    "c = Mul(x, x) k = Mul(cubic, c) a = Add(k, one) b = Mul(x, a) i = Mul(scale, b) t = Tanh(i) s = Add(one, t) "
    "h = Mul(x, s) y = Mul(h, half)",
]
NORM = [
    VARIANCE + "n = Div(d, r) k = Mul(n, weight) y = Add(k, bias)",
    CENTRED + "q = Mul(d, d) v = ReduceMean<axes = [2]>(q) w = Add(eps, v) r = Pow(w, halfpower) "
    "n = Div(d, r) k = Mul(weight, n) y = Add(bias, k)",
    CENTRED + "n2 = ReduceMean<axes = [-1]>(x) e = Sub(x, n2) q = Pow(e, two) v = ReduceMean<axes = [-1]>(q) w = Add(v, eps) "
    "r = Sqrt(w) i = Reciprocal(r) n = Mul(d, i) k = Mul(n, weight) y = Add(k, bias)",
    VARIANCE + "n = Div(d, r) y = Mul(n, weight)",
    VARIANCE + "y = Div(d, r)",
]
RMS = [
    "q = Pow(x, two) v = ReduceMean<axes = [-1]>(q) w = Add(v, eps) r = Sqrt(w) n = Div(x, r) y = Mul(n, weight)",
    "q = Mul(x, x) v = ReduceMean<axes = [-1]>(q) w = Add(v, eps) r = Sqrt(w) i = Reciprocal(r) n = Mul(x, i) y = Mul(weight, n)",
    "q = Mul(x, x) v = ReduceMean<axes = [-1]>(q) w = Add(v, eps) r = Pow(w, inversepower) y = Mul(x, r)",
]
CASES = [
    *(("Gelu", body, {"approximate": "none"}) for body in GELU),
    *(("Gelu", body, {"approximate": "tanh"}) for body in TANH),
    *(("LayerNormalization", body, {"axis": -1}) for body in NORM),
    *(("RMSNormalization", body, {"axis": -1}) for body in RMS),
    ("Swish", "s = Sigmoid(x) y = Mul(x, s)", {"alpha": 1.0}),
    ("Swish", "k = Mul(x, quick) s = Sigmoid(k) y = Mul(s, x)", {"alpha": 1.702}),
    ("HardSwish", "a = Add(x, three) c = Clip(a, zero, six) d = Div(c, six) y = Mul(x, d)", {}),
    ("HardSwish", "a = Add(x, three) c = Clip(a, zero, six) p = Mul(x, c) y = Div(p, six)", {}),
    ("HardSwish", "s = HardSigmoid<alpha = 0.16666667>(x) y = Mul(x, s)", {}),
    ("HardSigmoid", "a = Add(three, x) c = Clip(a, zero, six) y = Div(c, six)", {"beta": 0.5}),
    ("Mish", "s = Softplus(x) t = Tanh(s) y = Mul(x, t)", {}),
    ("Sigmoid", "n = Neg(x) e = Exp(n) s = Add(e, one) y = Div(one, s)", {}),
]
NUMBERS = {
    "half": 0.5, "one": 1.0, "two": 2.0, "three": 3.0, "six": 6.0, "zero": 0.0, "root": 1.4142135, "inverse": SQRT_HALF,
    "cubic": 0.044715, "scale": TANH_SCALE, "eps": 1e-5, "quick": 1.702, "halfpower": 0.5, "inversepower": -0.5,
}  # fmt: skip


def written_out(body):
    """A model at operator set 17, as exporters of its time wrote it."""
    weights = {name: np.array(number, np.float32) for name, number in NUMBERS.items()}
    weights |= {name: RNG.standard_normal(8).astype(np.float32) for name in ("weight", "bias")}
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    text = f"g (float[B,3,8] x) => (float[B,3,8] y) {{ {body} }}"
    return model_from_text(text, opset=17, weights={name: array for name, array in weights.items() if name in words})


def recognised(proto, opset=24):
    model = g.from_proto(proto)
    g.infer_shapes(model)
    both = (passes.RecogniseOperators(opset), passes.RecogniseOperators(opset, edge_only=True))
    results = passes.run_passes(model, (passes.LiftConstants(), *both, passes.RemoveDeadCode()))
    return model, results[1].changes + results[2].changes


@pytest.mark.parametrize(("operator", "body", "attributes"), CASES)
def test_one_operator_says_the_same(operator, body, attributes):
    proto = written_out(body)
    model, changes = recognised(proto)
    assert [node.op_type for node in model.graph] == [operator]
    assert changes == 1
    node = next(iter(model.graph))
    for name, value in attributes.items():
        found = g.find_attribute(node, name)
        assert found == (pytest.approx(value) if isinstance(value, float) else value)
    model.graph.opset_imports[""] = 24
    after = run_onnx(g.to_proto(model), {"x": X})["y"]
    before = run_onnx(proto, {"x": X})["y"]
    assert after.shape == before.shape
    np.testing.assert_allclose(after, before, rtol=2e-5, atol=2e-5)


def test_what_onnxruntime_runs_slower_stays_in_onnx_files():
    model = g.from_proto(written_out("s = Sigmoid(x) y = Mul(x, s)"))
    g.infer_shapes(model)
    passes.run_passes(model, (passes.RecogniseOperators(24),))
    assert [node.op_type for node in model.graph] == ["Sigmoid", "Mul"]
