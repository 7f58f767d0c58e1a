# SPDX-License-Identifier: Apache-2.0
"""Attention, convolution and cross-entropy on the GPU at sizes of models, against float64 on the CPU."""

import numpy as np
import pytest

import penlight as pl
from penlight.autograd import grad
from penlight.backends import get_backend
from penlight.backends.cpu import CPU
from penlight.device import device
from penlight.nn import functional as F

# Products of 16-bit factors: rounding of what goes into the second product, and of the result.
TOLERANCE = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def compare(function, arrays, dtype, place):
    """Result and gradients on the device, against float64 of the same rounded numbers."""

    def run(kind, where):
        tensors = [pl.from_numpy(a).to(dtype).to(kind).to(where).requires_grad_(True) for a in arrays]
        result = function(*tensors)
        seed = np.random.default_rng(9).uniform(-1, 1, tuple(result.shape)).astype(np.float32)
        gradients = grad(result, tensors, pl.from_numpy(seed).to(dtype).to(kind).to(where))
        return [t.detach().to("cpu").to(pl.float64).numpy() for t in (result, *gradients)]

    for ours, exact in zip(run(dtype, place), run("float64", "cpu"), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=0, atol=TOLERANCE[dtype] * max(1.0, np.abs(exact).max()))


def normal(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("width", [32, 40, 64, 96, 128, 20])
@pytest.mark.parametrize("is_causal", [False, True])
def test_attention(gpu, dtype, width, is_causal):
    arrays = normal((2, 3, 200, width), (2, 3, 170, width), (2, 3, 170, width))
    compare(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=is_causal), arrays, dtype, gpu)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_attention_with_fewer_heads_of_keys(gpu, dtype):
    arrays = normal((2, 2, 4, 130, 64), (2, 2, 1, 130, 64), (2, 2, 1, 130, 64))
    compare(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), arrays, dtype, gpu)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_attention_with_a_mask(gpu, dtype):
    mask = np.random.default_rng(1).random((2, 1, 100, 90)) < 0.7
    mask[0, 0, 3] = False
    arrays = normal((2, 3, 100, 64), (2, 3, 90, 64), (2, 3, 90, 64))

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, pl.from_numpy(mask).to(q.device))

    compare(attend, arrays, dtype, gpu)


def test_attention_repeats_bit_for_bit(gpu):
    def gradients():
        q, k, v = (pl.from_numpy(a).to("bfloat16").to(gpu).requires_grad_(True) for a in normal(*[(2, 4, 300, 64)] * 3))
        return grad(F.scaled_dot_product_attention(q, k, v, is_causal=True).float().square().sum(), [q, k, v])

    for a, b in zip(gradients(), gradients(), strict=True):
        np.testing.assert_array_equal(a.to("cpu").numpy(), b.to("cpu").numpy())


CONVOLUTIONS = [  # x, weight, arguments: stems, strides, 1 x 1, dilated, grouped, depthwise
    ((4, 3, 33, 31), (32, 3, 7, 7), {"stride": 2, "padding": 3}),
    ((4, 32, 17, 18), (70, 32, 3, 3), {"padding": 1}),
    ((4, 64, 14, 14), (128, 64, 1, 1), {"stride": 2}),
    ((2, 24, 15, 15), (48, 12, 3, 3), {"padding": 2, "dilation": 2, "groups": 2}),
    ((2, 40, 15, 15), (40, 1, 5, 5), {"padding": 2, "groups": 40}),
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("is_channels_last", [False, True])
def test_convolution(gpu, dtype, case, is_channels_last):
    x, weight, arguments = case

    def convolve(image, filters, bias):
        image = image.to(memory_format=pl.channels_last) if is_channels_last else image
        return F.conv2d(image, filters, bias, **arguments)

    compare(convolve, normal(x, weight, weight[:1]), dtype, gpu)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("rows", "classes"), [(300, 10), (64, 5000)])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_cross_entropy(gpu, dtype, rows, classes, is_weighted):
    rng = np.random.default_rng(3)
    target, weight = rng.integers(0, classes, rows), rng.uniform(0.5, 2, classes).astype(np.float32)
    target[::7] = -100

    def loss(x):
        factors = pl.from_numpy(weight).to(dtype).to(x.dtype).to(x.device) if is_weighted else None
        wanted = pl.from_numpy(target).to(x.device)
        return F.cross_entropy(x, wanted, factors, label_smoothing=0.1, reduction="none")

    compare(loss, normal((rows, classes)), dtype, gpu)


def test_the_device_has_kernels_for_these(gpu):
    if get_backend(device(gpu)) is CPU:
        pytest.skip("kernels of the GPU")
    kernels = get_backend(device(gpu)).kernels
    names = {"flash_attention", "fused_cross_entropy", "conv2d", "conv2d_input_grad", "conv2d_weight_grad"}
    assert names | {"flash_attention.backward", "fused_cross_entropy.backward"} <= kernels.keys()
