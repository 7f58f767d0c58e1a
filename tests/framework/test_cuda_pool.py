# SPDX-License-Identifier: Apache-2.0
"""The pooling kernels on the CPU: every operator of them, in both orders of memory, and the structs they share with Python."""

import cuda_host
import numpy as np
import pytest

import penlight.nn.functional  # noqa: F401  all operators are in the table after this
from penlight.backends.cuda import pool, source
from penlight.ops.registry import operators
from penlight.ops.samples import build, of, sample

TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
HALVES = [pytest.param(name, marks=pytest.mark.slow) for name in ("float16", "bfloat16")]
CEIL = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1), "ceil_mode": True}
LARGER = {
    "max_pool2d": [sample(of(2, 3, 9, 11, distinct=True), **CEIL)],
    "avg_pool2d": [sample(of(2, 3, 8, 8), **CEIL, count_include_pad=flag) for flag in (True, False)],
}


@pytest.fixture
def launcher(cuda_library):
    return cuda_host.HostLauncher(cuda_library)


@pytest.fixture
def kernels(launcher):
    return pool.table(np, launcher)


def exact(array):
    return array.astype(np.float64) if array.dtype.kind in "fV" else array


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def close(ours, reference, dtype):
    assert ours.shape == reference.shape
    np.testing.assert_allclose(exact(ours), reference, rtol=0, atol=TOLERANCE[dtype] * max(1.0, np.abs(reference).max(initial=0)))


def names():
    return [name for name in operators() if name.startswith(("max_pool2d", "avg_pool2d"))]


@pytest.mark.parametrize("order", [np.ascontiguousarray, channels_last], ids=["rows", "last"])
@pytest.mark.parametrize("dtype", ["float32", *HALVES])
@pytest.mark.parametrize("name", names())
def test_every_operator_is_its_reference(kernels, name, dtype, order):
    for call in (*operators()[name].samples, *LARGER.get(name, ())):
        arrays = [order(array) for array in build(call, dtype)]
        operator = operators()[name](**call.fields)
        ours, reference = kernels[name](operator, *arrays), operator.forward(np, *map(exact, arrays))
        assert ours.dtype == (reference.dtype if name == "max_pool2d_index" else arrays[0].dtype)
        close(ours, reference, dtype)
        if order is channels_last and ours.size and ours.shape[1] > 1:
            assert np.moveaxis(ours, 1, -1).flags.c_contiguous


@pytest.mark.parametrize("order", [np.ascontiguousarray, channels_last], ids=["rows", "last"])
def test_the_gradient_of_overlapping_maxima(kernels, launcher, order):
    for call in (*operators()["max_pool2d"].samples, *LARGER["max_pool2d"]):
        (x,) = build(call)
        operator = operators()["max_pool2d"](**call.fields)
        grad = np.random.default_rng(0).uniform(-1, 1, operator.forward(np, x).shape).astype(np.float32)
        (ours,) = kernels["max_pool2d.backward"](operator, (True,), order(grad), None, order(x))
        close(ours, operator.backward(np, (True,), exact(grad), None, exact(x))[0], "float32")
    assert set(launcher.launched) == {"max_pool2d_index", "max_pool2d_grad"}


def test_nan_wins(kernels):
    x = np.float32([[[[1, np.nan], [3, 2]]]])
    operator = operators()["max_pool2d"]((2, 2), (2, 2))
    assert np.isnan(kernels["max_pool2d"](operator, x)).all()


def test_other_types_take_the_reference(kernels, launcher):
    operator = operators()["max_pool2d"]((2, 2), (2, 2))
    assert kernels["max_pool2d"](operator, np.ones((1, 1, 2, 2))) is NotImplemented
    assert kernels["max_pool2d.backward"](operator, (True,), np.ones((1, 1, 1, 1)), None, np.ones((1, 1, 2, 2))) is NotImplemented
    assert launcher.launched == []


def test_every_kernel_is_an_operator(kernels):
    assert set(source.kernels("pool")) == set(names()) == {name for name in kernels if "." not in name}
