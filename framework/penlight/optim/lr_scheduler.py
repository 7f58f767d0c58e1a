# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules: each is a pure function of the step count, so that a run can go on anywhere in it.

Names and values are PyTorch's; the formulas are the closed ones (PyTorch's recursive ones differ in the last bits).
Call `step()` after each `optimizer.step()`, or once per epoch, as the schedule was meant.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from penlight.optim.lr_base import LRScheduler as LRScheduler
from penlight.optim.lr_combined import ChainedScheduler as ChainedScheduler
from penlight.optim.lr_combined import ReduceLROnPlateau as ReduceLROnPlateau
from penlight.optim.lr_combined import SequentialLR as SequentialLR
from penlight.optim.lr_cycle import CosineAnnealingWarmRestarts as CosineAnnealingWarmRestarts
from penlight.optim.lr_cycle import CyclicLR as CyclicLR
from penlight.optim.lr_cycle import OneCycleLR as OneCycleLR
from penlight.optim.optimizer import Optimizer


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


class MultiplicativeLR(LRScheduler):
    """The rate times `lr_lambda(step)` at every step; a list of functions has one per parameter group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]):
        self.lr_lambdas = [lr_lambda] * len(optimizer.param_groups) if callable(lr_lambda) else list(lr_lambda)
        self._products = [[1.0] for _ in self.lr_lambdas]  # products of the factors up to each step
        super().__init__(optimizer)

    def rates_at(self, step: int) -> list[float]:
        for products, function in zip(self._products, self.lr_lambdas, strict=True):
            while len(products) <= step:
                products.append(products[-1] * function(len(products)))
        return [base_lr * products[step] for base_lr, products in zip(self.base_lrs, self._products, strict=True)]


class ConstantLR(LRScheduler):
    """The first rate times `factor` for `total_iters` steps, then the first rate."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5):
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: factor must be between 0 and 1, got {factor}")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer)

    def factor_at(self, step: int) -> float:
        return self.factor if step < self.total_iters else 1.0


class PolynomialLR(LRScheduler):
    """The first rate times (1 - step / total_iters)^power, then 0."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer)

    def factor_at(self, step: int) -> float:
        return (1 - min(step, self.total_iters) / self.total_iters) ** self.power
