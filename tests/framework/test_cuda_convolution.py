# SPDX-License-Identifier: Apache-2.0
"""The convolution kernels on the CPU, with tensor-core fragments laid out as the GPU has them, against the reference in float64."""

import shutil

import cuda_host
import ml_dtypes
import numpy as np
import pytest

from penlight.backends.cuda import convolution, source
from penlight.ops.conv import Conv2d, Conv2dInputGrad, Conv2dWeightGrad

COMPILER = shutil.which("g++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile the kernels for the CPU")

KINDS = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
# Rounding of the result alone, and the order of summation in float.
TOLERANCE = {"float32": 3e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
DTYPES = ["float32", "bfloat16", pytest.param("float16", marks=pytest.mark.slow)]  # two seconds of compiling
PRODUCTS = ["convolution_forward", "convolution_input", "convolution_weight", "convolution_weight_sum"]
DEPTHWISE = ["depthwise_forward", "depthwise_input", "depthwise_weight"]

# (x, weight, stride, padding, dilation, groups): channels that need padding; more than one tile of pixels, filters or depth;
# sizes that no tile divides; rows that no output reads.
CASES = [
    ((2, 3, 5, 6), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((1, 4, 7, 5), (6, 2, 3, 2), (2, 1), (0, 1), (2, 1), 2),
    ((2, 16, 9, 8), (72, 16, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((3, 40, 7, 7), (24, 20, 1, 1), (1, 1), (0, 0), (1, 1), 2),
    ((1, 8, 24, 25), (8, 8, 1, 2), (1, 1), (0, 0), (1, 1), 1),
    ((1, 2, 6, 6), (3, 2, 2, 2), (3, 4), (0, 0), (1, 1), 1),
    ((2, 3, 4, 5), (6, 1, 3, 3), (1, 1), (1, 1), (1, 1), 3),
    ((2, 3, 9, 5), (3, 1, 3, 2), (2, 1), (1, 1), (1, 2), 3),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return cuda_host.Library(tmp_path_factory.mktemp("cuda"), COMPILER)


@pytest.fixture
def launcher(library):
    return cuda_host.HostLauncher(library)


@pytest.fixture
def kernels(launcher):
    return convolution.table(np, launcher)


def channels_last(array):
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def close(ours, reference, dtype):
    assert (ours.shape, ours.dtype) == (reference.shape, KINDS[dtype])
    scale = max(1.0, np.abs(reference).max(initial=0))
    np.testing.assert_allclose(ours.astype(np.float64), reference, rtol=0, atol=TOLERANCE[dtype] * scale)


def run(kernels, case, dtype, order):
    """(ours, reference) of the result and both gradients."""
    x_shape, weight_shape, *arguments = case
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.normal(size=s).astype(KINDS[dtype]) for s in (x_shape, weight_shape, weight_shape[0]))
    x = order(x)
    wide = [a.astype(np.float64) for a in (x, weight, bias)]
    operator = Conv2d(*arguments)
    yield kernels["conv2d"](operator, x, weight, bias), operator.forward(np, *wide)
    yield kernels["conv2d"](operator, x, weight, None), (expected := operator.forward(np, *wide[:2], None))
    grad = order(rng.normal(size=expected.shape).astype(KINDS[dtype]))
    wide_grad = grad.astype(np.float64)
    operator = Conv2dInputGrad(*arguments, x_shape[2:])
    yield kernels["conv2d_input_grad"](operator, grad, weight), operator.forward(np, wide_grad, wide[1])
    operator = Conv2dWeightGrad(*arguments, weight_shape[2:])
    yield kernels["conv2d_weight_grad"](operator, x, grad), operator.forward(np, wide[0], wide_grad)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_result_and_gradients(kernels, launcher, case, dtype):
    for ours, reference in run(kernels, case, dtype, np.ascontiguousarray):
        close(ours, reference, dtype)
        assert ours.flags.c_contiguous
    assert set(launcher.launched) == set(DEPTHWISE if case[-1] == 3 else PRODUCTS)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_channels_last_in_the_other_order_of_threads(kernels, launcher, case):
    launcher.is_reversed = True
    results = list(run(kernels, case, "bfloat16", channels_last))
    for ours, reference in results:
        close(ours, reference, "bfloat16")
    assert results[0][0].transpose(0, 2, 3, 1).flags.c_contiguous


def test_images_that_lie_right_are_not_copied(kernels):
    x = channels_last(np.zeros((2, 8, 3, 3), np.float16))
    packed = convolution.Convolution(np, kernels["conv2d"].__self__._launcher)._packed
    assert np.shares_memory(packed(x, 1), x) and not np.shares_memory(packed(np.ascontiguousarray(x), 1), x)


def test_sums_over_pixels_in_parts_repeat(kernels, launcher):
    """Each part has its own place, so that neither the order of blocks nor of threads changes a bit."""
    launched = {}
    launcher.launch = record(launcher.launch, launched)
    case = ((2, 8, 24, 25), (8, 8, 3, 3), (1, 1), (1, 1), (1, 1), 1)
    first = [ours for ours, _ in run(kernels, case, "bfloat16", channels_last)]
    assert launched["convolution_weight"].blocks[2] > 1
    launcher.is_reversed = True
    for ours, (again, _) in zip(first, run(kernels, case, "bfloat16", channels_last), strict=True):
        np.testing.assert_array_equal(ours, again)


def record(launch, launched):
    def recorded(kernel, dtype, grid, *values):
        launched[kernel.name] = grid
        launch(kernel, dtype, grid, *values)

    return recorded


def test_what_the_kernels_decline(kernels, launcher):
    operator = Conv2d()
    x, weight = np.zeros((2, 3, 4, 4)), np.zeros((2, 3, 3, 3))
    half = x.astype(np.float16)
    assert kernels["conv2d"](operator, x, weight, None) is NotImplemented
    assert kernels["conv2d"](operator, half, weight.astype(np.float32), None) is NotImplemented
    assert kernels["conv2d"](operator, half[:0], weight.astype(np.float16), None) is NotImplemented
    assert kernels["conv2d"](operator, half[:, :, :2], weight.astype(np.float16), None) is NotImplemented
    assert kernels["conv2d"](operator, half[:, :2], weight.astype(np.float16), None) is NotImplemented
    assert launcher.launched == []


def test_every_kernel_is_launched_by_something():
    assert set(PRODUCTS + DEPTHWISE) == {k for family in ("convolution", "depthwise") for k in source.kernels(family)}
