# SPDX-License-Identifier: Apache-2.0
"""Several devices in one process: work runs where the arrays are, whatever device is the current one."""

import copy
import types

import fake_cuda as stand_in
import numpy as np
import pytest

import penlight as pl
from penlight import nn, optim
from penlight.backends import cuda
from penlight.backends.cuda import launch, source
from penlight.backends.cuda.feeds import Feeds
from penlight.backends.cuda.loader import Loader
from penlight.errors import CaptureError, DeviceError
from penlight.nn import functional as F


class Split(nn.Module):
    """The first half on one device, the second on another."""

    def __init__(self, first, second):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(5, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU()).to(first)
        self.second = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 3)).to(second)

    def forward(self, x):
        return self.second(self.first(x).to(self.second[1].weight.device))


def train(first, second, optimizer, steps=3, scaler=None):
    pl.manual_seed(0)
    model, rng = Split(first, second), np.random.default_rng(0)
    stepper, losses = optimizer(model.parameters()), []
    for _ in range(steps):
        x, target = rng.normal(size=(6, 5)).astype(np.float32), rng.integers(0, 3, 6)
        stepper.zero_grad(set_to_none=False)
        loss = F.cross_entropy(model(pl.from_numpy(x).to(first)), pl.from_numpy(target).to(second))
        (loss if scaler is None else scaler.scale(loss)).backward()
        if scaler is not None:
            scaler.unscale_(stepper)
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        stepper.step() if scaler is None else scaler.step(stepper)
        if scaler is not None:
            scaler.update()
        losses.append(loss.item())
    return losses, {name: t.to("cpu").numpy() for name, t in model.state_dict().items()}


OPTIMIZERS = {
    "adamw": lambda p: optim.AdamW(p, lr=1e-2),
    "sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "rmsprop": lambda p: optim.RMSprop(p, lr=1e-2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("places", [("cuda:1", "cuda:1"), ("cuda:0", "cuda:1"), ("cuda:1", "cuda:0"), ("cpu", "cuda:1")])
def test_training_runs_where_the_parameters_are(fake_cuda, name, places):
    losses, state = train(*places, OPTIMIZERS[name])
    expected_losses, expected = train("cpu", "cpu", OPTIMIZERS[name])
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for key, values in expected.items():
        np.testing.assert_allclose(state[key], values, rtol=0, atol=1e-4, err_msg=key)  # AdamW divides by small roots
    assert stand_in.Device.number == 0


def test_a_scaler_serves_both_devices(fake_cuda):
    scaler = pl.amp.GradScaler(init_scale=8.0, growth_interval=2)
    losses, _ = train("cuda:0", "cuda:1", OPTIMIZERS["sgd"], scaler=scaler)
    np.testing.assert_allclose(losses, train("cpu", "cpu", OPTIMIZERS["sgd"])[0], rtol=1e-5)
    assert scaler.get_scale() == 16.0
    weights = [nn.Parameter(pl.ones(2, device=f"cuda:{k}")) for k in range(2)]
    for bad in (0, 1):
        step = optim.SGD(weights, lr=1.0)
        for k, weight in enumerate(weights):
            weight.grad = pl.full((2,), float("inf") if k == bad else 1.0, device=f"cuda:{k}")
        scaler.step(step)
        scaler.update()
        assert [weight.tolist() for weight in weights] == [[1.0, 1.0], [1.0, 1.0]]


def test_results_lie_where_the_arguments_do(fake_cuda):
    x = pl.full((2, 3), 2.0, device="cuda:1", requires_grad=True)
    y = (x * x).sum()
    y.backward()
    y2 = (x * x).sum()
    y2.backward()  # adds to the gradient in place
    for t in (x, y, x.grad, copy.deepcopy(x.detach()), pl.zeros_like(x), x.detach().clone().add_(1).fill_(3)):
        assert t.device == pl.device("cuda:1") and str(t._data.device.id) == "1"
    assert x.grad.tolist() == [[8.0] * 3] * 2
    assert pl.autograd.grad((x * x).sum(), [pl.ones(1, device="cuda:1", requires_grad=True)], materialize_grads=True)[
        0
    ].tolist() == [0]


@pytest.mark.parametrize("places", [("cuda:0", "cuda:1"), ("cuda:1", "cuda:0"), ("cpu", "cuda:1")])
def test_mixed_devices_are_refused_by_their_names(fake_cuda, places):
    a, b = (pl.ones(2, device=place) for place in places)
    names = " and ".join(sorted(places))
    with pytest.raises(DeviceError, match=rf"^add: all inputs must be on one device, came {names}; move them with \.to\(device\)"):
        a + b
    with pytest.raises(DeviceError, match=f"came {names}"):
        a.add_(b)


def test_numbers_go_where_the_tensors_are(fake_cuda):
    x = pl.tensor([1.0, 2.0], device="cuda:1")
    for result in (pl.where(x > 1, 5.0, -1.0), (x - 2) * 6 + 5, pl.where(x > 1, x + 3, -1)):
        assert result.device == x.device and result.tolist() == [-1.0, 5.0]


def test_the_device_in_use_comes_back_after_an_error(fake_cuda):
    with pytest.raises(ValueError, match="matmul"):
        pl.ones(2, 3, device="cuda:1") @ pl.ones(2, 3, device="cuda:1")
    assert stand_in.Device.number == 0
    with pl.cuda.device(1):
        assert (pl.ones(2, device="cuda:0") + 1).tolist() == [2, 2] and pl.cuda.current_device() == 1


def test_copies_between_devices_wait_for_both(fake_cuda):
    image = pl.arange(24, device="cuda:0").reshape(1, 2, 3, 4).contiguous(memory_format=pl.channels_last)
    sides = [pl.cuda.Stream(0), pl.cuda.Stream(1)]
    with pl.cuda.stream(sides[0]), pl.cuda.stream(sides[1]):
        moved = image.to("cuda:1")
    assert moved.device == pl.device("cuda:1") and moved.tolist() == image.tolist()
    assert moved.is_contiguous(memory_format=pl.channels_last)
    source, target = (side._stream for side in sides)
    assert len(source.waits) == len(target.waits) == 1 and target.waits[0].at < source.waits[0].at
    assert fake_cuda.machine.copies[-1] == "D2H" and "D2D" in fake_cuda.machine.copies


def test_streams_belong_to_devices(fake_cuda):
    side = pl.cuda.Stream(1)
    with pl.cuda.stream(side):
        assert pl.cuda.current_device() == 1 and pl.cuda.current_stream() == side
        assert pl.cuda.current_stream(0) == pl.cuda.default_stream(0) != pl.cuda.default_stream(1)
    assert pl.cuda.current_device() == 0 and pl.cuda.current_stream(1) == pl.cuda.default_stream(1)
    event = side.record_event()
    assert event.query() and pl.cuda.Event().query()
    pl.cuda.default_stream(0).wait_event(event)
    pl.cuda.synchronize(1)
    batches = list(pl.cuda.Prefetch([pl.ones(2), pl.zeros(2)], device="cuda:1"))
    assert [b.device for b in batches] == [pl.device("cuda:1")] * 2 and [b.tolist() for b in batches] == [[1, 1], [0, 0]]


def test_a_step_is_captured_on_the_device_of_its_arguments(fake_cuda):
    weight = nn.Parameter(pl.ones(3, device="cuda:1"))
    optimizer = optim.SGD([weight], lr=0.5)
    cuda.backend().kernels["sgd_on_device"] = lambda *_, **__: NotImplemented  # so that SGD may be captured

    @pl.cuda.capture
    def step(x):
        optimizer.zero_grad()
        loss = (weight * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    losses = [step(pl.ones(3, device="cuda:1")).item() for _ in range(5)]
    assert losses == [3.0, 1.5, 0.0, -1.5, -3.0] and step.graph_count == 1 and stand_in.Device.number == 0


def test_a_graph_holds_work_of_one_device(fake_cuda):
    other = pl.ones(3, device="cuda:1")
    step = pl.cuda.capture(lambda x: x + (other * 2).to("cuda:0"), warmup=1)
    x = pl.ones(3, device="cuda:0")
    step(x)
    with pytest.raises(CaptureError, match=r"test_devices\.py:\d+: a tensor of cuda:1 came up while a step on cuda:0 is captured"):
        step(x)
    assert (x + 1).tolist() == [2, 2, 2]


def test_modules_and_feeds_are_kept_by_device(fake_cuda):
    made = []

    class RawModule:
        def __init__(self, **_):
            made.append(stand_in.Device.number)

        def get_function(self, name):
            place = stand_in.Device.number
            return lambda *_: launched.append((place, stand_in.Device.number))

    launched = []
    fake_cuda.RawModule = RawModule
    loader, kernel = Loader(fake_cuda), source.kernels("softmax")["softmax_forward"]
    array = types.SimpleNamespace()
    feeds, numbers = Feeds(fake_cuda), {}
    for number in (0, 1, 0, 1):
        with fake_cuda.cuda.Device(number):
            loader.launch(kernel, "float32", launch.rows(2, 3), array, array, 2, 3)
            numbers.setdefault(number, []).append(feeds.array("rate", lambda: (0.5,)))
    assert made == [0, 1] and launched == [(0, 0), (1, 1)] * 2
    assert [found[0] is found[1] for found in numbers.values()] == [True, True]
    assert [found[0].device.id for found in numbers.values()] == [0, 1]
    feeds.forget("rate")
