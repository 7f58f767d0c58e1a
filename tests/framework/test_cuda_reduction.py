# SPDX-License-Identifier: Apache-2.0
"""The reduction kernels on the CPU: every operator over rows, columns and other dimensions, in one stage and in two."""

import cuda_host
import numpy as np
import pytest

import penlight.nn.functional  # noqa: F401  all operators are in the table after this
from penlight.backends.cuda import reduction, source
from penlight.ops.registry import operators
from penlight.ops.samples import build, of, sample

TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}  # relative to the largest: sums are in float
HALVES = [pytest.param(name, marks=pytest.mark.slow) for name in ("float16", "bfloat16")]
SUMS = ("sum", "mean", "prod", "amax", "amin")
NAMES = (*SUMS, "any", "all", "argmax", "argmin", "sum_to")

# Rows, columns, both at once, dimensions in between, more than a warp's row, and what is cut into chunks.
SHAPES = (
    ((3, 1500), (1,)),
    ((40, 37), (0,)),
    ((2, 5, 3, 9), (1, 2)),
    ((2, 5, 3, 9), (0, 2)),
    ((4, 3, 2), (0, 1, 2)),
    ((5000,), (0,)),
    ((300, 9), (0,)),
    ((2, 2, 2, 2, 2), (1, 3)),
    ((3, 4), ()),
)


@pytest.fixture
def launcher(cuda_library):
    return cuda_host.HostLauncher(cuda_library)


@pytest.fixture
def kernels(launcher):
    return reduction.table(np, launcher)


def exact(array):
    return array.astype(np.float64) if array.dtype.kind in "fV" else array


def calls(name):
    operator = operators()[name]
    yield from operator.samples
    first = operator.samples[0].inputs[0]
    for shape, dims in SHAPES:
        kind = of(*shape, dtype=first.dtype, low=first.low, high=first.high, distinct=first.distinct)
        if name.startswith("arg"):
            yield from (sample(kind, dim=d) for d in dims[:1])
        elif name == "sum_to":
            yield sample(kind, shape=tuple(1 if d in dims else n for d, n in enumerate(shape)))
        else:
            yield sample(kind, dims=dims, keepdim=len(dims) == 2)


def near_one(x):
    """`x` brought around 1 and -1 in float64, so that no product, however long, leaves float32's range."""
    sizes = np.abs(exact(x)).astype(np.float64)
    centred = (sizes - sizes.mean()) / np.sqrt(sizes.size) if sizes.size else sizes
    return np.copysign(np.exp(centred), exact(x)).astype(x.dtype)


@pytest.mark.parametrize("dtype", ["float32", *HALVES])
@pytest.mark.parametrize("name", NAMES)
def test_every_reduction_is_its_operator(kernels, name, dtype):
    for call in calls(name):
        (x,) = build(call, dtype)
        operator = operators()[name](**call.fields)
        if x.size == 0 and name[:3] in ("arg", "ama", "ami"):
            assert kernels[name](operator, x) is NotImplemented
            continue
        if name == "prod":
            x = near_one(x)
        for view in (x, x[::-1] if x.ndim > 1 and not name.startswith("arg") else x):
            ours = kernels[name](operator, view)
            with np.errstate(all="ignore"):
                reference = np.asarray(operator.forward(np, exact(view)))
            assert ours.shape == reference.shape and (ours.dtype == view.dtype or ours.dtype == reference.dtype)
            scale = max(1.0, np.abs(exact(reference)).max(initial=0))
            np.testing.assert_allclose(
                exact(ours), reference, rtol=0, atol=TOLERANCE[dtype] * scale * (10 if name == "prod" else 1)
            )


@pytest.mark.parametrize("dtype", ["int64", pytest.param("int32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SUMS)
def test_integers(kernels, name, dtype):
    x = np.random.default_rng(0).integers(-5, 6, (70, 33)).astype(dtype)
    for dims in ((0,), (1,), (0, 1)):
        if name == "mean":
            continue
        ours = kernels[name](operators()[name](dims), x)
        np.testing.assert_array_equal(ours, operators()[name](dims).forward(np, x))
        assert ours.dtype == x.dtype


def test_long_reductions_take_two_stages(kernels, launcher):
    x = np.ones((1, 20_000), np.float32)
    assert kernels["sum"](operators()["sum"]((1,)), x) == 20_000
    assert launcher.launched == ["reduce_rows_sum", "reduce_chunks_sum"]
    launcher.launched.clear()
    np.testing.assert_array_equal(kernels["sum"](operators()["sum"]((0,)), x.reshape(-1, 10)), np.full(10, 2000))
    assert launcher.launched == ["reduce_columns_sum", "reduce_chunks_sum"]


def test_rows_of_every_length(kernels):
    for length in (0, 1, 31, 32, 33, 1024, 1025, 2049, 4100):
        x = np.random.default_rng(length).uniform(-1, 1, (3, length)).astype(np.float32)
        np.testing.assert_allclose(kernels["sum"](operators()["sum"]((1,)), x), x.sum(1, dtype=np.float64), atol=1e-4)


@pytest.mark.parametrize("name", ["amax", "amin", "argmax", "argmin"])
def test_nan_and_ties(kernels, name):
    x = np.tile(np.float32([1, 3, 3, -2, -2]), (4, 9))
    x[1, 30], x[2, 40], x[3, 0] = np.nan, np.nan, np.inf
    operator = operators()[name](1) if name.startswith("arg") else operators()[name]((1,))
    np.testing.assert_array_equal(kernels[name](operator, x), operator.forward(np, x))
    operator = operators()[name](0) if name.startswith("arg") else operators()[name]((0,))
    np.testing.assert_array_equal(kernels[name](operator, x), operator.forward(np, x))


def test_places_of_infinities_and_short_rows(kernels):
    x = np.full((3, 5), -np.inf, np.float32)
    np.testing.assert_array_equal(kernels["argmax"](operators()["argmax"](1), x), [0, 0, 0])
    np.testing.assert_array_equal(kernels["argmin"](operators()["argmin"](1), -x), [0, 0, 0])


def test_what_has_no_instance_takes_the_reference(kernels, launcher):
    assert kernels["sum"](operators()["sum"]((0,)), np.ones(3)) is NotImplemented
    assert kernels["any"](operators()["any"]((0,)), np.ones(3, np.float32)) is NotImplemented
    assert kernels["amax"](operators()["amax"]((0,)), np.ones((0, 3), np.float32)) is NotImplemented
    assert launcher.launched == []


def test_every_kernel_has_an_operator(kernels):
    assert {*source.expressions()["reduce"], *source.expressions()["position"]} <= kernels.keys() <= operators().keys()
