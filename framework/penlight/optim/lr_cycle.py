# SPDX-License-Identifier: Apache-2.0
"""Schedules that go up and down: cyclic, one cycle, and the cosine with warm restarts; the momentum may go the other way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from penlight.optim.lr_base import LRScheduler
from penlight.optim.optimizer import Optimizer

Numbers = float | Sequence[float]


def per_group(optimizer: Optimizer, value: Numbers) -> list[float]:
    """Returns one number per parameter group."""
    return list(value) if isinstance(value, Sequence) else [value] * len(optimizer.param_groups)


class _WithMomentum(LRScheduler):
    """Sets the momentum (betas[0] of Adam's kind) beside the rate, if `cycle_momentum`."""

    cycle_momentum: bool

    def momenta_at(self, step: int) -> list[float]:
        """Returns the momentum of each group at a step."""
        raise NotImplementedError(f"{type(self).__name__} must define momenta_at(step)")

    def check_momentum(self, optimizer: Optimizer) -> None:
        """Raises ValueError if the optimizer has no momentum to cycle."""
        if self.cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(f"{type(self).__name__}: the optimizer has neither momentum nor betas; pass cycle_momentum=False")

    def _apply(self) -> None:
        super()._apply()
        if not self.cycle_momentum:
            return
        for group, momentum in zip(self.optimizer.param_groups, self.momenta_at(self.last_epoch), strict=True):
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum


class CyclicLR(_WithMomentum):
    """Up and down between two rates (Smith 2017).

    Args:
        optimizer: its rate becomes base_lr.
        base_lr, max_lr: the bounds, one number or one per group.
        step_size_up, step_size_down: steps of the way up and down; down as up by default.
        mode: "triangular", "triangular2" (half the height after each cycle) or "exp_range" (height times gamma^step).
        gamma: of "exp_range".
        scale_fn, scale_mode: a height of one's own, of the count of cycles ("cycle") or of steps ("iterations").
        cycle_momentum: whether the momentum goes the other way, between base_momentum and max_momentum.
        base_momentum, max_momentum: its bounds.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: Numbers,
        max_lr: Numbers,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: Numbers = 0.8,
        max_momentum: Numbers = 0.9,
    ):
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(f"CyclicLR: mode must be 'triangular', 'triangular2' or 'exp_range', got {mode!r}")
        self.mode, self.gamma, self.scale_fn, self.cycle_momentum = mode, gamma, scale_fn, cycle_momentum
        self.scale_mode = scale_mode if scale_fn is not None else "iterations" if mode == "exp_range" else "cycle"
        self.check_momentum(optimizer)
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size, self.step_ratio = step_size_up + down, step_size_up / (step_size_up + down)
        self.max_lrs = per_group(optimizer, max_lr)
        self.base_momenta, self.max_momenta = per_group(optimizer, base_momentum), per_group(optimizer, max_momentum)
        for group, lr in zip(optimizer.param_groups, per_group(optimizer, base_lr), strict=True):
            group["lr"] = group["initial_lr"] = lr
        super().__init__(optimizer)

    def _height(self, step: int) -> float:
        cycle = math.floor(1 + step / self.total_size)
        x = 1 + step / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        return height * self._scale(cycle if self.scale_mode == "cycle" else step)

    def _scale(self, count: int) -> float:
        if self.scale_fn is not None:
            return self.scale_fn(count)
        return {"triangular": 1.0, "triangular2": 0.5 ** (count - 1), "exp_range": self.gamma**count}[self.mode]

    def rates_at(self, step: int) -> list[float]:
        height = self._height(step)
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def momenta_at(self, step: int) -> list[float]:
        height = self._height(step)
        return [high - (high - low) * height for low, high in zip(self.base_momenta, self.max_momenta, strict=True)]


class OneCycleLR(_WithMomentum):
    """Up to max_lr and down to almost nothing (Smith and Topin 2018).

    Args:
        optimizer: its rate becomes max_lr / div_factor.
        max_lr: the peak, one number or one per group.
        total_steps: length of the cycle; or
        epochs, steps_per_epoch: their product is.
        pct_start: part of it that goes up.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether the momentum goes the other way; on by default, as in PyTorch.
        base_momentum, max_momentum: its bounds.
        div_factor: peak over first rate.
        final_div_factor: first rate over last.
        three_phase: whether it goes down to the first rate as fast as up, and only then to the last.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: Numbers,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: Numbers = 0.85,
        max_momentum: Numbers = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ):
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or both epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps < 1 or not 0 <= pct_start <= 1 or anneal_strategy not in ("cos", "linear"):
            came = f"{total_steps}, {pct_start}, {anneal_strategy!r}"
            raise ValueError(f"OneCycleLR: total_steps >= 1, 0 <= pct_start <= 1, anneal_strategy 'cos' or 'linear'; got {came}")
        self.total_steps, self.pct_start, self.three_phase = total_steps, pct_start, three_phase
        self.anneal, self.cycle_momentum = _cosine if anneal_strategy == "cos" else _linear, cycle_momentum
        self.check_momentum(optimizer)
        self.max_lrs, self.div_factor, self.final_div_factor = per_group(optimizer, max_lr), div_factor, final_div_factor
        self.base_momenta, self.max_momenta = per_group(optimizer, base_momentum), per_group(optimizer, max_momentum)
        super().__init__(optimizer)

    def _ends(self) -> list[float]:
        peak = self.pct_start * self.total_steps - 1
        return [peak, 2 * peak, self.total_steps - 1] if self.three_phase else [peak, self.total_steps - 1]

    def _along(self, step: int, values: list[float]) -> float:
        """Goes through `values`, which are met at 0 and at the ends of the phases."""
        begin = 0.0
        for end, first, last in zip(self._ends(), values, values[1:], strict=False):
            if step <= end or end == self.total_steps - 1:
                return self.anneal(first, last, min(1.0, (step - begin) / (end - begin)))
            begin = end
        raise AssertionError("the last phase ends with the cycle")

    def rates_at(self, step: int) -> list[float]:
        rates = []
        for peak in self.max_lrs:
            first = peak / self.div_factor
            last = first / self.final_div_factor
            rates.append(self._along(step, [first, peak, first, last] if self.three_phase else [first, peak, last]))
        return rates

    def momenta_at(self, step: int) -> list[float]:
        bounds = zip(self.base_momenta, self.max_momenta, strict=True)
        return [self._along(step, [high, low, high, high]) for low, high in bounds]


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


def _linear(start: float, end: float, done: float) -> float:
    return start + (end - start) * done


class CosineAnnealingWarmRestarts(LRScheduler):
    """A cosine down to eta_min that starts anew after T_0 steps, then after T_0 * T_mult, ... (Loshchilov and Hutter 2017)."""

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0):
        if T_0 < 1 or T_mult < 1:
            raise ValueError(f"CosineAnnealingWarmRestarts: T_0 and T_mult must be 1 or more, got {T_0} and {T_mult}")
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float) -> float:
        length, begun = self.T_0, 0
        while step - begun >= length:
            begun, length = begun + length, length * self.T_mult
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * (step - begun) / length)) / 2
