# SPDX-License-Identifier: Apache-2.0
"""Constant matrices of products lie in the file as the kernels read them; whatever else reads files sees them as they were."""

import numpy as np
import onnx
import pytest
from onnx_text import model_from_text, run_onnx

import penlight_runtime
from penlight_export import convert
from penlight_export import graph as g
from penlight_export.edge import panels
from penlight_export.edge.original import original_model
from penlight_export.edge.reader import read_pen
from penlight_export.structure_pen import pen_structure

RNG = np.random.default_rng(29)


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def written(proto, folder):
    onnx.save(proto, folder / "m.onnx")
    result = convert(folder / "m.onnx", folder / "m.pen")
    assert result.report.ok
    return read_pen(folder / "m.pen")


def nodes_with_panels(file):
    return [node.name for node in pen_structure(file).nodes if node.attributes.get(panels.ATTRIBUTE) == "1"]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("depth", "columns"), [(5, 16), (1, 48), (7, 37), (4, 3), (3, 1), (0, 20)])
def test_panels_hold_every_element_once(depth, columns, turned):
    matrix = f32(columns, depth) if turned else f32(depth, columns)
    parts = panels.in_panels(matrix, turned)
    assert all(np.shares_memory(part, matrix) or not part.size for part in parts)
    stored = np.concatenate([part.reshape(-1) for part in parts]).reshape(matrix.shape)
    np.testing.assert_array_equal(panels.from_panels(stored, turned), matrix)
    if columns == 48:
        np.testing.assert_array_equal(stored.reshape(3, 16), matrix.reshape(3, 16))


PRODUCTS = {
    "matmul": ("m = MatMul(x, w) a = Add(m, b) y = Relu(a)", False),
    "gemm": ("m = Gemm(x, w, b) y = Relu(m)", False),
    "turned": ("m = Gemm<transB = 1, alpha = 0.5>(x, w, b) y = Tanh(m)", True),
}


@pytest.mark.parametrize("columns", [16, 21, 150])
@pytest.mark.parametrize("kind", PRODUCTS)
def test_products_read_panels(tmp_path, kind, columns):
    body, turned = PRODUCTS[kind]
    depth = 300 if columns == 16 else 19  # more than one pass over a tile
    weight = f32(columns, depth) if turned else f32(depth, columns)
    proto = model_from_text(f"g (float[n,{depth}] x) => (float[n,{columns}] y) {{ {body} }}", 20, {"w": weight, "b": f32(columns)})
    file = written(proto, tmp_path)
    assert nodes_with_panels(file)
    stored = next(value for value in pen_structure(file).values if value.name.startswith("w"))
    np.testing.assert_array_equal(stored.read(), weight)
    program, back = penlight_runtime.Program.open(tmp_path / "m.pen"), g.to_proto(original_model(file, "forward"))
    for rows in (1, 3, 70):
        x = {"x": f32(rows, depth)}
        expected = run_onnx(proto, x)["y"]
        np.testing.assert_allclose(run_onnx(back, x)["y"], expected, rtol=1e-4, atol=1e-4)
        for threads in (1, 2):
            np.testing.assert_allclose(program.session(threads=threads).run(x)["y"], expected, rtol=1e-4, atol=1e-4)
        exact = [program.session(threads=threads, deterministic=True).run(x)["y"] for threads in (1, 2, 4)]
        assert exact[0].tobytes() == exact[1].tobytes() == exact[2].tobytes()


def test_a_large_product_alone_reads_panels(tmp_path):
    proto = model_from_text("g (float[n,9,128] x) => (float[n,9,131] y) { y = MatMul(x, w) }", 20, {"w": f32(128, 131)})
    file = written(proto, tmp_path)
    assert nodes_with_panels(file)
    x = {"x": f32(2, 9, 128)}
    session = penlight_runtime.Program.open(tmp_path / "m.pen").session()
    np.testing.assert_allclose(session.run(x)["y"], run_onnx(proto, x)["y"], rtol=1e-4, atol=1e-4)


def test_a_matrix_that_others_read_stays_as_it_is(tmp_path):
    body = "m = MatMul(x, w) a = Add(m, b) r = Relu(a) e = Gather(w, i) y = Add(r, e)"
    weights = {"w": f32(20, 20), "b": f32(20)}
    proto = model_from_text(f"g (float[n,20] x, int64[1] i) => (float[n,20] y) {{ {body} }}", 20, weights)
    assert nodes_with_panels(written(proto, tmp_path)) == []


def test_an_older_runtime_gets_plain_matrices(tmp_path, monkeypatch):
    monkeypatch.setattr(panels, "has_kernel", lambda domain, name, version: version < panels.VERSION)
    proto = model_from_text("g (float[n,8] x) => (float[n,16] y) { m = MatMul(x, w) y = Relu(m) }", 20, {"w": f32(8, 16)})
    assert nodes_with_panels(written(proto, tmp_path)) == []
