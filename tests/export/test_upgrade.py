# SPDX-License-Identifier: Apache-2.0
"""Models of old operator sets give the same numbers after they were lifted to 21."""

import numpy as np
import onnx
import pytest
from onnx_text import model_from_text, run_onnx

from penlight_export import graph as g
from penlight_export.errors import UnsupportedFeatureError
from penlight_export.onnx.upgrade import upgrade

RNG = np.random.default_rng(3)
FIVE = {name: np.abs(RNG.standard_normal(3)).astype(np.float32) for name in ("scale", "shift", "mean", "var")}
IMAGE = "float[N,3,4,6] x"

CASES = [
    (11, "float[N,1,4] x", "y = Squeeze<axes = [1]>(x)", {}),
    (11, "float[N,1,4] x", "y = Squeeze(x)", {}),
    (12, "float[N,4] x", "y = Unsqueeze<axes = [0, 2]>(x)", {}),
    (7, "float[N,4] x", "y = Clip<min = -0.5, max = 0.5>(x)", {}),
    (8, "float[N,4] x", "y = Clip<max = 0.5>(x)", {}),
    (10, "float[N,4] x", "y = Clip(x)", {}),
    (7, IMAGE, "y = Softmax(x)", {}),
    (11, IMAGE, "y = Softmax<axis = 2>(x)", {}),
    (11, IMAGE, "y = LogSoftmax<axis = 3>(x)", {}),
    (11, IMAGE, "y = LogSoftmax<axis = -2>(x)", {}),
    (12, IMAGE, "y = Hardmax<axis = 1>(x)", {}),
    (9, IMAGE, "y = Slice<axes = [2, 3], starts = [1, -4], ends = [3, 100]>(x)", {}),
    (7, IMAGE, "y = Slice<starts = [0, 1], ends = [100, 2]>(x)", {}),
    (10, IMAGE, "y = Pad<pads = [0, 0, 1, 2, 0, 0, 0, 1], value = 2.5>(x)", {}),
    (7, IMAGE, "y = Pad<pads = [0, 0, 1, 2, 0, 0, 0, 1]>(x)", {}),
    (12, IMAGE, "y, z = Split<axis = 1, split = [1, 2]>(x)", {}),
    (11, IMAGE, "y, z = Split<axis = 2>(x)", {}),
    (13, IMAGE, "y, z = Split<axis = 2>(x)", {}),
    (17, IMAGE, "y, z = Split<axis = 3>(x, parts)", {"parts": np.array([2, 4], np.int64)}),
    (11, IMAGE, "y = ReduceSum<axes = [1, 2], keepdims = 0>(x)", {}),
    (17, IMAGE, "y = ReduceMean<axes = [-1]>(x)", {}),
    (13, IMAGE, "y = ReduceMax(x)", {}),
    (12, IMAGE, "y = ReduceL2<axes = [3]>(x)", {}),
    (9, "float[N,7] x", "y, z = TopK<axis = 1, k = 3>(x)", {}),
    (7, IMAGE, 'y = Upsample<mode = "nearest", scales = [1.0, 1.0, 2.0, 2.0]>(x)', {}),
    (9, IMAGE, 'y = Upsample<mode = "linear">(x, s)', {"s": np.array([1, 1, 2, 3], np.float32)}),
    (10, IMAGE, 'y = Resize<mode = "nearest">(x, s)', {"s": np.array([1, 1, 2, 1.5], np.float32)}),
    (11, IMAGE, 'y = Resize<mode = "linear">(x, r, s)', {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 3], np.float32)}),
    (
        11,
        "float[2,3,4,6] x",
        'y = Resize<mode = "nearest">(x, r, s, t)',
        {"r": np.zeros(0, np.float32), "s": np.zeros(0, np.float32), "t": np.array([2, 3, 8, 9], np.int64)},
    ),
    (7, IMAGE, "y = BatchNormalization(x, scale, shift, mean, var)", FIVE),
    (13, IMAGE, "y = BatchNormalization<epsilon = 0.1>(x, scale, shift, mean, var)", FIVE),
    (7, IMAGE, "a = Dropout<ratio = 0.3>(x) y = Neg(a)", {}),
    (11, IMAGE, "a = Dropout<ratio = 0.3>(x) y = Neg(a)", {}),
    (9, "float[3,4] x", "y = Scatter<axis = 1>(x, i, u)", {"i": np.array([[1, 0]], np.int64), "u": np.ones((1, 2), np.float32)}),
    (16, IMAGE, 'y = GridSample<mode = "bilinear">(x, grid)', {"grid": RNG.uniform(-1, 1, (2, 2, 2, 2)).astype(np.float32)}),
    (
        18,
        "float[N,4,5] x",
        "y = GroupNormalization<num_groups = 2>(x, s, b)",
        {"s": np.array([1, 2], np.float32), "b": np.array([0, 3], np.float32)},
    ),
    (
        7,
        IMAGE,
        "a = Add(x, c) b = Flatten(a) y = Gemm<transB = 1>(b, w, v)",
        {"c": np.ones(6, np.float32), "w": np.ones((2, 72), np.float32), "v": np.ones(2, np.float32)},
    ),
]


@pytest.mark.parametrize(("opset", "inputs", "body", "weights"), CASES, ids=[f"{case[0]}-{case[2]}" for case in CASES])
def test_old_form_equals_new_form(opset, inputs, body, weights):
    outputs = ", ".join(f"float {name}" for name in ("y", "z") if f"{name}" in body.split("=")[0].replace("a", "y"))
    integer = "TopK" in body
    proto = model_from_text(
        f"g ({inputs}) => ({outputs.replace('float z', 'int64 z') if integer else outputs}) {{ {body} }}", opset, weights
    )
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    x = {"x": RNG.standard_normal([size if isinstance(size, int) else 2 for size in _shape(proto)]).astype(np.float32)}
    before = run_onnx(proto, x)
    model = g.from_proto(proto)
    g.infer_shapes(model)
    upgrade(model)
    assert model.opset_imports[""] == 21
    written = g.to_proto(model)
    if all(output.type.tensor_type.HasField("shape") for output in written.graph.output):  # the checker wants shapes
        onnx.checker.check_model(written)
    after = run_onnx(written, x)
    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-5)


def _shape(proto):
    return [dim.dim_value or "N" for dim in proto.graph.input[0].type.tensor_type.shape.dim]


@pytest.mark.parametrize(
    ("opset", "body", "words"),
    [
        (7, "y = BatchNormalization<spatial = 0>(x, scale, shift, mean, var)", "spatial=0"),
        (10, "d, m = Dropout(x) a = Cast<to = 1>(m) y = Mul(d, a)", "mask that something reads"),
        (11, 'y = Resize<coordinate_transformation_mode = "tf_half_pixel_for_nn">(x, r, s)', "withdrawn"),
    ],
)
def test_forms_that_were_withdrawn_are_named(opset, body, words):
    weights = FIVE | {"r": np.zeros(0, np.float32), "s": np.ones(4, np.float32)}
    proto = model_from_text(
        f"g ({IMAGE}) => (float[N,3,4,6] y) {{ {body} }}",
        opset,
        {k: v for k, v in weights.items() if f"{k}," in body or f"{k})" in body},
    )
    with pytest.raises(UnsupportedFeatureError, match=words):
        upgrade(g.from_proto(proto))


def test_newer_models_stay_as_they_are():
    proto = model_from_text("g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }", opset=23)
    model = g.from_proto(proto)
    assert upgrade(model) == 0
    assert model.opset_imports[""] == 23
