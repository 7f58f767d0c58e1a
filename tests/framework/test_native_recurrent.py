# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels of recurrent networks, and the product under them, against NumPy in float64."""

import numpy as np
import pytest

import penlight as pl
from penlight import _native as native
from penlight.backends.recurrent_kernels import recurrent_kernels
from penlight.ops.recurrent import Gru, Lstm, Rnn

KERNELS = recurrent_kernels()


def rand(*shape, seed=0):
    return np.random.default_rng(seed + sum(shape)).uniform(-1, 1, shape).astype(np.float32)


def doubled(arrays):
    return [a if a is None else a.astype(np.float64) for a in arrays]


def assert_close(ours, wanted):
    for mine, reference in zip(ours, wanted, strict=True):
        # rounding over at most 33 * 20 products of about 1 in 20 steps that feed on each other
        np.testing.assert_allclose(mine, reference, rtol=1e-4, atol=1e-4)


PACKED = (9, 9, 8, 5, 5, 2, 1)
OPERATORS = [
    cls(reverse, sizes, *more)
    for cls, *more in ((Lstm,), (Gru,), (Rnn, "tanh"), (Rnn, "relu"))
    for reverse in (False, True)
    for sizes in (None, PACKED)
]


def call(operator, batch=9, size=20, hidden=33, bias=True):
    rows = operator.gates * hidden
    x = rand(7, batch, size) if operator.sizes is None else rand(sum(PACKED), size)
    state = [rand(batch, hidden, seed=k) for k in range(operator.states)]
    weights = [rand(rows, size) / 4, rand(rows, hidden) / 4, *(rand(rows, seed=k) if bias else None for k in (5, 6))]
    return [x, *state, *weights]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("operator", OPERATORS, ids=str)
def test_sequences_forward_and_backward(operator, bias, threads):
    inputs = call(operator, bias=bias)
    output = KERNELS[operator.name](operator, *inputs)
    exact = operator.forward(np, *doubled(inputs))
    assert_close(output, exact)
    needs = [a is not None for a in inputs]
    for absent in (None, 0, 1):  # the gradients of y and of the last states, or one of them not there
        kept = 1 + operator.states
        grad = [rand(*a.shape, seed=3) if k < kept and k != absent else None for k, a in enumerate(output)]
        ours = KERNELS[operator.name + ".backward"](operator, needs, grad, output, *inputs)
        wanted = operator.backward(np, needs, doubled(grad), exact, *doubled(inputs))
        pairs = [(a, b) for a, b, need in zip(ours, wanted, needs, strict=True) if need]
        assert_close(*zip(*pairs, strict=True))


@pytest.mark.parametrize("operator", [Lstm(), Gru(), Rnn()], ids=lambda o: o.name)
def test_bits_do_not_depend_on_threads(operator):
    inputs, results, before = call(operator, batch=21), [], native.num_threads()
    for count in (1, 2, 5):
        native.set_num_threads(count)
        output = KERNELS[operator.name](operator, *inputs)
        grad = [output[0], *(None for _ in output[1:])]
        results.append(
            [a.tobytes() for a in (*output, *KERNELS[operator.name + ".backward"](operator, [True] * 7, grad, output, *inputs))]
        )
    native.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("operator", [Lstm(), Gru(), Rnn()], ids=lambda o: o.name)
def test_what_does_not_fit_is_declined(operator):
    inputs = call(operator)
    kernel = KERNELS[operator.name]
    assert kernel(operator, *doubled(inputs)) is NotImplemented
    assert kernel(operator, inputs[0][..., 1:], *inputs[1:]) is NotImplemented
    assert kernel(operator, inputs[0], inputs[1][1:], *inputs[2:]) is NotImplemented
    assert kernel(type(operator)(False, (3, 4)), *inputs) is NotImplemented
    assert kernel(operator, *inputs[:-1], None) is NotImplemented


@pytest.mark.parametrize("operator", [Lstm(), Gru(), Rnn()], ids=lambda o: o.name)
def test_no_sequences_and_no_steps(operator):
    inputs = call(operator)
    nobody = [inputs[0][:, :0], *(part[:0] for part in inputs[1 : 1 + operator.states]), *inputs[1 + operator.states :]]
    apply = pl.ops.dispatch.apply
    y, h, *_ = apply(operator, *map(pl.from_numpy, nobody))
    assert y.shape == (7, 0, 33) and h.shape == (0, 33)
    y, h, *_ = apply(operator, pl.from_numpy(inputs[0][:0]), *map(pl.from_numpy, inputs[1:]))
    assert y.shape == (0, 9, 33)
    np.testing.assert_array_equal(h.numpy(), inputs[1])


def test_wrong_shapes_never_reach_memory():
    gates, h, y = rand(6, 16), rand(3, 4), rand(6, 4)
    with pytest.raises(ValueError, match="sizes that never grow"):
        native.lstm(gates, rand(16, 4), np.array([2, 4]), False, h, h.copy(), y, y.copy())
    with pytest.raises(ValueError, match="sizes that add up"):
        native.lstm(gates, rand(16, 4), np.array([3, 2]), False, h, h.copy(), y, y.copy())
    with pytest.raises(ValueError, match="weights"):
        native.lstm(gates, rand(12, 4), np.array([3, 3]), False, h, h.copy(), y, y.copy())
    with pytest.raises(ValueError, match=r"a \(M, K\), b \(K, N\)"):
        native.matmul(rand(2, 3), rand(4, 5), None, np.empty((2, 5), np.float32))


@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 7, 3), (130, 40, 700), (40, 130, 700), (2, 50, 33), (300, 17, 64), (3, 0, 4)])
def test_products_of_any_strides(sizes, threads):
    m, k, n = sizes[0], sizes[2], sizes[1]
    a, b, bias = rand(m, k), rand(k, n, seed=1), rand(n, seed=2)
    wanted = a.astype(np.float64) @ b
    for left in (a, a.T.copy().T, np.repeat(a, 2, axis=1)[:, ::2]):
        for right in (b, b.T.copy().T):
            result = np.full((m, n + 3), 7, np.float32)
            native.matmul(left, right, bias, result[:, :n])
            np.testing.assert_allclose(result[:, :n], wanted + bias, rtol=1e-4, atol=1e-4)
            assert (result[:, n:] == 7).all()
            native.matmul(left, right, None, result[:, :n])
            np.testing.assert_allclose(result[:, :n], wanted, rtol=1e-4, atol=1e-4)
