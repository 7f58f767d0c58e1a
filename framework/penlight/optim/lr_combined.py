# SPDX-License-Identifier: Apache-2.0
"""Schedules made of others, and the one that watches a metric."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from penlight.optim.lr_base import LRScheduler
from penlight.optim.optimizer import Optimizer


class SequentialLR(LRScheduler):
    """One schedule after the other; each begins at its milestone with its own step 0.

    Args:
        optimizer: the optimizer of all of them.
        schedulers: in order.
        milestones: the steps at which the second, third, ... begin.
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]):
        borders = len(schedulers) - 1
        if len(milestones) != borders or list(milestones) != sorted(milestones):
            raise ValueError(f"SequentialLR: expected {borders} ascending milestones, got {list(milestones)}")
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def rates_at(self, step: int) -> list[float]:
        which = bisect_right(self.milestones, step)
        return self.schedulers[which].rates_at(step - (self.milestones[which - 1] if which else 0))


class ChainedScheduler(LRScheduler):
    """Several schedules at once: the rate is the first one times the factors of all of them.

    A schedule with a floor of its own, such as `CosineAnnealingLR(eta_min=...)`, takes part with the factor it gives alone.

    Args:
        schedulers: of the same optimizer.
        optimizer: theirs by default.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None):
        if not schedulers:
            raise ValueError("ChainedScheduler: expected at least one schedule, got none")
        chosen = optimizer or schedulers[0].optimizer
        if any(scheduler.optimizer is not chosen for scheduler in schedulers):
            raise ValueError("ChainedScheduler: all schedules must be of the same optimizer")
        self.schedulers = list(schedulers)
        super().__init__(chosen)

    def rates_at(self, step: int) -> list[float]:
        alone = [scheduler.rates_at(step) for scheduler in self.schedulers]
        bases = [scheduler.base_lrs for scheduler in self.schedulers]
        return [
            base_lr * math.prod(rates[group] / first[group] for rates, first in zip(alone, bases, strict=True))
            for group, base_lr in enumerate(self.base_lrs)
        ]


class ReduceLROnPlateau:
    """Multiplies the rate by `factor` when a metric has not improved for more than `patience` calls of `step(metric)`.

    Args:
        optimizer: its rates are changed.
        mode: "min" if the metric should fall, "max" if it should rise.
        factor: below 1.
        patience: calls without improvement that are put up with.
        threshold, threshold_mode: how much better counts: a part of the best ("rel") or a difference ("abs").
        cooldown: calls after a reduction in which nothing is counted.
        min_lr: lower bound, one number or one per group.
        eps: smaller reductions are not made.

    Attributes:
        best: the best metric so far. num_bad_epochs, last_epoch: counts.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ):
        if factor >= 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: mode is 'min' or 'max', threshold_mode 'rel' or 'abs'; got {mode}, {threshold_mode}"
            )
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        groups = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * groups
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs, self.cooldown_counter, self.last_epoch = 0, 0, 0

    def step(self, metrics: Any) -> None:
        """Looks at a metric and lowers the rates if it is time."""
        value = float(metrics)
        self.last_epoch += 1
        if self._improves(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _improves(self, value: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        margin = abs(self.best) * self.threshold if self.threshold_mode == "rel" else self.threshold
        if math.isinf(self.best):
            margin = 0.0
        # PyTorch's relative margin is a part of the signed best: for a negative best it goes the other way.
        if self.threshold_mode == "rel" and self.best < 0:
            margin = -margin
        return (value - self.best) * sign > margin

    def _reduce(self) -> None:
        for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            lower = max(group["lr"] * self.factor, least)
            if group["lr"] - lower > self.eps:
                group["lr"] = lower

    def get_last_lr(self) -> list[float]:
        """Returns the rates in force."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Returns the counts and the best metric; the rates themselves are in the optimizer's state."""
        names = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over counts and the best metric."""
        for name in self.state_dict():
            setattr(self, name, state_dict[name])
