# SPDX-License-Identifier: Apache-2.0
"""MatMulNBits: weights of 4 and 8 bits in panels, scaled by blocks, against the same product in float64."""

import numpy as np
import pytest
from kernel_runner import node_program, run_node
from nbits_panels import nbits_inputs, nbits_product

import penlight_runtime

OURS = {"domain": "ai.penlight"}
SIZES = [
    (1, 8, 1),
    (1, 64, 33),
    (1, 300, 70),
    (2, 70, 16),
    (5, 40, 9),
    (9, 520, 100),
    (33, 600, 17),
    (1, 0, 4),
    (3, 0, 4),
    (0, 8, 4),
]


@pytest.mark.parametrize("zeros", ["", "uint8", "float32"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_products(size, bits, zeros):
    (m, k, n), block = size, 32 if size[1] < 300 else 128
    for has_bias in (False, True):
        given = nbits_inputs(m, k, n, bits, block, zeros, has_bias)
        wanted = nbits_product(given, n, bits, block)
        options = {"columns": n, "block_size": block, **OURS}
        (found,) = run_node("MatMulNBits", given, [wanted], threads=3, **options)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=3e-6 * max(1, k) ** 0.5)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rows", [1, 7])
def test_threads_change_no_bit(rows, bits):
    given = nbits_inputs(rows, 333, 217, bits, 64, "uint8", True)
    program = penlight_runtime.Program(
        node_program("MatMulNBits", given, [np.zeros((1, rows, 217), np.float32)], columns=217, block_size=64, **OURS)
    )
    feeds = dict(zip((f"x{i}" for i in range(5)), given, strict=True))
    for exact in (False, True):
        results = [program.session(threads=threads, deterministic=exact).run(feeds)["y0"] for threads in (1, 2, 4)]
        assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()


def test_one_block_may_be_larger_than_all_rows():
    given = nbits_inputs(1, 20, 5, 4, 1 << 40, "", False)
    wanted = nbits_product(given, 5, 4, 1 << 40)
    (found,) = run_node("MatMulNBits", given, [wanted], columns=5, block_size=1 << 40, **OURS)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def refused(given, n=20, **options):
    wanted = np.zeros((1, 1, n), np.float32)
    options = {"columns": 20, "block_size": 32} | options
    with pytest.raises(penlight_runtime.RuntimeFailure) as caught:
        run_node("MatMulNBits", given, [wanted], **options, **OURS)
    return str(caught.value)


def test_what_does_not_fit_is_refused():
    x, w, scales, zeros, bias = nbits_inputs(1, 64, 20, 4, 32, "uint8", True)
    assert "columns or block_size" in refused([x, w, scales], block_size=12)
    assert "columns or block_size" in refused([x, w, scales], block_size=0)
    assert "columns or block_size" in refused([x, w, scales], columns=-1)
    assert "weights" in refused([x, w, scales], columns=33)
    assert "weights" in refused([x[..., :32], w, scales])
    assert "weights" in refused([x, w.view(np.int8).reshape(2, -1, 16)[:, :-1], scales])
    assert "16 numbers" in refused([x, w, scales[:, :1]])
    assert "16 numbers" in refused([x, w, scales, zeros[:1]])
    assert "bias" in refused([x, w, scales, zeros, bias[:5]])
    assert "float64" in refused([x.astype(np.float64), w, scales])
    assert "uint8" in refused([x, w.view(np.uint8), scales])


def test_work_counts_whole_panels():
    """A column alone takes as long as sixteen; unpacking takes as long as a row."""
    for rows, work in ((1, 64 * 16), (3, 4 * 64 * 16)):
        given = nbits_inputs(rows, 64, 1, 4, 32, "", False)
        data = node_program("MatMulNBits", given, [np.zeros((1, rows, 1), np.float32)], columns=1, block_size=32, **OURS)
        session = penlight_runtime.Program(data).session()
        session.run(dict(zip(("x0", "x1", "x2"), given, strict=True)))
        assert session.macs == work
