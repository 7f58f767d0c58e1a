# SPDX-License-Identifier: Apache-2.0
"""First values: the moments and bounds of PyTorch's formulas."""

import math

import numpy as np
import pytest

import penlight as pl
from penlight import nn

SHAPE = (60, 40, 3, 3)
FAN_IN, FAN_OUT = 360, 540


@pytest.fixture(autouse=True)
def seed():
    pl.manual_seed(0)


def drawn(function, *args, shape=SHAPE, **kwargs) -> np.ndarray:
    parameter = nn.Parameter(pl.zeros(*shape))
    assert function(parameter, *args, **kwargs) is parameter
    assert parameter.requires_grad
    return parameter.detach().numpy()


@pytest.mark.parametrize(
    ("function", "kwargs", "bound"),
    [
        ("uniform_", {"a": -0.5, "b": 0.5}, 0.5),
        ("xavier_uniform_", {"gain": 2}, 2 * math.sqrt(6 / (FAN_IN + FAN_OUT))),
        ("kaiming_uniform_", {"nonlinearity": "relu"}, math.sqrt(6 / FAN_IN)),
        ("kaiming_uniform_", {"a": math.sqrt(5)}, 1 / math.sqrt(FAN_IN)),
        ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "tanh"}, 5 / 3 * math.sqrt(3 / FAN_OUT)),
    ],
)
def test_uniform(function, kwargs, bound):
    values = drawn(getattr(nn.init, function), **kwargs)
    assert 0.99 * bound < abs(values).max() <= bound
    assert abs(values.std() / (bound / math.sqrt(3)) - 1) < 0.02
    assert abs(values.mean()) < 0.02 * bound


@pytest.mark.parametrize(
    ("function", "kwargs", "std"),
    [
        ("normal_", {"std": 2.0}, 2.0),
        ("xavier_normal_", {}, math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("kaiming_normal_", {"nonlinearity": "relu"}, math.sqrt(2 / FAN_IN)),
        ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "linear"}, math.sqrt(1 / FAN_OUT)),
    ],
)
def test_normal(function, kwargs, std):
    values = drawn(getattr(nn.init, function), **kwargs)
    assert abs(values.std() / std - 1) < 0.02
    assert abs((abs(values) < std).mean() - 0.6827) < 0.01


def test_truncated_normal():
    values = drawn(nn.init.trunc_normal_, 1.0, 2.0, 0.0, 3.0)
    assert values.min() >= 0
    assert values.max() <= 3
    assert abs(values.mean() - 1.413) < 0.02  # 1 + 2 (phi(-0.5) - phi(1)) / (Phi(1) - Phi(-0.5))


@pytest.mark.parametrize("shape", [(8, 8), (4, 9), (9, 4), (6, 2, 3)])
def test_orthogonal(shape):
    matrix = drawn(nn.init.orthogonal_, 2.0, shape=shape).reshape(shape[0], -1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)


def test_constants():
    assert (drawn(nn.init.ones_) == 1).all()
    assert (drawn(nn.init.zeros_) == 0).all()
    assert (drawn(nn.init.constant_, 3.5) == 3.5).all()
    np.testing.assert_array_equal(drawn(nn.init.eye_, shape=(3, 4)), np.eye(3, 4))


def test_gain():
    assert nn.init.calculate_gain("relu") == math.sqrt(2)
    assert nn.init.calculate_gain("leaky_relu", 1.0) == 1
    with pytest.raises(ValueError, match="unknown nonlinearity 'swish'"):
        nn.init.calculate_gain("swish")
    with pytest.raises(ValueError, match="fan_in' or 'fan_out', got 'sideways'"):
        drawn(nn.init.kaiming_normal_, mode="sideways")
    with pytest.raises(ValueError, match="at least two dimensions"):
        drawn(nn.init.xavier_normal_, shape=(3,))


def test_seed_and_generator_repeat():
    first = drawn(nn.init.normal_).copy()
    assert not np.array_equal(drawn(nn.init.normal_), first)
    pl.manual_seed(0)
    np.testing.assert_array_equal(drawn(nn.init.normal_), first)
