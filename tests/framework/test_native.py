# SPDX-License-Identifier: Apache-2.0
"""The compiled training kernels against the NumPy references of their operators, in float64."""

import itertools
import platform
import subprocess
import sys

import numpy as np
import pytest

import penlight as pl
from penlight import _native as native
from penlight.backends import cpu_kernels
from penlight.backends.cpu import CPU
from penlight.ops.activation import Gelu, LeakyRelu, Relu, Sigmoid, Silu, Tanh
from penlight.ops.arithmetic import Add, Clamp
from penlight.ops.attention import Attention
from penlight.ops.conv import Conv2d, Conv2dInputGrad, Conv2dWeightGrad
from penlight.ops.elementwise import Erf, Exp
from penlight.ops.loss import CrossEntropy
from penlight.ops.matmul import Linear, MatMul
from penlight.ops.norm import BatchNormTraining, LayerNorm
from penlight.ops.pool import MaxPool2d, MaxPool2dGrad, MaxPool2dIndex
from penlight.ops.softmax import LogSoftmax, Softmax
from penlight.optim.adamw import adamw_step
from penlight.optim.sgd import sgd_step

KERNELS = cpu_kernels.kernels()

# float32 rounding over the reductions of the cases below, the largest of which adds 2304 products of about 1
TOLERANCE = {"rtol": 2e-5, "atol": 5e-5}


def rand(*shape, seed=0, low=-1.0, high=1.0):
    return np.random.default_rng(seed + len(shape)).uniform(low, high, shape).astype(np.float32)


def doubled(value):
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return value.astype(np.float64)
    return tuple(map(doubled, value)) if isinstance(value, tuple) else value


def assert_close(ours, reference, **tolerance):
    ours, reference = (v if isinstance(v, tuple) else (v,) for v in (ours, reference))
    assert len(ours) == len(reference)
    for mine, wanted in zip(ours, reference, strict=True):
        if wanted is None:
            assert mine is None
            continue
        assert mine.dtype in (np.float32, np.int64) and mine.shape == wanted.shape
        np.testing.assert_allclose(mine, wanted, **(tolerance or TOLERANCE))


def check_forward(operator, *arrays, **tolerance):
    result = KERNELS[operator.name](operator, *arrays)
    assert result is not NotImplemented
    assert_close(result, operator.forward(np, *map(doubled, arrays)), **tolerance)
    return result


def check_backward(operator, output, grad, *arrays, needs=(True, True, True)):
    needs = needs[: len(arrays)]
    result = KERNELS[operator.name + ".backward"](operator, needs, grad, output, *arrays)
    assert result is not NotImplemented
    assert_close(result, operator.backward(np, needs, doubled(grad), doubled(output), *map(doubled, arrays)))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how memory is kept is glibc's")
def test_freed_memory_is_used_again():
    code = """
import resource
import numpy as np
import penlight
from penlight import _native

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        arrays = [np.ones(1 << 20, np.float32) for _ in range(20)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults(1)
again = faults(5)
_native.release_freed_memory()
assert again < first / 10 < faults(1), (first, again)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_large_arrays_use_freed_memory_again():
    first, second = native.large_floats((2 << 20, 4)), native.large_floats((8 << 20,))
    places = {first.ctypes.data, second.ctypes.data}
    first[:], second[:] = 1, 2
    assert first.shape == (2 << 20, 4) and first.dtype == np.float32 and first.flags.c_contiguous and first.flags.writeable
    assert len(places) == 2 and first.min() == first.max() == 1
    view = second[5:]
    del first, second
    third = native.large_floats((8 << 20,))
    assert third.ctypes.data in places and third.ctypes.data != view.base.ctypes.data  # the view holds its memory
    assert view.min() == view.max() == 2
    del third, view
    native.release_freed_memory()
    with pytest.raises(ValueError, match="fits into memory"):
        native.large_floats((1 << 40, 1 << 40))


UNARY = [Relu(), LeakyRelu(0.2), Gelu(), Gelu("tanh"), Silu(), Sigmoid(), Tanh(), Exp(), Erf()]


@pytest.mark.parametrize("operator", UNARY, ids=lambda o: o.name)
@pytest.mark.parametrize("size", [1024, 1031, 50_001])
def test_unary(operator, size, threads):
    x = rand(size, low=-9, high=9)
    x[:4] = [0.0, -0.0, 88.0, -88.0]
    # 4 units in the last place: the C library's own functions reach 1 to 2
    check_forward(operator, x, rtol=5e-7, atol=1e-6)


def test_add(threads):
    a, b = rand(181, 203), rand(181, 203, seed=1)
    np.testing.assert_array_equal(KERNELS["add"](Add(), a, b), a + b)
    x, grads = pl.ones(181, 203, requires_grad=True), [rand(181, 203, seed=seed) for seed in range(3)]
    for grad in grads:
        x.backward(pl.from_numpy(grad))
    np.testing.assert_array_equal(x.grad.numpy(), grads[0] + grads[1] + grads[2])


@pytest.mark.parametrize("operator", [Relu(), Gelu(), Gelu("tanh")], ids=lambda o: str(o))
def test_unary_backward(operator, threads):
    x, grad = rand(60, 101, low=-6, high=6), rand(60, 101, seed=1)
    output = operator.forward(np, x)
    check_backward(operator, output, grad, x)


@pytest.mark.parametrize("operator", [Relu(), Sigmoid(), Tanh(), Exp(), Gelu()], ids=lambda o: o.name)
def test_unary_of_special_values(operator):
    x = np.resize(np.array([np.nan, np.inf, -np.inf, 0.0, 3e38, -3e38, 1e-45], np.float32), 2048)
    with np.errstate(all="ignore"):
        reference = operator.forward(np, x.astype(np.float64)).astype(np.float32)
        ours = KERNELS[operator.name](operator, x)
    expected_nan = np.isnan(reference)
    if operator.name == "gelu":
        expected_nan |= x == -np.inf  # -inf * 0
    np.testing.assert_array_equal(np.isnan(ours), expected_nan)
    np.testing.assert_allclose(ours[~expected_nan], reference[~expected_nan], rtol=1e-6, atol=1e-38)


CONVOLUTIONS = [
    # x, weight, stride, padding, dilation, groups
    ((2, 1, 8, 8), (16, 1, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((3, 16, 8, 8), (32, 16, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((1, 256, 5, 7), (50, 256, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 6, 9, 11), (9, 2, 3, 2), (2, 3), (2, 1), (1, 2), 3),
    ((2, 8, 10, 10), (8, 1, 3, 3), (1, 1), (1, 1), (1, 1), 8),
    ((2, 8, 10, 9), (16, 1, 5, 3), (2, 1), (0, 2), (1, 1), 8),
    ((3, 19, 9, 11), (19, 1, 3, 3), (2, 2), (1, 1), (1, 1), 19),
    ((2, 24, 3, 3), (24, 1, 5, 3), (1, 2), (3, 1), (2, 1), 24),
    ((2, 16, 24, 24), (16, 1, 3, 3), (1, 1), (1, 1), (1, 1), 16),
    ((2, 5, 33, 16), (6, 5, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((5, 9, 16, 16), (13, 9, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((2, 6, 11, 10), (4, 6, 4, 5), (3, 2), (1, 2), (2, 3), 1),
    ((9, 12, 6, 6), (20, 12, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 3, 7, 7), (4, 3, 1, 1), (1, 1), (2, 2), (1, 1), 1),
    ((2, 5, 6, 7), (4, 5, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 5, 6, 7), (4, 5, 1, 1), (3, 2), (0, 0), (1, 1), 1),
    ((1, 3, 6, 7), (2, 3, 2, 2), (1, 1), (0, 0), (1, 1), 1),
    ((1, 2, 4, 4), (2, 2, 3, 3), (5, 5), (2, 2), (1, 1), 1),
    ((1, 3, 30, 33), (7, 3, 7, 7), (2, 2), (3, 3), (1, 1), 1),
    ((1, 2, 1, 100), (3, 2, 1, 5), (1, 1), (0, 4), (1, 2), 1),
]


@pytest.mark.parametrize(("x", "weight", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolution_and_its_gradients(x, weight, stride, padding, dilation, groups, threads):
    operator = Conv2d(stride, padding, dilation, groups)
    images, filters, bias = rand(*x), rand(*weight, seed=1), rand(weight[0], seed=2)
    y = check_forward(operator, images, filters, bias)
    check_forward(operator, images, filters, None)
    grad = rand(*y.shape, seed=3)
    check_forward(Conv2dInputGrad(*operator.arguments(), x[2:]), grad, filters)
    check_forward(Conv2dWeightGrad(*operator.arguments(), weight[2:]), images, grad, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize(("x", "weight", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolution_has_the_same_bits_for_any_threads(x, weight, stride, padding, dilation, groups):
    operator, images, filters = Conv2d(stride, padding, dilation, groups), rand(*x), rand(*weight, seed=1)
    grad = rand(*operator.forward(np, images, filters, None).shape, seed=3)
    before, results = native.num_threads(), []
    for threads in (1, 2, 3):
        native.set_num_threads(threads)
        y = KERNELS["conv2d"](operator, images, filters, None)
        dx = KERNELS["conv2d_input_grad"](Conv2dInputGrad(*operator.arguments(), x[2:]), grad, filters)
        dweight = KERNELS["conv2d_weight_grad"](Conv2dWeightGrad(*operator.arguments(), weight[2:]), images, grad)
        results.append((y, dx, dweight))
    native.set_num_threads(before)
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


POOLS = [
    ((2, 3, 8, 8), MaxPool2d((2, 2), (2, 2))),
    ((2, 3, 10, 70), MaxPool2d((2, 2), (2, 2))),
    ((2, 3, 9, 43), MaxPool2d((2, 2), (2, 2))),
    ((1, 2, 9, 11), MaxPool2d((3, 2), (2, 1), (1, 0))),
    ((1, 2, 5, 5), MaxPool2d((2, 2), (2, 2), ceil_mode=True)),
    ((3, 1, 9, 7), MaxPool2d((2, 3), (1, 2), dilation=(2, 1))),
]


@pytest.mark.parametrize(("shape", "operator"), POOLS)
def test_max_pool(shape, operator, threads):
    x = rand(*shape)
    y = check_forward(operator, x)
    winners = check_forward(MaxPool2dIndex(*operator.arguments()), x)
    check_forward(MaxPool2dGrad(*operator.arguments(), shape[2:]), rand(*y.shape, seed=1), winners)
    check_backward(operator, y, rand(*y.shape, seed=1), x)


def test_max_pool_takes_the_first_of_equals():
    operator = MaxPool2dIndex((2, 2), (2, 2))
    assert (check_forward(operator, np.zeros((1, 1, 4, 4), np.float32)) == 0).all()


def test_max_pool_gradient_goes_to_the_first_of_equals():
    operator, x = MaxPool2d((2, 2), (2, 2)), np.random.default_rng(0).integers(0, 3, (2, 3, 12, 40)).astype(np.float32)
    x[0, 0, :2, :8] = np.nan
    grad = rand(2, 3, 6, 20)
    (ours,) = KERNELS["max_pool2d.backward"](operator, (True,), grad, None, x)
    np.testing.assert_array_equal(ours, operator.backward(np, (True,), grad, None, x)[0])


@pytest.mark.parametrize("bounds", [(0.0, 6.0), (None, 1.5), (-2.0, None)])
def test_clamp(bounds, threads):
    operator, x = Clamp(*bounds), rand(50_001, low=-9, high=9)
    x[:6] = [0.0, 6.0, 1.5, -2.0, np.inf, -np.inf]
    y = check_forward(operator, x)
    check_backward(operator, y, rand(50_001, seed=1), x)


@pytest.mark.parametrize("shape", [(3, 7), (64, 10), (5, 257), (2, 3, 33), (1, 1), (1000, 128)])
@pytest.mark.parametrize("kind", [Softmax, LogSoftmax])
def test_softmax(kind, shape, threads):
    operator = kind(len(shape) - 1)
    x = rand(*shape, low=-20, high=20)
    y = check_forward(operator, x)
    check_backward(operator, y, rand(*shape, seed=1), x)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", [(5, 5), (1, 9), (9, 4), (33, 70)])
def test_attention(sizes, causal, threads):
    operator = Attention(0.3, causal)
    q, k, v = rand(2, 3, sizes[0], 8), rand(2, 3, sizes[1], 8, seed=1), rand(2, 3, sizes[1], 6, seed=2)
    output = check_forward(operator, q, k, v, None)
    grad = (rand(*output[0].shape, seed=3), None)
    check_backward(operator, output, grad, q, k, v, None, needs=(True, True, True, False))


@pytest.mark.parametrize("causal", [False, True])
def test_attention_on_views(causal, threads):
    operator = Attention(0.3, causal)
    qkv = rand(2, 50, 3, 4, 8)
    q, k, v = qkv.transpose(2, 0, 3, 1, 4)
    output = check_forward(operator, q, k, v, None)
    grad = rand(2, 50, 4, 8, seed=3).transpose(0, 2, 1, 3)
    check_backward(operator, output, (grad, None), q, k, v, None, needs=(True, True, True, False))


PRODUCTS = [((200, 80), 96), ((3, 70, 96), 130), ((64, 512), 40), ((1, 700, 33), 50)]


@pytest.mark.parametrize(("shape", "columns"), PRODUCTS)
def test_linear(shape, columns, threads):
    x, weight, bias = rand(*shape), rand(columns, shape[-1], seed=1), rand(columns, seed=2)
    y = check_forward(Linear(), x, weight, bias, rtol=1e-4, atol=1e-4)
    check_forward(Linear(), x, weight, None, rtol=1e-4, atol=1e-4)
    grad = rand(*y.shape, seed=3)
    result = KERNELS["linear.backward"](Linear(), (True, True, True), grad, None, x, weight, bias)
    wanted = Linear().backward(np, (True, True, True), *map(doubled, (grad, None, x, weight, bias)))
    assert_close(result, tuple(wanted), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("shape", "columns"), PRODUCTS)
def test_matmul(shape, columns, threads):
    a, b = rand(*shape), rand(shape[-1], columns, seed=1)
    y = check_forward(MatMul(), a, b, rtol=1e-4, atol=1e-4)
    grad = rand(*y.shape, seed=3)
    result = KERNELS["matmul.backward"](MatMul(), (True, True), grad, None, a, b)
    wanted = MatMul().backward(np, (True, True), *map(doubled, (grad, None, a, b)))
    assert_close(result, tuple(wanted), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(64, 10), (7, 1), (130, 65)])
def test_cross_entropy(shape, smoothing, threads):
    operator = CrossEntropy(3, smoothing)
    x, target = rand(*shape, low=-5, high=5), np.random.default_rng(0).integers(0, shape[1], shape[0])
    output = check_forward(operator, x, target)
    grad = KERNELS["cross_entropy.backward"](operator, (True, False), (rand(shape[0], seed=2), None), output, x, target)
    wanted = operator.backward(np, (True, False), (rand(shape[0], seed=2), None), doubled(output), doubled(x), target)
    assert_close(grad, wanted)


def test_cross_entropy_declines_a_class_out_of_range():
    x = rand(4, 3)
    assert KERNELS["cross_entropy"](CrossEntropy(), x, np.array([0, 1, 2, 3])) is NotImplemented
    assert KERNELS["cross_entropy"](CrossEntropy(), x, np.array([0, 1, -1, 2])) is NotImplemented


@pytest.mark.parametrize(("shape", "dims"), [((4, 7), 1), ((3, 5, 128), 1), ((2, 3, 33), 2), ((1, 1), 1), ((300, 96), 1)])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm(shape, dims, affine, threads):
    operator = LayerNorm(dims)
    tail = shape[len(shape) - dims :]
    weight, bias = (rand(*tail, seed=3), rand(*tail, seed=4)) if affine else (None, None)
    x = rand(*shape, low=-3, high=5)
    if shape[-1] > 1:
        output = check_forward(operator, x, weight, bias, rtol=1e-4, atol=1e-5)
        check_backward(operator, output, (rand(*shape, seed=5), None, None), x, weight, bias, needs=(True, affine, affine))


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (2, 5, 33), (1, 2, 50, 50)])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm(shape, affine, threads):
    operator = BatchNormTraining()
    weight, bias = (rand(shape[1], seed=3), rand(shape[1], seed=4)) if affine else (None, None)
    x = rand(*shape, low=-3, high=5)
    output = check_forward(operator, x, weight, bias)
    check_backward(operator, output, (rand(*shape, seed=5), None, None), x, weight, bias, needs=(True, affine, affine))


SIZES = [1, 7, 33, 70_001]


def test_adamw_does_the_step_of_the_reference(threads):
    settings = {"lr": 3e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}
    ours = [[rand(n, seed=s) for n in SIZES] for s in range(2)] + [[np.zeros(n, np.float32) for n in SIZES] for _ in range(2)]
    theirs = [[a.astype(np.float64) for a in arrays] for arrays in ours]
    for step in (1, 2, 3):
        assert KERNELS["adamw"](*ours, **settings, step=step) is not NotImplemented
        adamw_step(np, *theirs, **settings, step=step)
    for mine, wanted in zip(itertools.chain(*ours), itertools.chain(*theirs), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_does_the_step_of_the_reference(momentum, nesterov, threads):
    settings = {"lr": 0.1, "momentum": momentum, "weight_decay": 0.01, "nesterov": nesterov}
    parameters, grads = ([rand(n, seed=s) for n in SIZES] for s in range(2))
    buffers = [np.zeros(n, np.float32) for n in SIZES] if momentum else None
    wanted = [p.astype(np.float64) for p in parameters]
    wanted_buffers = [b.astype(np.float64) for b in buffers] if buffers else [None] * len(SIZES)
    for _ in range(3):
        assert KERNELS["sgd"](parameters, grads, buffers, **settings) is not NotImplemented
        for p, g, b in zip(wanted, grads, wanted_buffers, strict=True):
            sgd_step(p, g.astype(np.float64), b, **settings)
    for mine, theirs in zip(parameters, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_bits_do_not_depend_on_threads():
    x, weight = rand(4, 32, 14, 14), rand(64, 32, 3, 3, seed=1)
    operator = Conv2d((1, 1), (1, 1))
    results = []
    before = native.num_threads()
    for count in (1, 2, 5):
        native.set_num_threads(count)
        y = KERNELS["conv2d"](operator, x, weight, None)
        dx = KERNELS["conv2d_input_grad"](Conv2dInputGrad(*operator.arguments(), (14, 14)), y, weight)
        dw = KERNELS["conv2d_weight_grad"](Conv2dWeightGrad(*operator.arguments(), (3, 3)), x, y)
        norm = KERNELS["layer_norm"](LayerNorm(1), x, None, None)[0]
        results.append([a.tobytes() for a in (y, dx, dw, norm)])
    native.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("name", ["relu", "softmax", "conv2d", "layer_norm"])
def test_other_dtypes_are_declined(name):
    operators = {"relu": Relu(), "softmax": Softmax(-1), "conv2d": Conv2d(), "layer_norm": LayerNorm(1)}
    arrays = {"conv2d": (np.ones((1, 4, 32, 32)), np.ones((4, 4, 3, 3)), None), "layer_norm": (np.ones((64, 64)), None, None)}
    assert KERNELS[name](operators[name], *arrays.get(name, (np.ones((64, 64)),))) is NotImplemented


def test_wrong_shapes_never_reach_memory():
    x, y = rand(1, 2, 8, 8), np.empty((1, 3, 8, 8), np.float32)
    with pytest.raises(ValueError, match="expected an output of the size"):
        native.conv2d(x, rand(3, 2, 3, 3), None, y, (1, 1), (0, 0), (1, 1), 1)
    with pytest.raises(ValueError, match="y like x"):
        native.relu(rand(10), np.empty(9, np.float32))
    with pytest.raises(TypeError):
        native.relu(np.ones(10), np.empty(10, np.float32))


def test_the_backend_uses_them():
    assert set(KERNELS) <= set(CPU.kernels)
    x = pl.tensor(rand(4, 3, 9, 9), requires_grad=True)
    weight = pl.tensor(rand(5, 3, 3, 3, seed=1), requires_grad=True)
    pl.nn.functional.conv2d(x, weight, padding=1).relu().sum().backward()
    operator = Conv2d((1, 1), (1, 1))
    y = operator.forward(np, doubled(x.detach().numpy()), doubled(weight.detach().numpy()), None)
    wanted = Conv2dWeightGrad(*operator.arguments(), (3, 3)).forward(np, doubled(x.detach().numpy()), (y > 0) * 1.0)
    np.testing.assert_allclose(weight.grad.numpy(), wanted, rtol=1e-4, atol=1e-4)
