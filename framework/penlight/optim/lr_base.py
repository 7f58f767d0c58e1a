# SPDX-License-Identifier: Apache-2.0
"""The base of learning-rate schedules: a pure function of the step count."""

from __future__ import annotations

from collections.abc import Mapping
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
