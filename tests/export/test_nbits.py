# SPDX-License-Identifier: Apache-2.0
"""Weights of 4 and 8 bits, as onnxruntime's quantizer writes them and as ONNX's own operators do, stay packed in .pen files."""

import logging

import numpy as np
import pytest
from onnx_text import model_from_text, run_onnx
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
from onnxruntime.quantization.quant_utils import QuantFormat

import penlight as pl
import penlight_runtime
from penlight_export import convert
from penlight_export import graph as g
from penlight_export.edge.original import original_model
from penlight_export.edge.reader import read_pen
from penlight_export.errors import UnsupportedFeatureError
from penlight_export.imported import import_module

RNG = np.random.default_rng(9)
OURS = {"ai.penlight.MatMulNBits": 1}


def plain(k, n, opset=21):
    weight = (RNG.standard_normal((k, n)) / k**0.5).astype(np.float32)
    return model_from_text(f"g (float[m,{k}] x) => (float[m,{n}] y) {{ y = MatMul(x, w) }}", opset, {"w": weight})


def quantized(k, n, bits, block, symmetric, form=QuantFormat.QOperator, opset=21, **options):
    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.ERROR)
    how = DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=symmetric, bits=bits, quant_format=form, **options)
    quantizer = MatMulNBitsQuantizer(plain(k, n, opset), algo_config=how)
    quantizer.process()
    return quantizer.model.model


def converted(proto, folder):
    """The operators of the .pen file, and a function that runs it."""
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    result = convert(folder / "m.onnx", folder / "m.pen")
    assert result.report.ok and result.report.max_abs < 1e-5
    program = penlight_runtime.Program.open(folder / "m.pen")
    return result.summary.operators, lambda x: program.session().run({"x": x})["y"]


def assert_as_onnxruntime(proto, folder, k, shapes=((1,), (6,))):
    """run_onnx does not optimize: nothing is rounded to 8 bits there. The file's own form agrees, too."""
    operators, run = converted(proto, folder)
    original = g.to_proto(original_model(read_pen(folder / "m.pen"), "forward"))
    for shape in shapes:
        x = RNG.standard_normal((*shape, k)).astype(np.float32)
        (wanted,) = run_onnx(proto, {"x": x}).values()
        np.testing.assert_allclose(run(x), wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(*run_onnx(original, {"x": x}).values(), wanted, rtol=1e-4, atol=1e-5)
    return operators


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("block", [16, 64])
@pytest.mark.parametrize("bits", [4, 8])
def test_products_of_the_quantizer(tmp_path, bits, block, symmetric):
    assert assert_as_onnxruntime(quantized(70, 35, bits, block, symmetric), tmp_path, 70) == OURS


@pytest.mark.parametrize(("symmetric", "whole"), [(True, False), (False, False), (True, True), (False, True)])
def test_dequantized_integers_of_4_bits(tmp_path, symmetric, whole):
    """With one scale for each column, the quantizer turns the weights for some processors and turns them back in the graph."""
    proto = quantized(64, 36, 4, 32, symmetric, QuantFormat.QDQ, channel_wised_quantize=whole)
    assert assert_as_onnxruntime(proto, tmp_path, 64) == OURS


def test_older_operator_sets(tmp_path):
    assert assert_as_onnxruntime(quantized(48, 16, 4, 32, False, opset=17), tmp_path, 48) == OURS


def test_an_integer_takes_the_bits_that_it_needs(tmp_path):
    text = "g (float[m,32] x) => (float[m,20] y) { w = DequantizeLinear<axis=1>(q, s) y = MatMul(x, w) }"
    for high, dtype in ((7, "uint32"), (100, "int8")):
        given = {"q": RNG.integers(-8, high + 1, (32, 20)).astype(np.int8), "s": RNG.uniform(0.01, 0.1, 20).astype(np.float32)}
        proto = model_from_text(text, 21, given)
        assert assert_as_onnxruntime(proto, tmp_path, 32) == OURS
        file = read_pen(tmp_path / "m.pen")
        assert dtype in {tensor.dtype.name.lower() for tensor in constants(file)}


def constants(file):
    model = original_model(file, "forward")
    return [value.const_value for value in model.graph.initializers.values()]


PRODUCTS = {
    "bias": ("y = MatMulNBits(x, q, s, , , b)", {"b": (20,)}, OURS),
    "add": ("p = MatMulNBits(x, q, s) y = Add(b, p)", {"b": (20,)}, OURS),
    "add of more": ("p = MatMulNBits(x, q, s) y = Add(p, b)", {"b": (1, 1)}, OURS | {"Add": 1}),
    "relu": ("p = MatMulNBits(x, q, s) y = Relu(p)", {}, OURS | {"Relu": 1}),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_what_stands_beside(tmp_path, name):
    body, more, operators = PRODUCTS[name]
    given = {"q": RNG.integers(0, 256, (20, 2, 8)).astype(np.uint8), "s": RNG.uniform(0.01, 0.1, 40).astype(np.float32)}
    given |= {key: RNG.standard_normal(shape).astype(np.float32) for key, shape in more.items()}
    proto = microsoft(body, given, K=32, N=20, bits=4, block_size=16)
    assert assert_as_onnxruntime(proto, tmp_path, 32) == operators


def microsoft(body, weights, shape="m,32", result="m,20", kind="float", **attributes):
    """A model whose MatMulNBits have these attributes."""
    listed = ", ".join(f"{key} = {value}" for key, value in attributes.items())
    body = body.replace("MatMulNBits(", f"com.microsoft.MatMulNBits<{listed}>(")
    text = f"g ({kind}[{shape}] x) => ({kind}[{result}] y) {{ {body} }}"
    return model_from_text(text, 21, weights, domains=', "com.microsoft" : 1')


@pytest.mark.parametrize("blocks", [1, 3])
def test_zero_points_may_be_floats(tmp_path, blocks):
    k = 16 * blocks - 3
    given = {
        "q": RNG.integers(0, 256, (20, blocks, 8)).astype(np.uint8),
        "s": RNG.uniform(0.01, 0.1, (20, blocks)).astype(np.float32),
        "z": RNG.uniform(0, 15, (20, blocks)).astype(np.float32),
    }
    proto = microsoft("y = MatMulNBits(x, q, s, z)", given, f"m,{k}", K=k, N=20, bits=4, block_size=16)
    assert assert_as_onnxruntime(proto, tmp_path, k) == OURS


def test_gemm_and_turned_weights(tmp_path):
    given = {"q": RNG.integers(-100, 100, (20, 32)).astype(np.int8), "s": RNG.uniform(0.01, 0.1, 20).astype(np.float32)}
    given["b"] = RNG.standard_normal(20).astype(np.float32)
    head = "g (float[m,32] x) => (float[m,20] y)"
    gemm = model_from_text(f"{head} {{ w = DequantizeLinear<axis=0>(q, s) y = Gemm<transB=1>(x, w, b) }}", 21, given)
    assert assert_as_onnxruntime(gemm, tmp_path, 32) == OURS
    scaled = model_from_text(f"{head} {{ w = DequantizeLinear<axis=0>(q, s) y = Gemm<transB=1, alpha=2.0>(x, w, b) }}", 21, given)
    operators, _ = converted(scaled, tmp_path)
    assert operators == {"DequantizeLinear": 1, "Gemm": 1}


def test_a_matrix_of_several_products_is_packed_once(tmp_path):
    given = {"q": RNG.integers(-8, 8, (64, 64)).astype(np.int8), "s": RNG.uniform(0.01, 0.1, (2, 64)).astype(np.float32)}
    body = "w = DequantizeLinear<axis=0, block_size=32>(q, s) h = MatMul(x, w) t = Tanh(h) y = MatMul(t, w)"
    proto = model_from_text(f"g (float[m,64] x) => (float[m,64] y) {{ {body} }}", 21, given)
    operators = assert_as_onnxruntime(proto, tmp_path, 64)
    assert operators == {"ai.penlight.MatMulNBits": 2, "Tanh": 1}
    assert sum(tensor.nbytes for tensor in constants(read_pen(tmp_path / "m.pen"))) == 64 * 64 // 2 + 2 * 64 * 4


def test_without_passes_the_numbers_are_the_same(tmp_path):
    proto = quantized(70, 35, 4, 32, False)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    result = convert(tmp_path / "m.onnx", tmp_path / "m.pen", passes=())
    assert result.summary.operators == {"DequantizeLinear": 1, "MatMul": 1} and result.report.ok


def test_half_floats_are_multiplied_in_float32(tmp_path):
    given = {"q": RNG.integers(0, 256, (20, 2, 8)).astype(np.uint8), "s": RNG.uniform(0.01, 0.1, 40).astype(np.float16)}
    proto = microsoft("y = MatMulNBits(x, q, s)", given, kind="float16", K=32, N=20, bits=4, block_size=16)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    result = convert(tmp_path / "m.onnx", tmp_path / "m.pen", tolerance=5e-3)
    assert result.summary.operators == OURS | {"Cast": 2}


def test_accuracy_levels_are_not_those_of_the_judge(tmp_path):
    """onnxruntime may round rows to 8 bits at level 4; the model's own numbers are what is compared."""
    given = {"q": RNG.integers(0, 256, (20, 2, 16)).astype(np.uint8), "s": RNG.uniform(0.01, 0.1, 40).astype(np.float32)}
    proto = microsoft("y = MatMulNBits(x, q, s)", given, "m,64", K=64, N=20, bits=4, block_size=32, accuracy_level=4)
    operators, _ = converted(proto, tmp_path)
    assert operators == OURS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bits": 3}, "has 3 bits"),
        ({"block_size": 24}, "blocks of 24"),
        ({"K": 0}, "K 0"),
        ({"N": 21}, "the file is damaged"),
        ({"order": np.zeros(32, np.int32)}, "g_idx"),
        ({"computed": True}, "must be constants"),
    ],
)
def test_refusals(tmp_path, change, words):
    given = {"q": RNG.integers(0, 256, (20, 2, 8)).astype(np.uint8), "s": RNG.uniform(0.01, 0.1, 40).astype(np.float32)}
    order = {"o": change["order"]} if "order" in change else {}
    body = f"y = MatMulNBits(x, q, s{', , o' if order else ''})"
    if "computed" in change:
        body = "c = Abs(s) y = MatMulNBits(x, q, c)"
    attributes = {"K": 32, "N": 20, "bits": 4, "block_size": 16}
    attributes |= {name: value for name, value in change.items() if name in attributes}
    path = tmp_path / "m.onnx"
    path.write_bytes(microsoft(body, given | order, **attributes).SerializeToString())
    with pytest.raises(UnsupportedFeatureError, match=words):
        convert(path, tmp_path / "m.pen")
    assert not (tmp_path / "m.pen").exists()


def test_the_framework_reads_them():
    proto = quantized(70, 35, 4, 32, False)
    x = RNG.standard_normal((3, 70)).astype(np.float32)
    (wanted,) = run_onnx(proto, {"x": x}).values()
    np.testing.assert_allclose(import_module(proto)(pl.tensor(x)).numpy(), wanted, atol=1e-5)
