# SPDX-License-Identifier: Apache-2.0
"""One product for queries, keys and values, however it is cut, becomes three that attention reads where they lie."""

import numpy as np
import onnx
import pytest
from onnx_text import model_from_text, run_onnx

import penlight_runtime
from penlight_export import convert, passes
from penlight_export import graph as g

RNG = np.random.default_rng(31)
T, H, D = 6, 2, 4
NUMBERS = {
    "five": [0, 0, 3, H, D],
    "four": [0, 0, 3, H * D],
    "joined": [0, 0, H * D],
    "ones": [1, 1, 1],
    "zero": [0],
    "split": [0, 0, H, D],
}
PRODUCT = "m = MatMul(x, w) a = Add(m, b) "
TURNED = PRODUCT + "r = Reshape(a, five) t = Transpose<perm = [2, 0, 3, 1, 4]>(r) "
SPLIT = TURNED + "q0, k0, v0 = Split<axis = 0>(t, ones) q = Squeeze(q0, zero) k = Squeeze(k0, zero) v = Squeeze(v0, zero) "
GATHER = TURNED + "q = Gather<axis = 0>(t, i0) k = Gather<axis = 0>(t, i1) v = Gather<axis = 0>(t, i2) "
PARTS = (
    PRODUCT
    + "r = Reshape(a, four) "
    + "".join(
        f"{n}0 = Gather<axis = 2>(r, i{i}) {n}1 = Reshape({n}0, split) {n} = Transpose<perm = [0, 2, 1, 3]>({n}1) "
        for i, n in enumerate("qkv")
    )
)
ATTENTION = (
    "kt = Transpose<perm = [0, 1, 3, 2]>(k) s = MatMul(q, kt) p = Softmax<axis = -1>(s) o = MatMul(p, v) "
    "ot = Transpose<perm = [0, 2, 1, 3]>(o) y = Reshape(ot, joined)"
)


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def model_of(body, width=H * D):
    weights = {name: np.array(numbers, np.int64) for name, numbers in NUMBERS.items()} | {f"i{n}": np.array(n) for n in range(3)}
    weights |= {"w": f32(10, 3 * width), "b": f32(3 * width)}
    return model_from_text(f"g (float[n,{T},10] x) => (float[n,{T},{width}] y) {{ {body} }}", 20, weights)


@pytest.mark.parametrize("cut", [SPLIT, GATHER, PARTS], ids=["split", "gather", "parts"])
def test_attention_reads_products(tmp_path, cut):
    proto = model_of(cut + ATTENTION)
    onnx.save(proto, tmp_path / "m.onnx")
    result = convert(tmp_path / "m.onnx", tmp_path / "m.pen")
    assert result.report.ok
    assert result.summary.operators == {"ai.penlight.FusedMatMul": 3, "Attention": 1}
    inputs = {"x": f32(2, T, 10)}
    found = penlight_runtime.Program.open(tmp_path / "m.pen").session().run(inputs)["y"]
    np.testing.assert_allclose(found, run_onnx(proto, inputs)["y"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        TURNED + "q = Gather<axis = 0>(t, i0) u = Exp(t) v = Gather<axis = 0>(u, i2) o = Add(q, v) "
        "ot = Transpose<perm = [0, 2, 1, 3]>(o) y = Reshape(ot, joined)",  # another reader of the turned tensor
        TURNED.replace("[2, 0, 3, 1, 4]", "[2, 1, 3, 0, 4]") + "o = Gather<axis = 0>(t, i1) "
        "ot = Transpose<perm = [2, 0, 1, 3]>(o) y = Reshape(ot, joined)",  # another order
    ],
)
def test_other_forms_stay(body):
    model = g.from_proto(model_of(body))
    g.infer_shapes(model)
    (result,) = passes.run_passes(model, (passes.ApartHeads(),))
    assert result.changes == 0


@pytest.mark.parametrize(
    "body", ["a = Add(m, b) u, v, y = Split<axis = -1, num_outputs = 3>(a)", "y, u, v = Split<axis = -1>(m, eights)"]
)
def test_parts_that_nobody_reads(tmp_path, body):
    proto = model_from_text(
        f"g (float[n,{T},10] x) => (float[n,{T},8] y, float[n,{T},8] z) {{ m = MatMul(x, w) {body} z = Exp(v) }}",
        20,
        {"w": f32(10, 24), "b": f32(24), "eights": np.array([8, 8, 8])},
    )
    onnx.save(proto, tmp_path / "m.onnx")
    convert(tmp_path / "m.onnx", tmp_path / "m.pen")
    inputs = {"x": f32(2, T, 10)}
    found, expected = penlight_runtime.Program.open(tmp_path / "m.pen").session().run(inputs), run_onnx(proto, inputs)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5)
