# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy with its gradient in the forward pass: the kernels on the CPU, and the operator, against what is there already."""

import shutil

import cuda_host
import ml_dtypes
import numpy as np
import pytest

import penlight as pl
from penlight.autograd import grad
from penlight.backends.cpu import CPU
from penlight.backends.cuda import fused_loss, source
from penlight.backends.cuda.launch import Grid
from penlight.nn import functional as F
from penlight.ops.dispatch import apply
from penlight.ops.fused_loss import FusedCrossEntropy
from penlight.tracing import trace

COMPILER = shutil.which("g++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile the kernels for the CPU")

KINDS = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
TOLERANCE = {"float32": 3e-6, "float16": 2e-3, "bfloat16": 1.6e-2}  # rounding of the result alone


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return cuda_host.Library(tmp_path_factory.mktemp("cuda"), COMPILER)


@pytest.fixture
def launcher(library):
    return cuda_host.HostLauncher(library)


@pytest.fixture
def backend(launcher, monkeypatch):
    """The framework's own path, with these kernels beside the CPU's."""
    for name, kernel in fused_loss.table(np, launcher).items():
        monkeypatch.setitem(CPU.kernels, name, kernel)
    return launcher


def problem(dtype, rows, classes, seed=0):
    rng = np.random.default_rng(seed)
    logits, weight = rng.normal(0, 3, (rows, classes)).astype(KINDS[dtype]), rng.uniform(0, 2, classes).astype(KINDS[dtype])
    weight[0] = 0
    return logits, rng.integers(0, classes, rows), weight


def losses_and_gradient(logits, target, weight, **settings):
    x = pl.from_numpy(logits).requires_grad_(True)
    loss = F.cross_entropy(x, pl.from_numpy(target), None if weight is None else pl.from_numpy(weight), **settings)
    seed = pl.from_numpy(np.linspace(0.5, 2, loss.numel()).reshape(loss.shape).astype(logits.dtype))
    return [t.detach().numpy().astype(np.float64) for t in (loss, grad(loss, [x], seed)[0])]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize(("rows", "classes"), [(11, 37), (2, 1500), (1, 1)])
def test_as_the_composite(backend, monkeypatch, rows, classes, is_weighted, smoothing, dtype):
    logits, target, weight = problem(dtype, rows, classes)
    target[0] = -7
    settings = {"ignore_index": -7, "label_smoothing": smoothing, "reduction": "none"}
    actual = losses_and_gradient(logits, target, weight if is_weighted else None, **settings)
    assert backend.launched == ["fused_cross_entropy_forward", "fused_cross_entropy_backward"]
    monkeypatch.delitem(CPU.kernels, "fused_cross_entropy")
    wide = [a.astype(np.float64) for a in (logits, weight)]
    expected = losses_and_gradient(wide[0], target, wide[1] if is_weighted else None, **settings)
    for ours, reference in zip(actual, expected, strict=True):
        scale = max(1.0, np.abs(reference).max(initial=0))
        np.testing.assert_allclose(ours, reference, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_reductions(backend, monkeypatch, reduction, is_weighted):
    logits, target, weight = problem("float32", 6, 9)
    target[2] = -100
    arguments = (logits, target, weight if is_weighted else None)
    actual = losses_and_gradient(*arguments, reduction=reduction)
    monkeypatch.delitem(CPU.kernels, "fused_cross_entropy")
    for ours, reference in zip(actual, losses_and_gradient(*arguments, reduction=reduction), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-5)


@pytest.mark.parametrize("columns", [37, 1500])
def test_the_gradient_may_overwrite_the_logits(launcher, columns):
    """In the other order of threads, too: all read the target's logit before anyone writes."""
    kernel = source.kernels("fused_loss")["fused_cross_entropy_forward"]
    logits, target, _ = problem("float32", 9, columns)
    losses, slopes = fused_loss.table(np, launcher)["fused_cross_entropy"](FusedCrossEntropy(), logits, target, None)
    for launcher.is_reversed in (False, True):
        x, again, factor = logits.copy(), np.empty(9, np.float32), np.array([0.5], np.float32)
        grid = Grid((2, 1, 1), (32, 8, 1)) if columns == 37 else Grid((2, 1, 1), (256, 1, 1))
        launcher.launch(kernel, "float32", grid, x, target, None, factor, again, x, 9, columns, -100, 0.0)
        np.testing.assert_allclose(again, losses, rtol=1e-6)
        np.testing.assert_allclose(x, slopes * 0.5, atol=1e-6)


@pytest.mark.parametrize("target", [-1, 3, 2**62])
def test_a_class_outside_is_nan_there(launcher, target):
    kernel = fused_loss.table(np, launcher)["fused_cross_entropy"]
    losses, slopes = kernel(FusedCrossEntropy(), np.zeros((2, 3), np.float32), np.array([target, 1]))
    np.testing.assert_allclose(losses, [np.nan, np.log(3)], rtol=1e-6)
    assert np.isnan(slopes[0]).all() and np.isfinite(slopes[1]).all()


def test_a_logit_of_minus_infinity_costs_nothing(launcher):
    kernel = fused_loss.table(np, launcher)["fused_cross_entropy"]
    losses, slopes = kernel(FusedCrossEntropy(), np.array([[1, -np.inf, 2]], np.float32), np.array([2]))
    np.testing.assert_allclose(losses, [np.log1p(np.exp(-1))], rtol=1e-6)
    assert slopes[0, 1] == 0 and np.isfinite(slopes).all()


def test_second_derivative_with_weights(backend, monkeypatch):
    logits, target, weight = problem("float32", 4, 5)

    def second():
        x = pl.from_numpy(logits.astype(np.float64)).requires_grad_(True)
        w = pl.from_numpy(weight.astype(np.float64))
        loss = F.cross_entropy(x, pl.from_numpy(target), w, label_smoothing=0.2)
        first = grad(loss, [x], create_graph=True)[0]
        return grad((first * first).sum(), [x])[0].numpy()

    ours = second()
    monkeypatch.delitem(CPU.kernels, "fused_cross_entropy")
    np.testing.assert_allclose(ours, second(), atol=1e-9)


def test_a_weight_that_wants_a_gradient_takes_the_composite(backend):
    logits, target, weight = problem("float32", 4, 5)
    w = pl.from_numpy(weight).requires_grad_(True)
    F.cross_entropy(pl.from_numpy(logits), pl.from_numpy(target), w).backward()
    assert w.grad is not None and backend.launched == []


def test_weight_of_another_length_is_refused():
    with pytest.raises(pl.errors.ShapeError, match=r"fused_cross_entropy: weight \(3,\) must have shape \(5,\)"):
        apply(FusedCrossEntropy(), pl.zeros(2, 5), pl.zeros(2, dtype=pl.int64), pl.ones(3))


def test_traces_keep_the_plain_operator(backend):
    target = pl.zeros(2, dtype=pl.int64)
    graph = trace(lambda x: F.cross_entropy(x, target), (pl.randn(2, 5),))
    assert "cross_entropy" in [node.operator.name for node in graph.nodes]


def test_every_kernel_is_launched_by_something():
    assert set(source.kernels("fused_loss")) == {"fused_cross_entropy_forward", "fused_cross_entropy_backward"}
