# SPDX-License-Identifier: Apache-2.0
"""All of PyTorch's schedules over 200 steps: the same rates, and momenta where they are cycled."""

import math
import warnings

import numpy as np
import pytest

import penlight as pl
from penlight.optim import lr_scheduler

torch = pytest.importorskip("torch")

STEPS = 200
TRACES = [
    ("StepLR", {"step_size": 30, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [20, 50, 51, 150], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.98}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 40}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 90}),
    ("PolynomialLR", {"total_iters": 120, "power": 1.7}),
    ("CosineAnnealingLR", {"T_max": 250, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 40, "eta_min": 0.0}),
    ("CosineAnnealingWarmRestarts", {"T_0": 7, "T_mult": 2, "eta_min": 0.02}),
    ("CosineAnnealingWarmRestarts", {"T_0": 30}),
    ("LambdaLR", {"lr_lambda": lambda step: 1 / math.sqrt(step + 1)}),
    ("LambdaLR", {"lr_lambda": [lambda step: 0.99**step, lambda step: 1.0]}),
    ("MultiplicativeLR", {"lr_lambda": lambda step: 1 - 1 / (step + 5)}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 13}),
    ("CyclicLR", {"base_lr": [0.01, 0.1], "max_lr": 0.5, "step_size_up": 20, "step_size_down": 9, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 10, "mode": "exp_range", "gamma": 0.99}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 10, "scale_fn": lambda n: 1 / n, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 2.0, "total_steps": STEPS + 1, "cycle_momentum": True}),
    ("OneCycleLR", {"max_lr": [2.0, 1.0], "epochs": 21, "steps_per_epoch": 10, "pct_start": 0.1, "cycle_momentum": True}),
    ("OneCycleLR", {"max_lr": 2.0, "total_steps": 220, "anneal_strategy": "linear", "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 2.0, "total_steps": 220, "three_phase": True, "cycle_momentum": True}),
]


def optimizer_of(library, name="SGD"):
    parameters = [library.nn.Parameter(library.ones(1)) for _ in range(2)]
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.3}]
    settings = {"momentum": 0.9} if name == "SGD" else {}
    return getattr(library.optim, name)(groups, lr=1.0, **settings)


def settings_of(optimizer):
    """Rate and momentum of every group."""
    return [(group["lr"], group["betas"][0] if "betas" in group else group["momentum"]) for group in optimizer.param_groups]


def follow(make_theirs, make_ours, name="SGD", metrics=None):
    theirs, ours = optimizer_of(torch, name), optimizer_of(pl, name)
    their_schedule, our_schedule = make_theirs(theirs), make_ours(ours)
    for step in range(STEPS):
        # The closed formulas and PyTorch's recursions differ by rounding only.
        np.testing.assert_allclose(settings_of(ours), settings_of(theirs), rtol=1e-9, atol=1e-12, err_msg=f"step {step}")
        theirs.step()
        arguments = () if metrics is None else (metrics[step],)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            their_schedule.step(*arguments)
        our_schedule.step(*arguments)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize(("name", "settings"), TRACES)
def test_rates_follow_torch(name, settings, optimizer):
    theirs = getattr(torch.optim.lr_scheduler, name)
    ours = getattr(lr_scheduler, name)
    follow(lambda chosen: theirs(chosen, **settings), lambda chosen: ours(chosen, **settings), optimizer)


def test_sequence_follows_torch():
    def make(module):
        def schedule(chosen):
            parts = [module.LinearLR(chosen, 0.1, total_iters=20), module.CosineAnnealingLR(chosen, 100), module.StepLR(chosen, 15)]
            return module.SequentialLR(chosen, parts, milestones=[20, 120])

        return schedule

    follow(make(torch.optim.lr_scheduler), make(lr_scheduler))


def test_chain_follows_torch():
    def make(module):
        def schedule(chosen):
            parts = [module.ConstantLR(chosen, 0.1, total_iters=20), module.ExponentialLR(chosen, 0.98), module.StepLR(chosen, 50)]
            return module.ChainedScheduler(parts)

        return schedule

    follow(make(torch.optim.lr_scheduler), make(lr_scheduler))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "settings",
    [
        {"patience": 3},
        {"mode": "max", "factor": 0.5, "patience": 2, "cooldown": 4, "threshold": 0.1},
        {"threshold_mode": "abs", "threshold": 0.05, "patience": 1, "min_lr": 1e-3},
        {"mode": "max", "threshold_mode": "abs", "patience": 0, "factor": 0.9, "min_lr": [0.1, 0.2]},
    ],
)
def test_plateau_follows_torch(settings, sign):
    rng = np.random.default_rng(0)
    metrics = [float(value) for value in sign * (np.exp(-np.arange(STEPS) / 40) + 0.1 * rng.random(STEPS))]
    follow(
        lambda chosen: torch.optim.lr_scheduler.ReduceLROnPlateau(chosen, **settings),
        lambda chosen: lr_scheduler.ReduceLROnPlateau(chosen, **settings),
        metrics=metrics,
    )


def test_plateau_goes_on_from_its_state():
    chosen = optimizer_of(pl)
    schedule = lr_scheduler.ReduceLROnPlateau(chosen, patience=1)
    for metric in (1.0, 2.0):
        schedule.step(metric)
    other = lr_scheduler.ReduceLROnPlateau(chosen, patience=1)
    other.load_state_dict(schedule.state_dict())
    other.step(2.0)
    assert chosen.param_groups[0]["lr"] == pytest.approx(0.1)


def test_all_schedules_of_torch_are_there():
    names = [name for name in torch.optim.lr_scheduler.__all__ if name != "LRScheduler"]
    assert len(names) == 15
    assert all(hasattr(lr_scheduler, name) for name in names)


def test_momentum_needs_an_optimizer_that_has_it():
    plain = pl.optim.Adagrad([pl.zeros(1).requires_grad_()])
    with pytest.raises(ValueError, match="cycle_momentum=False"):
        lr_scheduler.CyclicLR(plain, 0.1, 1.0)
