# SPDX-License-Identifier: Apache-2.0
"""Callbacks: what a Trainer tells, and the ones that stop a run early or keep its best weights."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import penlight.distributed.checkpoint as group_checkpoint  # a module: distributed imports penlight.train as well
from penlight.errors import ArgumentError

if TYPE_CHECKING:
    from penlight.train.loop import Record, Trainer


class Callback:
    """Told what a Trainer does; subclasses override what they need.

    Attributes:
        first_rank_only: of several ranks, only the first tells this callback; for those that write or print.
    """

    first_rank_only = False

    def on_fit_start(self, trainer: Trainer) -> None:
        """Training begins or goes on; `trainer.step` says where."""

    def on_step(self, trainer: Trainer) -> None:
        """The optimizer has made a step."""

    def on_record(self, trainer: Trainer, record: Record) -> None:
        """The history has a new record, of training or of an evaluation."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """An epoch is done, and its evaluation."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """Training has ended, in whatever way."""

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed run must know: numbers, text, lists, dicts, arrays and Tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""


class _Monitor(Callback):
    """Watches a number of the records for a new best.

    Args:
        monitor: its name in the records, such as "validation_loss".
        mode: "min" if less is better, "max" if more is.
        min_delta: what counts as better at least.
    """

    def __init__(self, monitor: str = "validation_loss", mode: str = "min", min_delta: float = 0.0):
        if mode not in ("min", "max"):
            raise ArgumentError(f'{type(self).__name__}: mode must be "min" or "max", came {mode!r}')
        self.monitor, self.mode, self.min_delta = monitor, mode, min_delta
        self.best = math.inf if mode == "min" else -math.inf
        self.best_step = 0

    def is_better(self, value: float) -> bool:
        """Returns whether a value is the best so far."""
        return value < self.best - self.min_delta if self.mode == "min" else value > self.best + self.min_delta

    def on_record(self, trainer: Trainer, record: Record) -> None:
        """Compares the value, if the record has it."""
        if self.monitor in record:
            self._compare(trainer, record[self.monitor])
        elif any(name.startswith("validation_") for name in record) and self.monitor.startswith("validation_"):
            names = ", ".join(name for name in record if name.startswith("validation_"))
            raise ArgumentError(f"{type(self).__name__}: the evaluation returned no {self.monitor!r}; it returned {names}")

    def _compare(self, trainer: Trainer, value: float) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Returns the best value and its step."""
        return {"best": self.best, "best_step": self.best_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self.best, self.best_step = state["best"], state["best_step"]


class EarlyStopping(_Monitor):
    """Ends a run when `monitor` has not become better for `patience` evaluations, or is NaN or infinite.

    Attributes:
        best, best_step: the best value and the step it came at.
    """

    def __init__(self, monitor: str = "validation_loss", patience: int = 3, mode: str = "min", min_delta: float = 0.0):
        super().__init__(monitor, mode, min_delta)
        if patience < 1:
            raise ArgumentError(f"EarlyStopping: patience must be >= 1, came {patience}")
        self.patience, self.waited = patience, 0

    def _compare(self, trainer: Trainer, value: float) -> None:
        if self.is_better(value):
            self.best, self.best_step, self.waited = value, trainer.step, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            trainer.stop(f"{self.monitor} has not become better than {self.best:.6g} (step {self.best_step})")
        elif not math.isfinite(value):
            trainer.stop(f"{self.monitor} is {value}")

    def state_dict(self) -> dict[str, Any]:
        """Returns the best value, its step and how long it was waited since."""
        return {**super().state_dict(), "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        super().load_state_dict(state)
        self.waited = state["waited"]


class BestCheckpoint(_Monitor):
    """Keeps the weights with the best `monitor` in a folder of their own, for `load_checkpoint(folder, model)`.

    The checkpoint's extra data are {monitor: value}; the one before it is removed once the new one is whole.
    """

    def __init__(self, folder: str | os.PathLike[str], monitor: str = "validation_loss", mode: str = "min", min_delta: float = 0.0):
        super().__init__(monitor, mode, min_delta)
        self.folder = Path(folder)

    def _compare(self, trainer: Trainer, value: float) -> None:
        if self.is_better(value):
            self.best, self.best_step = value, trainer.step
            group_checkpoint.save_checkpoint(self.folder, trainer.model, step=trainer.step, extra={self.monitor: value})
