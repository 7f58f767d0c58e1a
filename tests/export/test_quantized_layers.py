# SPDX-License-Identifier: Apache-2.0
"""Quantized models run in 8 bits in .pen files: the same numbers as onnxruntime's, up to one step where a result is rounded."""

import numpy as np
import pytest
from onnx import helper
from onnx_text import model_from_text, run_onnx

import penlight_runtime
from penlight_export import convert, engines, passes, verify
from penlight_export import graph as g
from penlight_export.edge.original import original_model
from penlight_export.edge.reader import read_pen
from penlight_export.engines import EdgeEngine, OnnxEngine
from penlight_export.errors import VerifyError
from penlight_export.passes.fused_bodies import add_functions
from penlight_export.verify import Sample
from penlight_export.work import reference_work

RNG = np.random.default_rng(3)
ALL = (
    passes.MoveQuantized(),
    passes.QuantizedLayers(),
    passes.QuantizedSums(),
    passes.QuantizedProducts(),
    passes.RemoveDeadCode(),
)


def weights(*shape, dtype=np.int8, axis=None):
    """Numbers, scales (one, or one along the axis) and zero points."""
    count = () if axis is None else (shape[axis],)
    return RNG.integers(-127, 128, shape).astype(dtype), RNG.uniform(0.002, 0.01, count).astype(np.float32), np.zeros(count, dtype)


def quantized_model(body, kind="uint8", y_scale=0.05, y_zero=100, given=None, rank=4):
    """x -> 8 bits -> body (xf to f) -> 8 bits -> y."""
    dtype = np.dtype(kind)
    constants = {
        "xs": np.float32(0.03),
        "xz": np.array(7, dtype),
        "ys": np.float32(y_scale),
        "yz": np.array(y_zero, dtype),
        **(given or {}),
    }
    sizes = ", ".join(f"size{d}" for d in range(rank))
    text = (
        f"g (float[2,6,9,8] x) => (float[{sizes}] y) {{ xq = QuantizeLinear(x, xs, xz) xf = DequantizeLinear(xq, xs, xz) "
        f"{body} yq = QuantizeLinear(f, ys, yz) y = DequantizeLinear(yq, ys, yz) }}"
    )
    return model_from_text(text, weights={name: np.asarray(value) for name, value in constants.items()})


def rewritten(proto):
    """The operators after the passes, and the graph with bodies of standard operators in the place of the fused ones."""
    model = g.from_proto(proto)
    g.infer_shapes(model)
    passes.run_passes(model, ALL)
    operators = [node.op_type for node in model.graph]
    add_functions(model)
    g.inline_functions(model)
    return operators, g.to_proto(model)


def run_edge(proto, folder, inputs, chain=passes.DEFAULT):
    """The operators of the .pen file, and its results."""
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    result = convert(path, folder / "m.pen", verify=False, passes=chain)
    (found,) = penlight_runtime.Program.open(folder / "m.pen").session().run(inputs).values()
    return result.summary.operators, found


def run_original(folder, inputs):
    """onnxruntime's result for the operators of the .pen file that run_edge wrote."""
    model = original_model(read_pen(folder / "m.pen"), "forward")
    (found,) = run_onnx(g.to_proto(model), inputs).values()
    return found


def assert_close(proto, folder, step=0.05):
    """onnxruntime's own integer kernels saturate on some processors; without optimizations it computes in floats."""
    inputs = {"x": RNG.uniform(-5, 5, (2, 6, 9, 8)).astype(np.float32)}
    operators, found = run_edge(proto, folder, inputs)
    (wanted,) = run_onnx(proto, inputs).values()
    assert np.abs(found - wanted).max() < 1.01 * step
    assert (found != wanted).mean() < 0.02
    return operators


def convolution(group=1, axis=0, bias="stored"):
    w, s, z = weights(6, 6 // group, 3, 3, axis=axis)
    given = {"w": w, "ws": s, "wz": z}
    steps = (np.float32(0.03) * s).reshape(-1) * np.ones(6, np.float32)
    if bias == "stored":
        given |= {"b": RNG.integers(-3000, 3000, 6).astype(np.int32), "bs": steps, "bz": np.zeros(6, np.int32)}
    else:
        given["bf"] = RNG.standard_normal(6).astype(np.float32)
    stored = "bf = DequantizeLinear<axis = 0>(b, bs, bz) " if bias == "stored" else ""
    conv = f"Conv<group = {group}, pads = [1, 0, 1, 2], strides = [1, 2]>(xf, wf{', bf' if bias else ''})"
    if bias == "":
        del given["bf"]
    return f"wf = DequantizeLinear<axis = 0>(w, ws, wz) {stored}", conv, given


@pytest.mark.parametrize("bias", ["stored", "float", ""])
@pytest.mark.parametrize(("group", "axis"), [(1, 0), (6, 0), (2, None)])
@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_convolutions_become_integer_ones(tmp_path, kind, group, axis, bias):
    head, conv, given = convolution(group, axis, bias)
    proto = quantized_model(f"{head} f = {conv}", kind, given=given)
    assert rewritten(proto)[0] == ["QuantizeLinear", "QLinearConv", "DequantizeLinear"]
    operators = assert_close(proto, tmp_path)
    assert "QLinearConv" in operators and "Conv" not in operators


@pytest.mark.parametrize(
    ("activation", "y_zero", "clipped"),
    [
        ("Relu(c)", 0, False),
        ("Relu(c)", 100, True),
        ("Clip(c, low, high)", 100, True),
        ("Clip(c, low)", 100, True),
        ("Clip(c, , high)", 100, True),
        ("Clip(c, lowest, highest)", 100, False),
    ],
)
def test_limits_are_rounded(tmp_path, activation, y_zero, clipped):
    head, conv, given = convolution()
    limits = {"low": np.float32(-1.51), "high": np.float32(2.2), "lowest": np.float32(-100), "highest": np.float32(100)}
    given |= {name: limits[name] for name in limits if name in activation.replace(",", " ").replace(")", " ").split()}
    proto = quantized_model(f"{head} c = {conv} f = {activation}", y_zero=y_zero, given=given)
    assert rewritten(proto)[0] == ["QuantizeLinear", "QLinearConv", *(["Clip"] if clipped else []), "DequantizeLinear"]
    assert_close(proto, tmp_path)


@pytest.mark.parametrize("stored", [False, True])
def test_one_bias_for_all_columns_stays_a_float_layer(tmp_path, stored):
    """Gemm broadcasts it, QLinearConv does not."""
    numbers, scales, zeros = weights(6, 5)
    given = {"w": numbers, "ws": scales, "wz": zeros, "b": np.float32([0.7]), "bq": np.array([900], np.int32)}
    given["bs"] = np.float32(0.03) * scales
    bias = "b = DequantizeLinear(bq, bs) " if stored else ""
    given.pop("b" if stored else "bq")
    body = f"wf = DequantizeLinear(w, ws, wz) {bias}f = Gemm(xf, wf, b)"
    proto = quantized_model(body, given=given if stored else {k: v for k, v in given.items() if k != "bs"}, rank=2)
    proto.graph.input[0].type.tensor_type.shape.CopyFrom(helper.make_tensor_type_proto(1, [3, 6]).tensor_type.shape)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    result = convert(tmp_path / "m.onnx", tmp_path / "m.pen", tolerance=0.051)  # a step of the result
    assert result.report.ok and result.summary.operators["Gemm"] == 1


def test_limits_beyond_every_number_of_steps():
    """Finite in float32, infinite in steps of the result."""
    body, conv, given = convolution()
    given |= {"lo": np.float32(-3e38), "hi": np.float32(3e38)}
    operators, _ = rewritten(quantized_model(f"{body}h = {conv} f = Clip(h, lo, hi)", given=given))
    assert "QLinearConv" in operators and "Clip" not in operators


@pytest.mark.parametrize("transposed", [True, False])
def test_linear_layers_become_convolutions(tmp_path, transposed):
    w, s, z = weights(*((10, 48) if transposed else (48, 10)), axis=0 if transposed else 1)
    given = {"w": w, "ws": s, "wz": z, "bf": RNG.standard_normal(10).astype(np.float32), "shape": np.array([-1, 48], np.int64)}
    body = (
        f"r = Reshape(xf, shape) wf = DequantizeLinear<axis = {0 if transposed else 1}>(w, ws, wz) rq = QuantizeLinear(r, xs, xz) "
        f"rf = DequantizeLinear(rq, xs, xz) f = Gemm<transB = {int(transposed)}>(rf, wf, bf)"
    )
    proto = quantized_model(body, given=given, rank=2)
    assert rewritten(proto)[0] == ["QuantizeLinear", "Reshape", "Unsqueeze", "QLinearConv", "Squeeze", "DequantizeLinear"]
    assert_close(proto, tmp_path)


def test_products_of_matrices(tmp_path):
    w, s, z = weights(8, 5, axis=1)
    proto = quantized_model("wf = DequantizeLinear<axis = 1>(w, ws, wz) f = MatMul(xf, wf)", given={"w": w, "ws": s, "wz": z})
    assert rewritten(proto)[0] == ["QuantizeLinear", "QLinearMatMul", "DequantizeLinear"]
    assert_close(proto, tmp_path)


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_sums_keep_their_bits(tmp_path, kind):
    dtype = np.dtype(kind)
    given = {"zs": np.float32(0.021), "zz": np.array(11, dtype)}
    body = "e = Relu(xf) zq = QuantizeLinear(e, zs, zz) zf = DequantizeLinear(zq, zs, zz) f = Add(xf, zf)"
    proto = quantized_model(body, kind, given=given)
    operators, written = rewritten(proto)
    assert operators.count("QuantizedAdd") == 1 and "Add" not in operators
    inputs = {"x": RNG.uniform(-9, 9, (2, 6, 9, 8)).astype(np.float32)}
    (wanted,) = run_onnx(proto, inputs).values()
    (body,) = run_onnx(written, inputs).values()
    _, found = run_edge(proto, tmp_path, inputs)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(body, wanted)
    np.testing.assert_array_equal(run_original(tmp_path, inputs), wanted)


@pytest.mark.parametrize("body", ["f = Add(xf, p)", "c = Conv(xf, k) f = Softmax(c)", "c = Conv(xf, k) f = Add(c, c)"])
def test_what_is_not_quantized_stays(body):
    given = {"p": np.ones((6, 9, 8), np.float32), "k": np.ones((6, 6, 1, 1), np.float32)}
    proto = quantized_model(body, given={name: value for name, value in given.items() if f" {name})" in body})
    operators, _ = rewritten(proto)
    assert not {"QLinearConv", "QuantizedAdd"} & set(operators)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("columns", [1, 7])
def test_dynamic_products_keep_their_bits(tmp_path, columns, biased):
    constants = {
        "w": RNG.integers(-63, 64, (20, 7)).astype(np.int8),  # with more, onnxruntime's sums of two saturate on AVX2
        "wz": np.array(0, np.int8),
        "ws": RNG.uniform(0.001, 0.01, columns).astype(np.float32),
        **({"b": RNG.standard_normal(7).astype(np.float32)} if biased else {}),
    }
    body = (
        "q, s, z = DynamicQuantizeLinear(x) scales = Mul(s, ws) m = MatMulInteger(q, w, z, wz) c = Cast<to = 1>(m) "
        f"{'r = Mul(c, scales) y = Add(b, r)' if biased else 'y = Mul(c, scales)'}"
    )
    proto = model_from_text(f"g (float[3,5,20] x) => (float[3,5,7] y) {{ {body} }}", weights=constants)
    operators, written = rewritten(proto)
    assert operators == ["DynamicQuantizeLinear", "MatMulIntegerToFloat"]
    inputs = {"x": RNG.standard_normal((3, 5, 20)).astype(np.float32)}
    (wanted,) = run_onnx(proto, inputs).values()
    (found,) = run_onnx(written, inputs).values()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    operators, ours = run_edge(proto, tmp_path, inputs)
    assert operators == {"DynamicQuantizeLinear": 1, "ai.penlight.MatMulIntegerToFloat": 1}
    np.testing.assert_allclose(ours, wanted, atol=1e-5)
    np.testing.assert_allclose(run_original(tmp_path, inputs), wanted, atol=1e-5)


ODD_PRODUCTS = [  # shapes of rows, of weights and of their scales
    ((8, 64), (64,), (1, 1)),
    ((3, 64), (64, 3), (2, 1, 1)),
    ((64,), (64, 8), (8,)),
    ((2, 64), (64,), ()),
    ((3, 8, 64), (64,), (8,)),
    ((64, 64), (64,), (64,)),
    ((64,), (2, 64, 8), (2, 8)),
]


@pytest.mark.parametrize(("rows", "columns", "scales"), ODD_PRODUCTS)
def test_products_of_vectors_and_odd_scales(rows, columns, scales, tmp_path):
    """onnxruntime's own fusions give them wrong shapes, or read behind the end of the scales until the process crashes."""
    given = {
        "w": RNG.integers(-60, 60, columns).astype(np.int8),
        "ws": RNG.uniform(0.01, 0.1, scales).astype(np.float32),
    }
    body = "q, s, z = DynamicQuantizeLinear(x) m = MatMulInteger(q, w, z) c = Cast<to = 1>(m) t = Mul(s, ws) y = Mul(c, t)"
    rank = np.ndim(np.matmul(np.ones(rows), np.ones(columns)) * np.ones(scales))
    sizes, names = ",".join(map(str, rows)), ",".join(f"size{k}" for k in range(rank))
    proto = model_from_text(f"g (float[{sizes}] x) => (float[{names}] y) {{ {body} }}", weights=given)
    x = RNG.standard_normal(rows).astype(np.float32)
    (wanted,) = run_onnx(proto, {"x": x}).values()
    found = OnnxEngine(proto.SerializeToString()).run({"x": x})["y"]
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    (tmp_path / "odd.onnx").write_bytes(proto.SerializeToString())
    assert convert(tmp_path / "odd.onnx", tmp_path / "odd.pen").report.ok


@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("kind", ["axis = 1", "axis = 0, block_size = 16"])
def test_weights_alone_may_have_8_bits(tmp_path, kind, zeros):
    blocks = "block_size" in kind
    shape = (2, 7) if blocks else (7,)
    constants = {
        "w": RNG.integers(-127, 128, (32, 7)).astype(np.int8),
        "s": RNG.uniform(0.001, 0.01, shape).astype(np.float32),
        **({"z": RNG.integers(-9, 9, shape).astype(np.int8)} if zeros else {}),
    }
    body = f"f = DequantizeLinear<{kind}>(w, s{', z' if zeros else ''}) y = MatMul(x, f)"
    proto = model_from_text(f"g (float[1,2,32] x) => (float[1,2,7] y) {{ {body} }}", weights=constants)
    model = g.from_proto(proto)
    g.infer_shapes(model)
    passes.run_passes(model, (passes.NBitsProducts(), passes.RemoveDeadCode()))
    assert [node.op_type for node in model.graph] == ["MatMulNBits"]
    add_functions(model)
    g.inline_functions(model)
    inputs = {"x": RNG.standard_normal((1, 2, 32)).astype(np.float32)}
    (wanted,) = run_onnx(proto, inputs).values()
    (body_result,) = run_onnx(g.to_proto(model), inputs).values()
    np.testing.assert_allclose(body_result, wanted, atol=1e-5)
    operators, found = run_edge(proto, tmp_path, inputs)
    assert operators == {"ai.penlight.MatMulNBits": 1}
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(run_original(tmp_path, inputs), wanted, atol=1e-5)


def weight_only(folder):
    """A product with 8-bit weights, which onnxruntime's optimizer turns into one with 8-bit rows."""
    given = {"W": RNG.integers(-128, 128, (128, 64)).astype(np.int8), "s": RNG.uniform(0.005, 0.02, (4, 64)).astype(np.float32)}
    text = "g (float[rows,128] x) => (float[rows,64] y) { w = DequantizeLinear<axis=0, block_size=32>(W, s) y = MatMul(x, w) }"
    proto = model_from_text(text, weights=given)
    (folder / "weights.onnx").write_bytes(proto.SerializeToString())
    return proto, folder / "weights.onnx"


def test_less_precise_rewriting_of_the_peer_does_not_fail_a_conversion(tmp_path, monkeypatch):
    proto, path = weight_only(tmp_path)
    x = RNG.standard_normal((3, 128)).astype(np.float32)
    plain = OnnxEngine(proto.SerializeToString(), optimize=False)
    run = OnnxEngine.run

    def worse(self, inputs):  # on every processor, whatever its optimizer does there
        return {name: array + 0.1 * self._is_optimized for name, array in run(self, inputs).items()}

    monkeypatch.setattr(OnnxEngine, "run", lambda self, inputs: {k: v.astype(np.float32) for k, v in worse(self, inputs).items()})
    result = convert(path, tmp_path / "weights.pen")
    assert {row.reference for row in result.report.rows} == {"onnxruntime, not optimized"}
    assert result.report.ok and result.report.max_abs < 1e-3 and not result.report.divergence
    assert [note.startswith("onnxruntime: its optimizer rewrites") for note in result.report.notes] == [True]
    assert "not optimized" in result.report.to_text() and "its optimizer" in result.report.to_text()
    program = penlight_runtime.Program.open(tmp_path / "weights.pen")
    program.self_test()
    np.testing.assert_allclose(program.session().run({"x": x})["y"], run(plain, {"x": x})["y"], atol=1e-3)


def test_wrong_numbers_still_fail(tmp_path, monkeypatch):
    _, path = weight_only(tmp_path)
    run = EdgeEngine.run
    monkeypatch.setattr(EdgeEngine, "run", lambda self, x: {k: (v + 0.1).astype(np.float32) for k, v in run(self, x).items()})
    with pytest.raises(VerifyError) as caught:
        convert(path, tmp_path / "weights.pen")
    assert {row.reference for row in caught.value.report.rows} == {"onnxruntime"} and not (tmp_path / "weights.pen").exists()


def test_models_of_floats_get_no_second_chance():
    proto = model_from_text("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    engine = OnnxEngine(proto.SerializeToString())
    assert engine.as_written() is None and engine.on_reference() is None


def sums_of_bytes(folder):
    """Weights of all 8 bits, with which onnxruntime's sums saturate on x86 processors without VNNI."""
    given = {"w": RNG.integers(-128, 128, (64, 8)).astype(np.int8), "xz": np.uint8(3), "wz": np.int8(0)}
    text = "g (uint8[rows,64] x) => (int32[rows,8] y) { y = MatMulInteger(x, w, xz, wz) }"
    proto = model_from_text(text, weights={name: np.asarray(value) for name, value in given.items()})
    (folder / "bytes.onnx").write_bytes(proto.SerializeToString())
    return folder / "bytes.onnx", {"x": RNG.integers(0, 256, (5, 64)).astype(np.uint8)}


@pytest.fixture
def saturated(monkeypatch):
    """onnxruntime as it is there, on every processor."""
    run = OnnxEngine.run
    wrong = {np.dtype(np.int32): lambda array: array.clip(-9000, 9000), np.dtype(np.float32): lambda array: array + np.float32(0.1)}
    monkeypatch.setattr(OnnxEngine, "run", lambda self, inputs: {k: wrong[v.dtype](v) for k, v in run(self, inputs).items()})


def test_onnx_itself_is_the_judge_of_sums_of_bytes(tmp_path, saturated):
    path, data = sums_of_bytes(tmp_path)
    report = convert(path, tmp_path / "bytes.pen", data=data).report
    assert report.ok and report.max_abs == 0 and [row.reference for row in report.rows] == ["onnx reference"]
    (note,) = report.notes
    assert note.startswith("onnxruntime computes this quantized model otherwise than ONNX's reference implementation")
    assert note.endswith("MatMulInteger 'y' is its first layer that differs; on x86 processors without VNNI its sums of unsigned "
                         "by signed bytes saturate")  # fmt: skip  # one sentence
    penlight_runtime.Program.open(tmp_path / "bytes.pen").self_test()
    again = verify(path, tmp_path / "bytes.pen", [Sample("one", data), Sample("two", {"x": data["x"][::2]})])
    assert again.ok and len(again.rows) == 2 and again.notes == report.notes


def test_the_judge_is_asked_about_small_work_only(tmp_path, saturated, monkeypatch):
    path, data = sums_of_bytes(tmp_path)
    monkeypatch.setattr(engines, "MOST_REFERENCE_WORK", 5 * 64 * 8)
    with pytest.raises(VerifyError) as caught:
        convert(path, tmp_path / "bytes.pen", data=data)
    assert [note.partition("not asked: ")[2] for note in caught.value.report.notes] == ["4,960 steps of work, above 2,560"]
    assert not (tmp_path / "bytes.pen").exists()


def test_the_judge_refuses_wrong_numbers(tmp_path, saturated, monkeypatch):
    path, data = sums_of_bytes(tmp_path)
    run = EdgeEngine.run
    monkeypatch.setattr(EdgeEngine, "run", lambda self, x: {name: array + 1 for name, array in run(self, x).items()})
    with pytest.raises(VerifyError) as caught:
        convert(path, tmp_path / "bytes.pen", data=data)
    assert [row.reference for row in caught.value.report.rows] == ["onnxruntime"]
    assert caught.value.report.notes == ["ONNX's reference implementation does not agree either"]


@pytest.mark.parametrize(
    ("text", "work"),
    [
        ("g (uint8[n,4,6,6] x) => (int32[n,3,4,4] y) { y = ConvInteger(x, w) }", 2 * 3 * 16 * (4 * 9 + 60)),
        ("g (uint8[n,4,6,6] x) => (int32[a,b,c,d] y) { p = MaxPool<kernel_shape=[2,2]>(x) y = Cast<to=6>(p) }", 200 * (4000 + 60)),
        ("g (uint8[n,4,6,6] x) => (int64[4,k] y) { y = NonZero(x) }", None),
    ],
)
def test_work_is_counted_beforehand(text, work):
    weights = {"w": np.ones((3, 4, 3, 3), np.int8)} if "w)" in text else {}
    assert reference_work(model_from_text(text, weights=weights), {"x": np.zeros((2, 4, 6, 6), np.uint8)}) == work
