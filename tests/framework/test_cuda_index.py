# SPDX-License-Identifier: Apache-2.0
"""The indexing kernels on the CPU: every operator of them, repeated indices, many keys, and sorting by itself."""

import cuda_host
import ml_dtypes
import numpy as np
import pytest

import penlight.nn.functional  # noqa: F401  all operators are in the table after this
from penlight.backends.cuda import index, source
from penlight.ops.registry import operators
from penlight.ops.samples import build, of, sample
from penlight.ops.samples import index as indices

TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
HALVES = [pytest.param(name, marks=pytest.mark.slow) for name in ("float16", "bfloat16")]
LARGER = {
    "take": [sample(of(3, 7, 8), indices(5, high=7), dim=1), sample(of(9, 16), indices(600, high=9), dim=0)],
    "embedding": [sample(of(1000, 8), indices(3, 40, high=1000))],
    "gather": [sample(of(4, 5, 6), indices(2, 5, 3, high=4), dim=0), sample(of(40, 30), indices(40, 30, high=30), dim=1)],
    "scatter": [],
    "take_add": [
        sample(of(3, 600, 2), indices(600, high=300), dim=1, size=300),
        sample(of(700, 4), indices(700, high=2), dim=0, size=2),
    ],
    "gather_add": [sample(of(2, 300), indices(2, 300, high=70_000), dim=1, shape=(3, 70_000))],
    "scatter_add": [sample(of(5, 40, 3), indices(5, 90, 2, high=40), of(5, 100, 3), dim=1)],
}


@pytest.fixture
def launcher(cuda_library):
    return cuda_host.HostLauncher(cuda_library)


@pytest.fixture
def kernels(launcher):
    return index.table(np, launcher)


def exact(array):
    return array.astype(np.float64) if array.dtype.kind in "fV" else array


@pytest.mark.parametrize("dtype", ["float32", *HALVES])
@pytest.mark.parametrize("name", LARGER)
def test_every_operator_is_its_reference(kernels, name, dtype):
    for call in (*operators()[name].samples, *LARGER[name]):
        arrays = build(call, dtype)
        operator = operators()[name](**call.fields)
        ours, reference = kernels[name](operator, *arrays), operator.forward(np, *map(exact, arrays))
        if ours is NotImplemented:
            assert arrays[0].size == 0
            continue
        assert (ours.shape, ours.dtype) == (reference.shape, arrays[0].dtype)
        scale = max(1.0, np.abs(reference).max(initial=0))
        np.testing.assert_allclose(exact(ours), reference, rtol=0, atol=TOLERANCE[dtype] * scale if "add" in name else 0)


@pytest.mark.parametrize("dtype", ["float64", "int64", "int32", "uint8", "bool"])
def test_other_types_are_moved_as_bits(kernels, dtype):
    x = np.arange(30).reshape(5, 6).astype(dtype)
    chosen = np.array([4, 0, -1, 2])
    np.testing.assert_array_equal(kernels["take"](operators()["take"](0), x, chosen), x[chosen])
    along = np.array([[1, 0, 4, 2, 2, 3]])
    np.testing.assert_array_equal(kernels["gather"](operators()["gather"](0), x, along), np.take_along_axis(x, along, 0))
    ours = kernels["scatter"](operators()["scatter"](0), x, along, x[:1] + x.dtype.type(1))
    expected = x.copy()
    np.put_along_axis(expected, along, x[:1] + x.dtype.type(1), 0)
    np.testing.assert_array_equal(ours, expected)


def test_views_are_read_where_they_lie(kernels):
    x, along = np.arange(24.0, dtype=np.float32).reshape(4, 6).T, np.array([[5, 0, 1, 1]])
    np.testing.assert_array_equal(kernels["gather"](operators()["gather"](0), x, along), np.take_along_axis(x, along, 0))
    np.testing.assert_array_equal(kernels["take"](operators()["take"](1), x, along[0] % 4), x[:, along[0] % 4])


@pytest.mark.parametrize("limit", [1, 200, 257, 70_000, 2**33])
def test_sorting_is_stable(launcher, limit):
    rng = np.random.default_rng(limit)
    for count in (1, 255, 256, 257, 1500):
        keys = rng.integers(0, min(limit, 50) if count > 1000 else limit, count) * (limit // min(limit, 50) if count > 1000 else 1)
        ours, order = index.Index(np, launcher)._sorted(keys, limit)
        np.testing.assert_array_equal(order, np.argsort(keys, kind="stable"))
        np.testing.assert_array_equal(ours, np.sort(keys))


def test_sums_are_in_the_order_of_the_rows(kernels):
    x = np.float32([1e8, 1, -1e8, 1]).reshape(4, 1)
    ours = kernels["take_add"](operators()["take_add"](0, 3), x, np.array([1, 1, 1, 1]))
    assert ours.tolist() == [[0], [float(np.float32(np.float32(1e8 + 1) - np.float32(1e8)) + 1)], [0]]


def test_what_has_no_instance_takes_the_reference(kernels, launcher):
    x, chosen = np.ones((3, 2)), np.array([0, 1])
    assert kernels["take_add"](operators()["take_add"](0, 3), x[:2], chosen) is NotImplemented
    assert kernels["take"](operators()["take"](0), x, chosen.astype(np.int32)) is NotImplemented
    assert kernels["take"](operators()["take"](0), x.astype(np.complex128), chosen) is NotImplemented
    assert kernels["embedding"](operators()["embedding"](), np.ones((2, 2), ml_dtypes.bfloat16)[None], chosen) is NotImplemented
    assert launcher.launched == []


def test_every_kernel_is_launched_by_something(kernels, launcher):
    for name in LARGER:
        for call in operators()[name].samples:
            kernels[name](operators()[name](**call.fields), *build(call))
    assert set(launcher.launched) == set(source.kernels("index"))
