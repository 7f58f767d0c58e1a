# SPDX-License-Identifier: Apache-2.0
"""A residual in front of a normalisation is a Sum in .onnx files, which keeps onnxruntime from a slow fusion, and Add elsewhere."""

import numpy as np
from onnx_text import model_from_text, run_onnx

import penlight as pl
from penlight import nn
from penlight_export import export, passes
from penlight_export import graph as g

RNG = np.random.default_rng(3)
WEIGHTS = {name: RNG.standard_normal(8).astype(np.float32) for name in ("weight", "bias", "shift")}


def rewritten(body, one, used):
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    weights = {name: array for name, array in WEIGHTS.items() if name in words}
    proto = model_from_text(f"g (float[B,3,8] x, float[B,3,8] r) => (float[B,3,8] y) {{ {body} }}", opset=23, weights=weights)
    model = g.from_proto(proto)
    result = passes.run_passes(model, (one,))
    feed = {name: RNG.standard_normal((2, 3, 8)).astype(np.float32) for name in used}
    np.testing.assert_array_equal(run_onnx(g.to_proto(model), feed)["y"], run_onnx(proto, feed)["y"])
    return [node.op_type for node in model.graph], result[0].changes


def test_a_residual_becomes_a_sum():
    assert rewritten("s = Add(x, r) y = LayerNormalization(s, weight, bias)", passes.ResidualSums(), "xr") == (
        ["Sum", "LayerNormalization"],
        1,
    )
    both = "s = Add(x, r) n = RMSNormalization(s, weight) m = LayerNormalization(s, weight) y = Add(n, m)"
    assert rewritten(both, passes.ResidualSums(), "xr")[1] == 1


def test_a_bias_and_other_additions_stay():
    body = "s = Add(x, shift) n = LayerNormalization(s, weight, bias) y = Add(n, r)"
    assert rewritten(body, passes.ResidualSums(), "xr")[1] == 0


def test_a_sum_of_two_becomes_an_addition():
    body = "s = Sum(x, r) t = Sum(s, x, r) u = Sum(t) y = Sum(u, shift)"
    assert rewritten(body, passes.PlainSums(), "xr") == (["Add", "Sum", "Sum", "Add"], 2)


def test_each_file_has_its_own_form():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)

        def forward(self, x):
            return self.norm(x + self.linear(x))

    exported = export(Block(), pl.randn(2, 3, 8))
    assert "Sum" in [node.op_type for node in exported.onnx_model.graph.node]
    assert exported.summary.operators == {"ai.penlight.FusedMatMul": 1, "LayerNormalization": 1}
