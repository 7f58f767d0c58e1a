# SPDX-License-Identifier: Apache-2.0
"""Averages of weights over training: stochastic weight averaging (Izmailov et al. 2018) and exponential moving averages."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

from penlight.autograd import no_grad
from penlight.backends.backend import visiting
from penlight.nn.module import Module
from penlight.nn.norm import _BatchNorm
from penlight.optim.lr_base import LRScheduler
from penlight.optim.lr_cycle import Numbers, per_group
from penlight.optim.optimizer import Optimizer
from penlight.tensor import Tensor, tensor

MultiAverage = Callable[[list[Tensor], list[Tensor], int], None]


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverage:
    """Returns the function with which `AveragedModel` keeps an exponential moving average.

    Raises:
        ValueError: decay is not in [0, 1].
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"get_ema_multi_avg_fn: decay must be between 0 and 1, got {decay}")

    def average(averaged: list[Tensor], current: list[Tensor], count: int) -> None:
        for mean, new in zip(averaged, current, strict=True):
            with visiting(mean._data, new._data):
                mean._data += (new._data - mean._data) * (1 - decay)

    return average


def get_swa_multi_avg_fn() -> MultiAverage:
    """Returns the function with which `AveragedModel` keeps the plain average, its default."""

    def average(averaged: list[Tensor], current: list[Tensor], count: int) -> None:
        for mean, new in zip(averaged, current, strict=True):
            with visiting(mean._data, new._data):
                mean._data += (new._data - mean._data) / (count + 1)

    return average


class AveragedModel(Module):
    """A copy of a model whose parameters are the average of those given to `update_parameters`.

    Args:
        model: copied; the copy is called when the averaged model is.
        multi_avg_fn: `function(averaged, current, count)` moves the averages in place; the plain average by default.
        use_buffers: whether floating-point buffers are averaged too; otherwise buffers are copied.

    Attributes:
        module: the copy. n_averaged: how many updates there were.
    """

    def __init__(self, model: Module, multi_avg_fn: MultiAverage | None = None, use_buffers: bool = False):
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", tensor(0))
        self.n_averaged: Tensor
        self.multi_avg_fn, self.use_buffers = multi_avg_fn or get_swa_multi_avg_fn(), use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Takes the model's parameters into the average; the first ones are copied."""
        averaged, current = self._chosen(self.module), self._chosen(model)
        count = int(self.n_averaged.item())
        if count == 0:
            for mean, new in zip(averaged, current, strict=True):
                _write(mean, new._data)
        else:
            floating = [pair for pair in zip(averaged, current, strict=True) if pair[0].dtype.is_floating_point]
            self.multi_avg_fn([mean for mean, _ in floating], [new for _, new in floating], count)
        if not self.use_buffers:
            for mean, new in zip(self.module.buffers(), model.buffers(), strict=True):
                _write(mean, new._data)
        for mean in averaged:
            mean.bump_version()
        with visiting(self.n_averaged._data):
            self.n_averaged._data += 1

    def _chosen(self, model: Module) -> list[Tensor]:
        return list(itertools.chain(model.parameters(), model.buffers() if self.use_buffers else ()))


def _write(target: Tensor, value: Any) -> None:
    with visiting(target._data):
        target._data[...] = value


def update_bn(loader: Iterable[Any], model: Module) -> None:
    """Sets the running statistics of all batch norms to those of the batches of `loader`; the mode stays as it was.

    Args:
        loader: batches, of which a tuple's first entry is the input.
        model: called once per batch, without gradients.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None]
    if not norms:
        return
    momenta, training = [norm.momentum for norm in norms], model.training
    for norm in norms:
        statistics = (norm.running_mean, 0), (norm.running_var, 1), (norm.num_batches_tracked, 0)
        for value, start in statistics:
            if value is not None:
                _write(value, start)
        norm.momentum = None  # the plain average over all batches
    model.train()
    with no_grad():
        for batch in loader:
            model(batch[0] if isinstance(batch, (tuple, list)) else batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(training)


class SWALR(LRScheduler):
    """Goes from the rate in force to `swa_lr` in `anneal_epochs` steps, and stays.

    Args:
        optimizer: its rates are where it starts.
        swa_lr: where it goes, one number or one per group.
        anneal_epochs: steps of the way.
        anneal_strategy: "cos" or "linear".
    """

    def __init__(self, optimizer: Optimizer, swa_lr: Numbers, anneal_epochs: int = 10, anneal_strategy: str = "cos"):
        if anneal_strategy not in ("cos", "linear") or anneal_epochs < 0:
            raise ValueError(
                f"SWALR: anneal_strategy is 'cos' or 'linear', anneal_epochs >= 0; got {anneal_strategy!r}, {anneal_epochs}"
            )
        self.swa_lrs, self.anneal_epochs, self.anneal_strategy = per_group(optimizer, swa_lr), anneal_epochs, anneal_strategy
        self._starts = [group["lr"] for group in optimizer.param_groups]
        super().__init__(optimizer)

    def rates_at(self, step: int) -> list[float]:
        done = min(1.0, step / self.anneal_epochs) if self.anneal_epochs else 1.0
        done = (1 - math.cos(math.pi * done)) / 2 if self.anneal_strategy == "cos" else done
        return [start + (end - start) * done for start, end in zip(self._starts, self.swa_lrs, strict=True)]
