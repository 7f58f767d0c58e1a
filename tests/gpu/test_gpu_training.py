# SPDX-License-Identifier: Apache-2.0
"""Training on the GPU follows training on the CPU; the backend's memory and errors."""

import numpy as np
import pytest

import penlight as pl
from penlight import nn
from penlight.backends import get_backend
from penlight.backends.cpu import CPU
from penlight.device import device
from penlight.nn import functional as F
from penlight.optim import SGD, AdamW


def perceptron():
    return nn.Sequential(nn.Linear(20, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 5))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 2 * 5, 5)
    )


def train(build, shape, optimizer, place, steps=5):
    """The losses of some steps and the final parameters."""
    pl.manual_seed(0)
    model = build().to(place)
    step = optimizer(model.parameters())
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(steps):
        x = pl.from_numpy(rng.normal(size=(16, *shape)).astype(np.float32)).to(place)
        target = pl.from_numpy(rng.integers(0, 5, 16)).to(place)
        loss = F.cross_entropy(model(x), target, label_smoothing=0.1)
        step.zero_grad()
        loss.backward()
        step.step()
        losses.append(loss.item())
    return losses, {name: tensor.to("cpu").numpy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("optimizer", [lambda p: AdamW(p, lr=1e-2), lambda p: SGD(p, lr=0.1, momentum=0.9)], ids=["adamw", "sgd"])
@pytest.mark.parametrize(("build", "shape"), [(perceptron, (20,)), (convolutional, (1, 4, 10))])
def test_training_follows_the_cpu(gpu, build, shape, optimizer):
    losses, state = train(build, shape, optimizer, gpu)
    expected_losses, expected = train(build, shape, optimizer, "cpu")
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    for name, values in expected.items():
        # AdamW divides by the root of tiny second moments, which spreads rounding of the first steps.
        np.testing.assert_allclose(state[name], values, rtol=0, atol=2e-3, err_msg=name)


def test_training_repeats_bit_for_bit(gpu):
    first, second = (train(perceptron, (20,), lambda p: AdamW(p, lr=1e-2), gpu) for _ in range(2))
    assert first[0] == second[0]
    for name in first[1]:
        np.testing.assert_array_equal(first[1][name], second[1][name])


def test_state_dict_travels(gpu):
    source, target = perceptron().to(gpu), perceptron()
    target.load_state_dict({name: tensor.to("cpu") for name, tensor in source.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(3, 20)).astype(np.float32)
    np.testing.assert_allclose(
        source(pl.from_numpy(x).to(gpu)).detach().to("cpu").numpy(), target(pl.from_numpy(x)).detach().numpy(), atol=1e-5
    )


def test_round_trip_keeps_bits(gpu):
    for dtype in (np.float32, np.float64, np.int64, np.uint8, np.bool_):
        array = np.random.default_rng(0).integers(0, 2, (3, 5)).astype(dtype)
        back = pl.from_numpy(array).to(gpu).to("cpu").numpy()
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


def test_mixed_devices_are_refused(gpu):
    if get_backend(device(gpu)) is CPU:
        pytest.skip("one device only")
    with pytest.raises(pl.errors.DeviceError, match="all inputs must be on one device"):
        pl.ones(2).to(gpu) + pl.ones(2)


def test_memory_and_synchronisation(gpu):
    backend = get_backend(device(gpu))
    free, total = backend.memory_info()
    assert 0 < free <= total
    backend.synchronize()
    assert backend.empty((2, 3), np.float32).shape == (2, 3)
