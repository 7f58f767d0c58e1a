# SPDX-License-Identifier: Apache-2.0
"""Models of old operator sets give the same numbers after they were lifted to 21."""

import itertools

import numpy as np
import onnx
import pytest
from onnx_text import model_from_text, run_onnx

from penlight_export import graph as g
from penlight_export.edge.kernels import has_kernel
from penlight_export.errors import UnsupportedFeatureError
from penlight_export.onnx.upgrade import _CHANGES, TARGET, upgrade

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


HARMLESS = {("Constant", 11): "the value may come under other names", ("MaxPool", 8): "indices became a second, optional output"}


def declared(schema):
    """What a newer version must keep for older nodes to mean the same: operands, number of outputs, attributes with defaults."""
    operands = [(operand.name.lower(), str(operand.option)) for operand in schema.inputs]
    attributes = {name: (str(a.type), a.required, a.default_value.SerializeToString()) for name, a in schema.attributes.items()}
    return operands, len(schema.outputs), attributes


def changes_meaning(old, new):
    """Whether a node of the old version could be read otherwise, or not at all, by the new one."""
    (operands, outputs, attributes), (later, more, others) = declared(old), declared(new)
    optional = all("Optional" in option or "Variadic" in option for _, option in later[len(operands) :])
    same = all(new in (old, (old[0], "FormalParameterOption.Optional")) for old, new in zip(operands, later, strict=False))
    if len(later) < len(operands) or not same or not optional or more != outputs:
        return True
    return any(others.get(name) != attribute for name, attribute in attributes.items())


def history():
    """Pairs of successive versions of ai.onnx operators that the runtime has, from operator set 7 to the target."""
    versions = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and has_kernel("", schema.name):
            versions.setdefault(schema.name, []).append(schema)
    for name, schemas in versions.items():
        schemas.sort(key=lambda schema: schema.since_version)
        for old, new in itertools.pairwise(schemas):
            if 7 < new.since_version <= TARGET:
                yield name, old, new


def test_no_change_of_a_declaration_is_forgotten():
    """Each (operator, version) whose declaration changed beyond new types and options has a line in the table or a reason here."""
    pairs = list(history())
    assert len(pairs) > 200
    forgotten = [
        (name, new.since_version)
        for name, old, new in pairs
        if changes_meaning(old, new)
        and name not in _CHANGES.get(new.since_version, {})
        and (name, new.since_version) not in HARMLESS
    ]
    assert not forgotten


def test_no_line_of_the_table_is_out_of_date():
    """Each line stands at a version that the operator really has."""
    for version, changes in _CHANGES.items():
        for name in changes:
            found = {s.since_version for s in onnx.defs.get_all_schemas_with_history() if (s.domain, s.name) == ("", name)}
            assert version in found, (name, version)
