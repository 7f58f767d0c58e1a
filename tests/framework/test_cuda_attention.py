# SPDX-License-Identifier: Apache-2.0
"""The attention kernels on the CPU, with tensor-core fragments laid out as the GPU has them, against the reference in float64."""

import shutil

import cuda_host
import ml_dtypes
import numpy as np
import pytest

import penlight as pl
from penlight.backends.cpu import CPU
from penlight.backends.cuda import attention
from penlight.nn import functional as F
from penlight.ops.flash_attention import FlashAttention
from penlight.tracing import trace

COMPILER = shutil.which("g++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile the kernels for the CPU")

HALF = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
# Probabilities and their slopes are rounded to 16 bits before the second product, results once more.
TOLERANCE = {"float16": 3e-3, "bfloat16": 2.5e-2}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return cuda_host.Library(tmp_path_factory.mktemp("cuda"), COMPILER)


@pytest.fixture
def launcher(library):
    return cuda_host.HostLauncher(library)


@pytest.fixture
def kernels(launcher):
    return attention.table(np, launcher)


def arrays(dtype, query_shape, key_shape, seed=0):
    rng = np.random.default_rng(seed)
    q, k, v, g = (rng.normal(size=s).astype(HALF[dtype]) for s in (query_shape, key_shape, key_shape, query_shape))
    return q, k, v, g


def exact(operator, q, k, v, g, mask):
    """Results, log-sums and gradients in float64, by the reference."""
    wide = [None if a is None or a.dtype == bool else a.astype(np.float64) for a in (q, k, v, g, mask)]
    mask = mask if mask is not None and mask.dtype == bool else wide[4]
    with np.errstate(divide="ignore"):
        outputs = operator.forward(np, *wide[:3], mask)
        return *outputs, *operator.backward(np, (True,) * 3 + (False,), (wide[3], None), outputs, *wide[:3], mask)[:3]


def check(kernels, operator, q, k, v, g, mask=None):
    """Runs both directions; returns what the kernels gave."""
    outputs = kernels["flash_attention"](operator, q, k, v, mask)
    gradients = kernels["flash_attention.backward"](operator, (True,) * 3 + (False,), (g, None), outputs, q, k, v, mask)
    assert gradients[3] is None
    actual = (*outputs, *gradients[:3])
    for ours, reference, dtype in zip(
        actual, exact(operator, q, k, v, g, mask), (q.dtype, np.float32, *[q.dtype] * 3), strict=True
    ):
        assert (ours.shape, ours.dtype) == (reference.shape, dtype)
        tolerance = 1e-5 if dtype == np.float32 else TOLERANCE[str(q.dtype)]
        scale = max(1.0, np.abs(reference[np.isfinite(reference)]).max(initial=0))
        np.testing.assert_allclose(ours.astype(np.float64), reference, rtol=0, atol=tolerance * scale)
    return actual


def others(dtype):
    return pytest.param(*dtype, marks=pytest.mark.slow)  # two seconds of compiling each


# Shapes: several tiles of queries and keys with a rest; a width that is padded.
CASES = [("float16", 64)]
CASES += [
    others(case)
    for case in [("float16", 32), ("float16", 96), ("float16", 60), ("bfloat16", 64), ("bfloat16", 128), ("bfloat16", 20)]
]


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize(("dtype", "width"), CASES)
def test_both_directions(kernels, launcher, dtype, width, is_reversed):
    launcher.is_reversed = is_reversed
    padded = next(n for n in (32, 64, 96, 128) if n >= width)
    check(kernels, FlashAttention(width**-0.5), *arrays(dtype, (2, 70, width), (2, 90, width)))
    names = ["attention_dots", f"attention_backward_keys_{padded}", f"attention_backward_queries_{padded}"]
    assert launcher.launched == [f"attention_forward_{padded}", *names]


@pytest.mark.parametrize(("queries", "keys"), [(70, 70), (130, 20), (20, 130)])
def test_causal(kernels, queries, keys):
    check(kernels, FlashAttention(0.2, True), *arrays("float16", (1, 1, queries, 64), (1, 1, keys, 64)))


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize(("queries", "keys"), [(130, 20), (20, 130)])
def test_three_tiles_pass_by_two_places(kernels, launcher, queries, keys, is_reversed):
    """A loop without its last barrier overwrites a tile that another warp still reads: here that shows."""
    launcher.is_reversed = is_reversed
    check(kernels, FlashAttention(0.2), *arrays("float16", (1, 1, queries, 64), (1, 1, keys, 64)))


def test_queries_share_heads_of_keys(kernels):
    q, k, v, g = arrays("float16", (2, 2, 3, 33, 64), (2, 2, 1, 70, 64))
    check(kernels, FlashAttention(0.1, True), q, k, v, g)
    check(kernels, FlashAttention(0.1), q[0, 0], k[0, 0], v[0, 0], g[0, 0])


def test_heads_beside_rows_in_memory_are_read_there(kernels):
    """(B, T, H, D) turned into (B, H, T, D), as a model has it after its projection; the result lies the same way."""
    packed = np.random.default_rng(1).normal(size=(2, 40, 3, 2, 64)).astype(np.float16)
    q, k, v = (packed[:, :, i].swapaxes(1, 2) for i in range(3))
    g = packed[:, ::-1, 1].swapaxes(1, 2)
    output = check(kernels, FlashAttention(0.1, True), q, k, v, g)[0]
    assert output.swapaxes(1, 2).flags.c_contiguous


@pytest.mark.parametrize(
    ("shape", "kind"), [((70,), "allowed"), ((17, 1), "added"), ((2, 1, 17, 70), "allowed"), ((3, 1, 70), "added")]
)
def test_masks_broadcast(kernels, shape, kind):
    rng = np.random.default_rng(2)
    mask = rng.normal(size=shape).astype(np.float16) if kind == "added" else rng.random(shape) < 0.6
    check(kernels, FlashAttention(0.1), *arrays("float16", (2, 3, 17, 64), (2, 3, 70, 64)), mask)


@pytest.mark.parametrize("kind", ["added", "allowed"])
def test_a_row_that_sees_nothing_is_zero(kernels, kind):
    allowed = np.ones((5, 70), bool)
    allowed[1] = allowed[3, 2:] = False
    mask = allowed if kind == "allowed" else np.where(allowed, 0, -np.inf).astype(np.float16)
    output, sums, grad_q, *_ = check(kernels, FlashAttention(0.1), *arrays("float16", (1, 5, 64), (1, 70, 64)), mask)
    assert not output[0, 1].any() and sums[0, 1] == -np.inf and not grad_q[0, 1].any()


def test_nan_stays_in_its_row(kernels):
    q, k, v, _ = arrays("float16", (1, 5, 64), (1, 70, 64))
    q[0, 2, 7] = np.nan
    output = kernels["flash_attention"](FlashAttention(0.1), q, k, v, None)[0]
    assert np.isnan(output[0, 2]).all() and np.isfinite(np.delete(output, 2, axis=1)).all()


def test_large_scores_do_not_overflow(kernels):
    q, k, v, g = arrays("float16", (1, 66, 64), (1, 70, 64))
    check(kernels, FlashAttention(2.0), q, k, v, g)


def test_the_same_bits_every_time(kernels, launcher):
    operator, call = FlashAttention(0.1, True), arrays("float16", (1, 70, 64), (1, 70, 64))
    first = check(kernels, operator, *call)
    launcher.is_reversed = True
    for a, b in zip(first, check(kernels, operator, *call), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_the_kernels_decline(kernels, launcher):
    operator, wide = FlashAttention(0.1), arrays("float16", (2, 4, 136), (2, 4, 136))[:3]
    q, k, v, g = arrays("float16", (2, 4, 8), (2, 4, 8))
    forward, backward = kernels["flash_attention"], kernels["flash_attention.backward"]
    assert forward(operator, *wide, None) is NotImplemented
    assert forward(operator, *(a.astype(np.float32) for a in (q, k, v)), None) is NotImplemented
    assert forward(operator, q, k, v[..., :4], None) is NotImplemented
    assert forward(operator, q[:1], k, v, None) is NotImplemented  # keys with more heads than queries
    assert forward(operator, q, k, v, np.zeros((4, 4), np.float32)) is NotImplemented
    assert forward(operator, q[:, :0], k, v, None) is NotImplemented
    saved = (g, np.zeros((2, 4), np.float32))
    assert backward(operator, (True,) * 4, (g, None), saved, q, k, v, np.zeros((4, 4), np.float16)) is NotImplemented
    assert backward(operator, (True,) * 3, (None, saved[1]), saved, q, k, v, None) is NotImplemented
    assert launcher.launched == []


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_gradients_that_nobody_wants_are_not_computed(kernels, launcher, wanted):
    operator, (q, k, v, g) = FlashAttention(0.1), arrays("float16", (1, 5, 64), (1, 7, 64))
    saved = kernels["flash_attention"](operator, q, k, v, None)
    launcher.launched.clear()
    result = kernels["flash_attention.backward"](operator, wanted, (g, None), saved, q, k, v, None)
    assert [r is not None for r in result] == [*wanted, False]
    assert ("attention_backward_queries_64" in launcher.launched) == wanted[0]


@pytest.fixture
def backend(kernels, monkeypatch):
    """The framework's own path, with these kernels in place of the CPU's."""
    for name, kernel in kernels.items():
        monkeypatch.setitem(CPU.kernels, name, kernel)


def test_scaled_dot_product_attention_takes_the_kernels(backend, launcher):
    arguments = [pl.from_numpy(a).requires_grad_(True) for a in arrays("float16", (1, 2, 5, 64), (1, 2, 5, 64))[:3]]
    result = F.scaled_dot_product_attention(*arguments, is_causal=True)
    result.float().square().sum().backward()
    assert {"attention_forward_64", "attention_backward_keys_64", "attention_backward_queries_64"} <= set(launcher.launched)
    launcher.launched.clear()
    q, k, v = (pl.from_numpy(a) for a in arrays("float16", (1, 4, 5, 64), (1, 2, 5, 64))[:3])
    shared = F.scaled_dot_product_attention(q, k, v, enable_gqa=True).float().numpy()
    whole = F.scaled_dot_product_attention(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)).float().numpy()
    np.testing.assert_array_equal(shared, whole)
    assert launcher.launched == ["attention_forward_64"] * 2
    launcher.launched.clear()
    mask = pl.zeros(5, 5, dtype=pl.float16).requires_grad_(True)
    F.scaled_dot_product_attention(*arguments, mask).float().sum().backward()
    assert mask.grad is not None
    F.scaled_dot_product_attention(*(t.detach().float() for t in arguments))
    assert launcher.launched == []


def test_traces_keep_the_plain_operator(backend):
    q = pl.randn(1, 2, 5, 8)
    graph = trace(lambda x: F.scaled_dot_product_attention(x, x, x), (q,))
    assert "attention" in [node.operator.name for node in graph.nodes]
