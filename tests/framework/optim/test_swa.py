# SPDX-License-Identifier: Apache-2.0
"""Averaged weights against PyTorch's."""

import numpy as np
import pytest

import penlight as pl
from penlight.optim import swa_utils

torch = pytest.importorskip("torch")


def pair():
    def make(nn):
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    theirs, ours = make(torch.nn), make(pl.nn)
    ours.load_state_dict({name: value.numpy().copy() for name, value in theirs.state_dict().items()})
    return theirs, ours


def perturb(theirs, ours, rng):
    for a, b in zip(theirs.parameters(), ours.parameters(), strict=True):
        change = rng.standard_normal(a.shape).astype(np.float32)
        a.data += torch.tensor(change)
        b._data += change


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("decay", [None, 0.9])
def test_averages_equal_torch(decay, use_buffers):
    rng = np.random.default_rng(0)
    theirs, ours = pair()
    functions = [None, None]
    if decay is not None:
        functions = [torch.optim.swa_utils.get_ema_multi_avg_fn(decay), swa_utils.get_ema_multi_avg_fn(decay)]
    their_mean = torch.optim.swa_utils.AveragedModel(theirs, multi_avg_fn=functions[0], use_buffers=use_buffers)
    our_mean = swa_utils.AveragedModel(ours, functions[1], use_buffers)
    for _ in range(5):
        perturb(theirs, ours, rng)
        x = rng.standard_normal((8, 3)).astype(np.float32)
        theirs(torch.tensor(x)), ours(pl.tensor(x))
        their_mean.update_parameters(theirs)
        our_mean.update_parameters(ours)
    state = our_mean.state_dict()
    assert set(state) == set(their_mean.state_dict())
    for name, value in their_mean.state_dict().items():
        np.testing.assert_allclose(state[name].numpy(), value.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


def test_update_bn_equals_torch():
    rng = np.random.default_rng(1)
    theirs, ours = pair()
    batches = [rng.standard_normal((8, 3)).astype(np.float32) for _ in range(4)]
    torch.optim.swa_utils.update_bn([torch.tensor(batch) for batch in batches], theirs)
    ours.eval()
    swa_utils.update_bn([(pl.tensor(batch), 0) for batch in batches], ours)
    assert not ours.training
    assert ours[1].momentum == 0.1
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), value.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_swalr_equals_torch(strategy):
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    ours = pl.optim.SGD([pl.nn.Parameter(pl.ones(1))], lr=1.0)
    their_schedule = torch.optim.swa_utils.SWALR(theirs, 0.05, anneal_epochs=7, anneal_strategy=strategy)
    our_schedule = swa_utils.SWALR(ours, 0.05, anneal_epochs=7, anneal_strategy=strategy)
    for _ in range(12):
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-6)
        theirs.step()
        their_schedule.step()
        our_schedule.step()
