# SPDX-License-Identifier: Apache-2.0
"""Autocast and GradScaler on the stand-in device: as on the CPU, without a look from the host, and captured."""

import numpy as np
import pytest

import penlight as pl
from penlight import nn
from penlight.errors import CaptureError, ScalerError


class Heeding(pl.optim.Optimizer):
    """Descent that skips a step on the device where `found_inf` is not 0."""

    _step_supports_amp_scaling = True
    found_inf = None

    def update(self, group, parameters):
        xp = pl.backends.cuda.backend().xp
        for parameter in parameters:
            go = np.float32(1) if self.found_inf is None else np.float32(1) - self.found_inf
            moved = parameter._data - parameter.grad._data * np.float32(group["lr"])
            parameter._data[...] = xp.where(go > 0, moved, parameter._data)


class Plain(pl.optim.Optimizer):
    """The same, decided by the host."""

    def update(self, group, parameters):
        for parameter in parameters:
            parameter._data -= parameter.grad._data * np.float32(group["lr"])


# The sixth batch is infinite, and so are its gradients.
BATCHES = [np.full((2, 3), np.inf if k == 5 else k / 7, np.float32) for k in range(9)]


def train(place, kind, wrap=lambda step: step):
    pl.manual_seed(0)
    model = nn.Linear(3, 2).to(place)
    optimizer = kind(model.parameters(), {"lr": 0.1})
    scaler = pl.amp.GradScaler(init_scale=2.0**10, growth_interval=3)

    @wrap
    def step(x):
        optimizer.zero_grad()
        with pl.autocast(place, dtype=pl.float16):
            loss = model(x).float().square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    scales = []
    for batch in BATCHES:
        step(pl.tensor(batch).to(place))
        scales.append(scaler.get_scale())
    return scales, model.weight.detach().cpu().numpy(), scaler.state_dict()


SCALES = [2.0**e for e in (10, 10, 11, 11, 11, 10, 10, 10, 11)]


@pytest.mark.parametrize("kind", [Heeding, Plain])
def test_the_scale_moves_as_on_the_cpu(fake_cuda, kind):
    scales, weight, state = train("cuda", kind)
    expected = train("cpu", Plain)
    assert scales == expected[0] == SCALES and state == expected[2]
    np.testing.assert_allclose(weight, expected[1], rtol=2e-3)


def test_a_captured_step_with_a_scaler_is_the_eager_one_bit_for_bit(fake_cuda):
    expected = train("cuda", Heeding)
    actual = train("cuda", Heeding, pl.cuda.capture)
    assert actual[0] == expected[0] == SCALES and actual[2] == expected[2]
    assert actual[1].tobytes() == expected[1].tobytes() and fake_cuda.machine.launches == len(BATCHES) - 2


def test_the_host_neither_waits_nor_copies(fake_cuda):
    model = nn.Linear(3, 2).to("cuda")
    optimizer, scaler = Heeding(model.parameters(), {"lr": 0.1}), pl.amp.GradScaler()
    x = pl.ones(2, 3, device="cuda")

    def step():
        optimizer.zero_grad()
        scaler.scale(model(x).sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()

    step()
    before = len(fake_cuda.machine.copies)
    step()
    assert len(fake_cuda.machine.copies) == before and optimizer.found_inf is None


def test_an_optimizer_that_the_host_decides_for_is_not_captured(fake_cuda):
    with pytest.raises(CaptureError, match=r"test_mixed_precision\.py:\d+: a copy to the host|Plain\.step\(\) counts its steps"):
        train("cuda", Plain, pl.cuda.capture)
    model = nn.Linear(3, 2).to("cuda")
    optimizer = Plain(model.parameters(), {"lr": 0.1})

    @pl.cuda.capture(warmup=1)
    def step(x):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    step(pl.ones(1, 3))
    with pytest.raises(CaptureError, match=r"Plain\.step\(\) counts its steps on the host.*use AdamW, Adam or SGD"):
        step(pl.ones(1, 3))


def test_a_scale_can_be_set_and_loaded(fake_cuda):
    weight = nn.Parameter(pl.ones(2, device="cuda"))
    scaler = pl.amp.GradScaler(init_scale=8.0)
    assert scaler.scale(weight.sum()).item() == 16
    scaler.update(4.0)
    assert scaler.scale(weight.sum()).item() == 8 and scaler.get_scale() == 4
    scaler.load_state_dict({**scaler.state_dict(), "scale": 32.0, "_growth_tracker": 5})
    assert scaler.get_scale() == 32 and scaler.state_dict()["_growth_tracker"] == 5
    with pytest.raises(ScalerError, match="call step"):
        scaler.update()


def test_autocast_chooses_types_on_the_device(fake_cuda):
    x, w = pl.ones(2, 2, device="cuda"), nn.Parameter(pl.ones(2, 2, device="cuda"))
    with pl.autocast("cuda"):
        assert (x @ w).dtype is pl.float16 and (x @ w).exp().dtype is pl.float32
    with pl.autocast("cuda", dtype=pl.float16):  # NumPy, and so the stand-in, has no product of bfloat16
        y = x @ w
    y.float().sum().backward()
    assert y.dtype is pl.float16 and w.grad.dtype is pl.float32 and w.grad.tolist() == [[2.0, 2.0]] * 2


def test_channels_last_on_the_device(fake_cuda):
    pl.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    x = pl.randn(2, 3, 6, 6)
    expected = model(x)
    moved = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    moved.load_state_dict(model.state_dict())
    moved.train()
    moved = moved.to("cuda").to(memory_format=pl.channels_last)
    given = x.to("cuda").contiguous(memory_format=pl.channels_last)
    result = moved(given)
    assert result.is_contiguous(memory_format=pl.channels_last) and moved[0].weight.is_contiguous(memory_format=pl.channels_last)
    np.testing.assert_allclose(result.detach().cpu().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    result.sum().backward()
    assert moved[0].weight.grad.shape == (4, 3, 3, 3)
