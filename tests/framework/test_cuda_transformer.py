# SPDX-License-Identifier: Apache-2.0
"""What transformers use beside attention: RoPE, SwiGLU, RMS norm, group norm, as calls of `F` that take the CUDA kernels."""

import cuda_host
import numpy as np
import pytest

import penlight as pl
from penlight.autograd import grad
from penlight.backends.cpu import CPU, SMALL
from penlight.backends.cuda.cupy_backend import CudaBackend
from penlight.nn import functional as F
from penlight.ops.samples import build, index, of, sample
from penlight.tracing import trace

TOLERANCE = {"float32": 5e-6, "float16": 2e-3, "bfloat16": 1.6e-2}  # rounding of the result alone
KINDS = list(TOLERANCE)


@pytest.fixture
def launcher(cuda_library):
    """The kernels stand where the CPU's own are; the launcher remembers what ran."""
    launcher = cuda_host.HostLauncher(cuda_library)
    saved, small = dict(CPU.kernels), dict(SMALL)
    CPU.kernels.clear()
    CPU.kernels.update(CudaBackend(np, launcher).kernels)
    SMALL.clear()
    yield launcher
    CPU.kernels.clear()
    CPU.kernels.update(saved)
    SMALL.update(small)


def results(call, arrays, constants=()):
    """The output and the gradients of all inputs but the constants, as float64."""
    tensors = [None if a is None else pl.from_numpy(a) for a in arrays]
    wanted = [t.requires_grad_(True) for i, t in enumerate(tensors) if t is not None and i not in constants]
    result = call(*tensors)
    seed = np.random.default_rng(7).uniform(-1, 1, result.shape).astype(arrays[0].dtype)
    return [t.detach().numpy().astype(np.float64) for t in (result, *grad(result, wanted, pl.from_numpy(seed)))]


def compare(launcher, call, arrays, constants=(), dtype="float32"):
    actual = results(call, arrays, constants)
    CPU.kernels.clear()
    exact = [a.astype(np.float64) if a is not None and a.dtype.kind in "fV" else a for a in arrays]
    for ours, reference in zip(actual, results(call, exact, constants), strict=True):
        assert ours.shape == reference.shape
        np.testing.assert_allclose(ours, reference, rtol=0, atol=TOLERANCE[dtype] * max(1.0, np.abs(reference).max(initial=0)))


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("is_interleaved", [False, True])
@pytest.mark.parametrize(("size", "pairs"), [(32, 16), (32, 8), (10, 5), (10, 3)])
def test_rotary_embedding(launcher, size, pairs, is_interleaved, dtype):
    """In packs and without, whole heads and parts of them, positions from the end and repeated."""
    x, cos, sin = build(sample(of(2, 3, 5, size), of(7, pairs), of(7, pairs)), dtype)
    ids = np.random.default_rng(1).integers(-7, 7, (2, 5))
    compare(launcher, lambda *t: F.rotary_embedding(*t, is_interleaved), [x, cos, sin, ids], (1, 2, 3), dtype)
    assert launcher.launched == ["rotary_turn", "rotary_turn"]


def test_rotary_embedding_keeps_what_projections_give(launcher):
    """(B, T, H * D) seen as (B, H, T, D) is neither copied nor are the results."""
    flat, cos, sin = build(sample(of(2, 5, 24), of(9, 4), of(9, 4)))
    heads = flat.reshape(2, 5, 3, 8).swapaxes(1, 2)
    kernel = CPU.kernels["rotary_embedding"]
    ids = np.tile(np.arange(5), (2, 1))
    operator = pl.ops.registry.operators()["rotary_embedding"]()
    turned = kernel(operator, heads, cos, sin, ids)
    assert turned.swapaxes(1, 2).flags.c_contiguous
    np.testing.assert_allclose(turned, operator.forward(np, heads, cos, sin, ids), atol=1e-6)
    compare(launcher, lambda x: F.rotary_embedding(x, pl.from_numpy(cos), pl.from_numpy(sin)).to(x.dtype), [heads])


def test_rotary_embedding_of_a_position_outside_is_nan_there(launcher):
    x, cos, sin = build(sample(of(1, 1, 3, 4), of(2, 2), of(2, 2)))
    result = F.rotary_embedding(*map(pl.from_numpy, (x, cos, sin, np.array([[1, 2, -3]])))).numpy()
    assert np.isfinite(result[0, 0, 0]).all() and np.isnan(result[0, 0, 1:]).all()


def test_angles_may_have_gradients(launcher):
    arrays = build(sample(of(2, 2, 3, 6), of(4, 3), of(4, 3), index(2, 3, high=4)))
    compare(launcher, F.rotary_embedding, arrays, (3,))


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("count", [5, 1003])
def test_swiglu(launcher, count, dtype):
    compare(launcher, F.swiglu, build(sample(of(count, low=-6, high=6), of(count)), dtype), (), dtype)
    assert launcher.launched == ["swiglu_forward", "swiglu_backward"]


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("columns", [33, 1500])
@pytest.mark.parametrize("has_weight", [False, True])
def test_rms_norm(launcher, has_weight, columns, dtype):
    x, weight = build(sample(of(9, columns), of(columns)), dtype)
    arrays = [x, weight] if has_weight else [x]
    compare(launcher, lambda x, w=None: F.rms_norm(x, columns, w, 1e-5), arrays, (), dtype)
    kernels = {"rms_norm_forward", "rms_norm_backward", "layer_norm_partial", "layer_norm_parameters"}
    assert set(launcher.launched) >= (kernels if has_weight else set(sorted(kernels)[2:]))


def test_traces_of_rms_norm_keep_the_formula(launcher):
    graph = trace(lambda x: F.rms_norm(x, 4), (pl.randn(2, 4),))
    assert "rms_norm" not in {node.operator.name for node in graph.nodes}


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm_takes_the_kernels_of_layer_norm(launcher, groups):
    arrays = build(sample(of(2, 6, 5, 7), of(6), of(6)))
    compare(launcher, lambda x, w, b: F.group_norm(x, groups, w, b), arrays)
    assert {"layer_norm_forward", "layer_norm_backward"} <= set(launcher.launched)
