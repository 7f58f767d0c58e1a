# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules against PyTorch's."""

import pytest

import penlight as pl
from penlight import nn, optim
from penlight.errors import StateDictError
from penlight.optim import lr_scheduler

SCHEDULES = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 9], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("LinearLR", {"start_factor": 0.25, "total_iters": 4}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 10}),
    ("CosineAnnealingLR", {"T_max": 12, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 5}),
    ("LambdaLR", {"lr_lambda": lambda step: 0.5**step}),
    ("OneCycleLR", {"max_lr": 2.0, "total_steps": 13}),
]


def optimizer():
    return optim.SGD([{"params": [nn.Parameter(pl.ones(1))]}, {"params": [nn.Parameter(pl.ones(1))], "lr": 0.3}], lr=1.0)


def torch_optimizer(torch):
    parameters = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    return torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.3}], lr=1.0)


@pytest.mark.parametrize(("name", "settings"), SCHEDULES)
def test_rates_equal_torch(name, settings):
    torch = pytest.importorskip("torch")
    theirs_optimizer = torch_optimizer(torch)
    extra = {"cycle_momentum": False} if name == "OneCycleLR" else {}
    ours = getattr(lr_scheduler, name)(optimizer(), **settings)
    theirs = getattr(torch.optim.lr_scheduler, name)(theirs_optimizer, **settings, **extra)
    for _ in range(12):
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-9, abs=1e-12)
        theirs_optimizer.step()
        ours.step()
        theirs.step()
    assert ours.last_epoch == theirs.last_epoch


def test_sequence_equals_torch():
    torch = pytest.importorskip("torch")

    def make(module, chosen):
        warm = module.LinearLR(chosen, start_factor=0.1, total_iters=3)
        return module.SequentialLR(chosen, [warm, module.CosineAnnealingLR(chosen, T_max=8)], milestones=[3])

    theirs_optimizer = torch_optimizer(torch)
    ours, theirs = make(lr_scheduler, optimizer()), make(torch.optim.lr_scheduler, theirs_optimizer)
    for _ in range(11):
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-9)
        theirs_optimizer.step()
        ours.step()
        theirs.step()
    with pytest.raises(ValueError, match="expected 1 ascending milestones"):
        lr_scheduler.SequentialLR(optimizer(), [ours, ours], milestones=[])


@pytest.mark.parametrize(("name", "settings"), SCHEDULES)
def test_resume_at_any_step_is_exact(name, settings):
    whole = getattr(lr_scheduler, name)(optimizer(), **settings)
    for _ in range(7):
        whole.step()
    state, chosen = whole.state_dict(), optimizer()
    resumed = getattr(lr_scheduler, name)(chosen, **settings)
    resumed.load_state_dict(state)
    for _ in range(4):
        assert resumed.get_last_lr() == whole.get_last_lr()
        assert [group["lr"] for group in chosen.param_groups] == whole.get_last_lr()
        whole.step()
        resumed.step()


def test_a_state_of_other_groups_is_refused():
    state = lr_scheduler.StepLR(optimizer(), 3).state_dict()
    single = optim.SGD([nn.Parameter(pl.ones(1))], lr=1.0)
    with pytest.raises(StateDictError, match="2 groups, the optimizer 1"):
        lr_scheduler.StepLR(single, 3).load_state_dict(state)
