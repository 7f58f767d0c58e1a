# SPDX-License-Identifier: Apache-2.0
"""Gradient of ai.onnx.preview.training is written out when a file is read."""

import numpy as np
import onnx
import onnx.parser
import pytest

import penlight as pl
import penlight_runtime
from penlight.nn import functional as F
from penlight_export import convert, import_module, load_onnx
from penlight_export.errors import InvalidModelError, UnsupportedFeatureError

HEADER = '<ir_version: 10, opset_import: ["" : 17, "ai.onnx.preview.training" : 1]>\n'


def file_of(text, path):
    onnx.save(onnx.parser.parse_model(HEADER + text), path)
    return path


def gradient(names, target, inputs, outputs):
    quoted = ", ".join(f'"{name}"' for name in names)
    return f'{outputs} = ai.onnx.preview.training.Gradient <xs: strings = [{quoted}], y: string = "{target}"> ({inputs})'


def test_of_a_layer_at_any_size(tmp_path):
    """Through a convolution, an activation, a product with a weight and a value in the middle of the graph."""
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(
        HEADER
        + f"""
    f (float[n, 2, 6, 6] x, float[3, 2, 3, 3] w) => (float loss, float[n, 2, 6, 6] dx, float[3, 2, 3, 3] dw, float[n, 3] dp) {{
        c = Conv (x, w)
        r = Tanh (c)
        g = GlobalAveragePool (r)
        axes = Constant <value = int64[2] {{2, 3}}> ()
        p = Squeeze (g, axes)
        y = Mul (p, k)
        loss = ReduceSum <keepdims = 0> (y)
        {gradient(["x", "w"], "loss", "x, w", "dx, dw")}
        {gradient(["p"], "loss", "p", "dp")}
    }}"""
    )
    k = rng.standard_normal(3).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(k, "k"))
    onnx.save(proto, tmp_path / "layer.onnx")
    result = convert(tmp_path / "layer.onnx", tmp_path / "layer.pen")
    session = penlight_runtime.Program.open(result.path).session()
    for n in (1, 4):
        x, w = rng.standard_normal((n, 2, 6, 6), np.float32), rng.standard_normal((3, 2, 3, 3), np.float32)
        a, b = pl.tensor(x, requires_grad=True), pl.tensor(w, requires_grad=True)
        loss = (pl.tanh(F.conv2d(a, b)).mean((2, 3)) * pl.tensor(k)).sum()
        loss.backward()
        found = session.run({"x": x, "w": w})
        np.testing.assert_allclose(found["loss"], loss.item(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["dx"], a.grad.numpy(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["dw"], b.grad.numpy(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["dp"], np.broadcast_to(k, (n, 3)), rtol=1e-6)
    module = import_module(tmp_path / "layer.onnx")
    np.testing.assert_allclose(module(pl.tensor(x), pl.tensor(w))[1].detach().numpy(), a.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_an_input_that_nothing_reads_gets_zeros(tmp_path):
    path = file_of(
        f"f (float[3] a, float[3] b) => (float[3] da, float[3] db) {{ y = Mul (a, a)\n{gradient('ab', 'y', 'a, b', 'da, db')} }}",
        tmp_path / "unused.onnx",
    )
    a = pl.tensor([1.0, 2.0, 3.0])
    da, db = import_module(path)(a, a)
    np.testing.assert_array_equal(da.detach().numpy(), [2, 4, 6])
    np.testing.assert_array_equal(db.detach().numpy(), [0, 0, 0])


def test_what_has_no_gradient_is_named(tmp_path):
    path = file_of(
        f"f (float[3] a) => (float[3] da) {{ y = Floor (a)\nz = Mul (y, a)\n{gradient('a', 'q', 'a', 'da')} }}", tmp_path / "a.onnx"
    )
    with pytest.raises(InvalidModelError, match="names the value 'q'"):
        load_onnx(path)
    path = file_of(
        "f (float[3] a) => (float[3] da) { k = Constant <value = int64[1] {1}> ()\n v, i = TopK (a, k)\n y = Cast <to = 1> (i)\n"
        f" z = Det (m)\n m = EyeLike (y)\n{gradient('a', 'y', 'a', 'da')} }}",
        tmp_path / "b.onnx",
    )
    with pytest.raises((InvalidModelError, UnsupportedFeatureError)):
        load_onnx(path)
