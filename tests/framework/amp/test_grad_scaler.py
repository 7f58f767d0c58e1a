# SPDX-License-Identifier: Apache-2.0
"""GradScaler beside PyTorch's: the scale after each step, skipped steps, the order of calls, state."""

import numpy as np
import pytest

import penlight as pl
from penlight.errors import DTypeError, ScalerError


def optimizer_of(T, gradient):
    parameter = T.tensor(np.ones(3, np.float32)).requires_grad_()
    parameter.grad = T.tensor(np.asarray(gradient, np.float32))
    return parameter, T.optim.SGD([parameter], lr=0.5)


# Which steps meet an infinity, and how the scale grows in between.
PATTERN = [0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0]


def run(T):
    scaler = T.amp.GradScaler("cpu", init_scale=1024.0, growth_factor=3.0, backoff_factor=0.25, growth_interval=2)
    rows = []
    for bad in PATTERN:
        parameter, optimizer = optimizer_of(T, [1.0, np.inf if bad else 2.0, -3.0])
        loss = scaler.scale((parameter * parameter).sum())
        scaler.step(optimizer)
        scaler.update()
        rows.append([loss.item(), scaler.get_scale(), *parameter.detach().numpy().tolist()])
    return rows, scaler.state_dict()


def test_scale_and_steps_equal_torch():
    torch = pytest.importorskip("torch")
    ours, state = run(pl)
    theirs, expected = run(torch)
    assert ours == theirs
    assert state == expected and list(state) == list(expected)
    scaler = pl.amp.GradScaler()
    scaler.load_state_dict(expected)
    assert scaler.state_dict() == expected
    other = torch.amp.GradScaler("cpu")
    other.load_state_dict(state)
    assert other.get_scale() == scaler.get_scale()


def test_nan_and_a_finite_sum_that_overflows():
    scaler = pl.amp.GradScaler(init_scale=2.0)
    for gradient, moves in (([np.nan, 0, 0], False), ([3e38, 3e38, 0], True), ([np.inf, -np.inf, 0], False)):
        parameter, optimizer = optimizer_of(pl, gradient)
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        assert (parameter[0].item() != 1.0) == moves


def test_the_scale_stops_below_infinity():
    scaler = pl.amp.GradScaler(init_scale=2.0**127, growth_interval=1)
    _, optimizer = optimizer_of(pl, [1, 1, 1])
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**127


def test_gradients_are_divided_before_they_are_clipped():
    scaler = pl.amp.GradScaler(init_scale=8.0)
    parameter, optimizer = optimizer_of(pl, [24.0, 32.0, 0.0])
    scaler.unscale_(optimizer)
    assert parameter.grad.tolist() == [3.0, 4.0, 0.0]
    assert pl.nn.utils.clip_grad_norm_([parameter], 1.0).item() == pytest.approx(5.0)
    scaler.step(optimizer)
    np.testing.assert_allclose(parameter.detach().numpy(), [1 - 0.3, 1 - 0.4, 1], rtol=1e-6)


def test_scale_of_containers_and_of_half_losses():
    scaler = pl.amp.GradScaler()
    first, (second,) = scaler.scale([pl.tensor(1.0), (pl.tensor([2.0]),)])
    assert first.item() == 65536.0 and second.item() == 131072.0
    assert scaler.scale(pl.tensor(0.5, dtype=pl.float16)).item() == 32768.0
    assert scaler.scale(pl.tensor([0.5], dtype=pl.float16)).dtype is pl.float16


def test_disabled_scaler_changes_nothing():
    scaler = pl.amp.GradScaler(enabled=False)
    parameter, optimizer = optimizer_of(pl, [np.inf, 2.0, 2.0])
    loss = pl.tensor(1.0)
    assert scaler.scale(loss) is loss and scaler.get_scale() == 1.0 and scaler.state_dict() == {} and not scaler.is_enabled()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    scaler.load_state_dict({})
    assert parameter[1].item() == 0.0


def test_order_of_calls():
    scaler = pl.amp.GradScaler()
    _, optimizer = optimizer_of(pl, [1, 1, 1])
    with pytest.raises(ScalerError, match="update: no gradients were unscaled"):
        scaler.update()
    scaler.unscale_(optimizer)
    with pytest.raises(ScalerError, match="were unscaled since the last update"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(ScalerError, match="were stepped since the last update"):
        scaler.unscale_(optimizer)
    with pytest.raises(ScalerError, match="called twice"):
        scaler.step(optimizer)
    scaler.update(128.0)
    assert scaler.get_scale() == 128.0
    with pytest.raises(ScalerError, match="the dict is empty"):
        scaler.load_state_dict({})
    with pytest.raises(ValueError, match="no closure"):
        scaler.step(optimizer, lambda: None)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="growth_factor must be above 1"):
        pl.amp.GradScaler(growth_factor=1.0)
    with pytest.raises(ValueError, match="backoff_factor must be between 0 and 1"):
        pl.amp.GradScaler(backoff_factor=1.0)
    parameter = pl.ones(2, dtype=pl.float16).requires_grad_()
    parameter.grad = pl.ones(2, dtype=pl.float16)
    with pytest.raises(DTypeError, match="a gradient is float16"):
        pl.amp.GradScaler().unscale_(pl.optim.SGD([parameter], lr=1.0))
