# SPDX-License-Identifier: Apache-2.0
"""The batch normalisation kernels on the CPU: values, statistics and gradients in both orders of memory."""

import cuda_host
import numpy as np
import pytest

import penlight.nn.functional  # noqa: F401  all operators are in the table after this
from penlight.backends.cuda import batch_norm, source
from penlight.ops.registry import operators
from penlight.ops.samples import build, of, sample

TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
HALVES = [pytest.param(name, marks=pytest.mark.slow) for name in ("float16", "bfloat16")]
LARGER = [sample(of(3, 5, 40, 41), of(5), of(5)), sample(of(700, 37), of(37), of(37)), sample(of(2, 33, 9), None, of(33))]


@pytest.fixture(params=[False, True], ids=["forwards", "backwards"])
def launcher(cuda_library, request):
    launcher = cuda_host.HostLauncher(cuda_library)
    launcher.is_reversed = request.param
    return launcher


@pytest.fixture
def kernels(launcher):
    return batch_norm.table(np, launcher)


def exact(array):
    return None if array is None else array.astype(np.float64)


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def close(ours, reference, dtype):
    assert (ours is None) == (reference is None)
    if ours is not None:
        assert ours.shape == reference.shape
        scale = max(1.0, np.abs(reference).max(initial=0))
        np.testing.assert_allclose(exact(ours), reference, rtol=0, atol=2 * TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("order", [np.ascontiguousarray, channels_last, lambda x: x[..., ::-1]], ids=["rows", "last", "strided"])
@pytest.mark.parametrize("dtype", ["float32", *HALVES])
def test_training(kernels, dtype, order):
    for call in (*operators()["batch_norm_training"].samples, *LARGER):
        x, weight, bias = build(call, dtype)
        x = order(x + x.dtype.type(3))
        operator = operators()["batch_norm_training"](**call.fields)
        outputs = kernels["batch_norm_training"](operator, x, weight, bias)
        assert [str(array.dtype) for array in outputs] == [dtype, "float32", "float32"]
        reference = operator.forward(np, exact(x), exact(weight), exact(bias))
        for ours, expected in zip(outputs, reference, strict=True):
            close(ours, expected, dtype)
        if order is channels_last and x.ndim == 4 and x.shape[1] > 1:
            assert outputs[0].strides == x.strides
        grad = order(np.random.default_rng(1).uniform(-1, 1, x.shape).astype(x.dtype))
        needs = (True, weight is not None, bias is not None)
        ours = kernels["batch_norm_training.backward"](operator, needs, (grad, None, None), outputs, x, weight, bias)
        expected = operator.backward(np, needs, (exact(grad), None, None), reference, exact(x), exact(weight), exact(bias))
        for a, b in zip(ours, expected, strict=True):
            close(a, b, dtype)


@pytest.mark.parametrize("dtype", ["float32", *HALVES])
def test_inference(kernels, dtype):
    for call in operators()["batch_norm"].samples:
        x, weight, bias, mean, var = build(call, dtype)
        operator = operators()["batch_norm"](**call.fields)
        statistics = [array.astype(np.float32) for array in (mean, var)]
        ours = kernels["batch_norm"](operator, x, weight, bias, *statistics)
        if x.size == 0:
            assert ours is NotImplemented
            continue
        close(ours, operator.forward(np, *map(exact, (x, weight, bias, *statistics))), dtype)


def test_variance_of_a_large_mean_does_not_cancel(kernels):
    x = (1e4 + np.random.default_rng(0).normal(size=(8, 3, 20))).astype(np.float32)
    _, mean, variance = kernels["batch_norm_training"](operators()["batch_norm_training"](), x, None, None)
    np.testing.assert_allclose(variance, exact(x).var(axis=(0, 2)), rtol=1e-3)
    np.testing.assert_allclose(mean, exact(x).mean(axis=(0, 2)), rtol=1e-6)


def test_what_the_kernels_do_not_take(kernels, launcher):
    operator, x, w = operators()["batch_norm_training"](), np.ones((2, 3), np.float32), np.ones(3, np.float32)
    assert kernels["batch_norm_training"](operator, x.astype(np.float64), None, None) is NotImplemented
    assert kernels["batch_norm_training"](operator, x, w.astype(np.float16), None) is NotImplemented
    assert kernels["batch_norm"](operator, x, w, w, w.astype(np.float16), w) is NotImplemented
    outputs = (x, w, w)
    assert kernels["batch_norm_training.backward"](operator, (1, 1, 1), (x, w, None), outputs, x, w, w) is NotImplemented
    assert launcher.launched == []


def test_every_kernel_is_launched_by_something(kernels, launcher):
    operator = operators()["batch_norm_training"]()
    for shape in ((2, 3), (2, 3, 4)):
        x, w = np.ones(shape, np.float32), np.ones(3, np.float32)
        outputs = kernels["batch_norm_training"](operator, x, w, w)
        kernels["batch_norm_training.backward"](operator, (True, True, True), (x, None, None), outputs, x, w, w)
    assert set(launcher.launched) == {k.symbol for kernel in source.kernels("batch_norm").values() for k in kernel.variants()}
