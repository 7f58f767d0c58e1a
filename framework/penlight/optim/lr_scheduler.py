# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules: each is a pure function of the step count, so that a run can go on anywhere in it.

Names and values are PyTorch's; the formulas are the closed ones (PyTorch's recursive ones differ in the last bits).
Call `step()` after each `optimizer.step()`, or once per epoch, as the schedule was meant.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penlight.errors import StateDictError
from penlight.optim.optimizer import Optimizer


class LRScheduler:
    """Base of all schedules: subclasses define `lr_at(step, base_lr)`, or `factor_at(step)` of the first rate.

    Attributes:
        last_epoch: how often `step()` was called.
        base_lrs: the first rate of each parameter group.
    """

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self._apply()

    def factor_at(self, step: int) -> float:
        """Returns what the first rate is multiplied with at a step."""
        raise NotImplementedError(f"{type(self).__name__} must define factor_at(step) or lr_at(step, base_lr)")

    def lr_at(self, step: int, base_lr: float) -> float:
        """Returns the rate at a step."""
        return base_lr * self.factor_at(step)

    def rates_at(self, step: int) -> list[float]:
        """Returns the rate of each group at a step."""
        return [self.lr_at(step, base_lr) for base_lr in self.base_lrs]

    def step(self) -> None:
        """Goes on by one and sets the rates of the optimizer."""
        self.last_epoch += 1
        self._apply()

    def _apply(self) -> None:
        for group, lr in zip(self.optimizer.param_groups, self.rates_at(self.last_epoch), strict=True):
            group["lr"] = lr

    def get_last_lr(self) -> list[float]:
        """Returns the rates in force."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Returns the position; the shape of the schedule is the constructor's."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes to a saved position and sets the rates of the optimizer.

        Raises:
            StateDictError: it is of an optimizer with another number of groups.
        """
        saved, own = len(state_dict["base_lrs"]), len(self.base_lrs)
        if saved != own:
            raise StateDictError(f"{type(self).__name__}.load_state_dict: the state has {saved} groups, the optimizer {own}")
        self.last_epoch, self.base_lrs = state_dict["last_epoch"], list(state_dict["base_lrs"])
        self._apply()


class LambdaLR(LRScheduler):
    """The first rate times `lr_lambda(step)`; a list of functions has one per parameter group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]):
        self.lr_lambdas = [lr_lambda] * len(optimizer.param_groups) if callable(lr_lambda) else list(lr_lambda)
        super().__init__(optimizer)

    def rates_at(self, step: int) -> list[float]:
        return [base_lr * function(step) for base_lr, function in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class StepLR(LRScheduler):
    """Multiplies the rate by gamma every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def factor_at(self, step: int) -> float:
        return self.gamma ** (step // self.step_size)


class MultiStepLR(LRScheduler):
    """Multiplies the rate by gamma at each milestone."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def factor_at(self, step: int) -> float:
        return self.gamma ** bisect_right(self.milestones, step)


class ExponentialLR(LRScheduler):
    """Multiplies the rate by gamma every step."""

    def __init__(self, optimizer: Optimizer, gamma: float):
        self.gamma = gamma
        super().__init__(optimizer)

    def factor_at(self, step: int) -> float:
        return self.gamma**step


class LinearLR(LRScheduler):
    """Goes from start_factor to end_factor of the first rate in `total_iters` steps, and stays: a warm-up."""

    def __init__(self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5):
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def factor_at(self, step: int) -> float:
        done = min(step, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * done


class CosineAnnealingLR(LRScheduler):
    """eta_min + (lr - eta_min) * (1 + cos(pi * step / T_max)) / 2 (Loshchilov and Hutter 2017)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float) -> float:
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * step / self.T_max)) / 2


class OneCycleLR(LRScheduler):
    """Up to max_lr and down to almost nothing, both along a cosine (Smith and Topin 2018); the momentum is left alone.

    Args:
        optimizer: its rate becomes max_lr / div_factor.
        max_lr: the peak.
        total_steps: length of the cycle.
        pct_start: part of it that goes up.
        div_factor: peak over first rate.
        final_div_factor: first rate over last.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ):
        self.max_lr, self.total_steps, self.pct_start = max_lr, total_steps, pct_start
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float) -> float:
        first = self.max_lr / self.div_factor
        peak, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        if step <= peak:
            return _cosine(first, self.max_lr, step / peak)
        return _cosine(self.max_lr, first / self.final_div_factor, min(1.0, (step - peak) / (last - peak)))


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


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
