# SPDX-License-Identifier: Apache-2.0
"""The training loop: steps, metrics, checkpoints, resume, and an orderly stop."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import penlight.distributed.checkpoint as group_checkpoint  # a module: distributed imports penlight.train as well
import penlight.nn.functional as F
from penlight.autograd import no_grad
from penlight.data.collate import to_device
from penlight.data.loader import DataLoader
from penlight.device import cpu
from penlight.distributed.collectives import largest_over_ranks
from penlight.errors import Interrupted, NumericalError
from penlight.nn.module import Module
from penlight.nn.utils import clip_grad_norm_
from penlight.optim.lr_scheduler import LRScheduler
from penlight.optim.optimizer import Optimizer
from penlight.tensor import Tensor
from penlight.train.checkpoint import has_checkpoint

Loss = Callable[[Module, Any], tuple[Tensor, dict[str, float]]]
Record = dict[str, Any]


def classify(model: Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
    """Returns cross-entropy and accuracy of a model that maps inputs to logits (..., classes), for a batch (inputs, labels)."""
    inputs, labels = batch
    logits = model(inputs)
    classes = logits.shape[-1]
    loss = F.cross_entropy(logits.reshape(-1, classes), labels.reshape(-1))
    right = logits.detach().argmax(dim=-1) == labels
    return loss, {"accuracy": float(right.numpy(force=True).mean()) if right.numel() else 0.0}


def on_device_of(model: Module, loader: DataLoader) -> Iterator[Any]:
    """Yields the batches of a loader on the device of the model's parameters."""
    parameter = next(model.parameters(), None)
    device = cpu if parameter is None else parameter.device
    return iter(loader) if device == cpu else (to_device(batch, device) for batch in loader)


def evaluate(model: Module, loader: DataLoader, loss: Loss = classify) -> dict[str, float]:
    """Returns the mean loss and metrics over a data set, in evaluation mode and without gradients.

    Batches count by their number of items; the mode of the model is restored.
    """
    training, sums, items = model.training, {"loss": 0.0}, 0
    model.eval()
    loader.set_epoch(0)
    try:
        with no_grad():
            for batch in on_device_of(model, loader):
                value, metrics = loss(model, batch)
                size = len(batch[0])
                items += size
                for name, number in {"loss": value.item(), **metrics}.items():
                    sums[name] = sums.get(name, 0.0) + number * size
    finally:
        model.train(training)
    return {name: total / max(items, 1) for name, total in sums.items()}


@dataclass
class Trainer:
    """Trains a model; `fit()` runs it, and again with `resume=True` after a stop or a crash goes on bit for bit.

    Attributes:
        model, optimizer, loader: what to train, how, and on what.
        epochs: passes over the data.
        loss: maps (model, batch) to the loss, a scalar Tensor, and a dict of further numbers to report.
        scheduler: goes on by one after each step.
        max_grad_norm: gradients are scaled down to this total norm.
        evaluate: called without arguments after each epoch (and every `evaluate_every` steps); returns numbers to report.
        log_every: steps per record of the history; it holds their means.
        checkpoint_folder: where checkpoints go: every `checkpoint_every` steps, every `checkpoint_seconds`, at a signal and
            at the end. None keeps none.
        observe: called with each new record, for a progress bar.
        history: the records: dicts with "step", "epoch", "loss", "lr", "seconds" and the metrics; those of an evaluation have
            "step", "epoch", "seconds" and what `evaluate` returned under "validation_...".
        step: steps done.
    """

    model: Module
    optimizer: Optimizer
    loader: DataLoader
    epochs: int
    loss: Loss = classify
    scheduler: LRScheduler | None = None
    max_grad_norm: float | None = None
    evaluate: Callable[[], dict[str, float]] | None = None
    evaluate_every: int | None = None
    log_every: int = 1
    checkpoint_folder: str | os.PathLike[str] | None = None
    checkpoint_every: int | None = None
    checkpoint_seconds: float | None = None
    observe: Callable[[Record], object] | None = None
    history: list[Record] = field(default_factory=list)
    step: int = 0

    def __post_init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._summed = 0
        self._started = self._saved_at = time.monotonic()
        self._signal: int | None = None

    def fit(self, resume: bool = False) -> list[Record]:
        """Trains to the end and returns the history.

        Args:
            resume: go on from the checkpoint in the folder, if there is one.

        Raises:
            NumericalError: the loss, or a weight about to be saved, is NaN or infinite; the last good checkpoint is kept.
            Interrupted: SIGINT or SIGTERM came; the step was finished and a checkpoint saved. A second signal acts at once.
        """
        self._started = self._saved_at = time.monotonic()
        self.loader.set_epoch(0)
        if resume and self.checkpoint_folder is not None and has_checkpoint(self.checkpoint_folder):
            self._restore()
        with self._signals():
            while self.loader.epoch < self.epochs:
                self._run_epoch(self.loader.epoch)
            self._save()
        return self.history

    def _run_epoch(self, epoch: int) -> None:
        self.model.train()
        for batch in on_device_of(self.model, self.loader):
            self._train_step(batch, epoch)
            if self.evaluate_every and self.step % self.evaluate_every == 0:
                self._validate(epoch)
            self._stop_if_asked()
            if self._is_checkpoint_due():
                self._save()
        if not (self.evaluate_every and self.step % self.evaluate_every == 0):
            self._validate(epoch)
        self._stop_if_asked()

    def _train_step(self, batch: Any, epoch: int) -> None:
        self.optimizer.zero_grad()
        loss, metrics = self.loss(self.model, batch)
        value = loss.item()
        if not math.isfinite(value):
            raise self._diverged(f"the loss is {value}", epoch)
        loss.backward()
        if self.max_grad_norm is not None:
            norm = clip_grad_norm_(self.model.parameters(), self.max_grad_norm).item()
            if not math.isfinite(norm):
                raise self._diverged(f"the norm of the gradients is {norm}", epoch)
        lr = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        self.step += 1
        self._log({"loss": value, **metrics}, epoch, lr)

    def _diverged(self, what: str, epoch: int) -> NumericalError:
        kept = self.checkpoint_folder is not None and has_checkpoint(self.checkpoint_folder)
        where = f"the last good checkpoint is in {self.checkpoint_folder}" if kept else "no checkpoint was saved yet"
        return NumericalError(
            f"step {self.step + 1} (epoch {epoch + 1}): {what}; {where}; "
            "lower the learning rate, clip gradients, or look for NaN in the data"
        )

    def _log(self, numbers: dict[str, float], epoch: int, lr: float) -> None:
        for name, number in numbers.items():
            self._sums[name] = self._sums.get(name, 0.0) + number
        self._summed += 1
        if self.step % self.log_every == 0:
            means = {name: total / self._summed for name, total in self._sums.items()}
            self._sums, self._summed = {}, 0
            self._record({"step": self.step, "epoch": epoch, **means, "lr": lr})

    def _validate(self, epoch: int) -> None:
        if self.evaluate is not None:
            numbers = self.evaluate()
            self._record({"step": self.step, "epoch": epoch, **{f"validation_{name}": number for name, number in numbers.items()}})

    def _record(self, record: Record) -> None:
        record["seconds"] = round(time.monotonic() - self._started, 3)
        self.history.append(record)
        if self.observe is not None:
            self.observe(record)

    # Checkpoints

    def _is_checkpoint_due(self) -> bool:
        by_steps = bool(self.checkpoint_every) and self.step % (self.checkpoint_every or 1) == 0
        by_time = self.checkpoint_seconds is not None and time.monotonic() - self._saved_at >= self.checkpoint_seconds
        return by_steps or bool(largest_over_ranks(int(by_time)))  # clocks differ, and all ranks save together

    def _save(self) -> None:
        if self.checkpoint_folder is None:
            return
        seconds = time.monotonic() - self._started
        extra = {"history": self.history, "sums": self._sums, "summed": self._summed, "seconds": seconds}
        group_checkpoint.save_checkpoint(
            self.checkpoint_folder, self.model, self.optimizer, self.scheduler, self.loader, step=self.step, extra=extra
        )
        self._saved_at = time.monotonic()

    def _restore(self) -> None:
        assert self.checkpoint_folder is not None
        checkpoint = group_checkpoint.load_checkpoint(
            self.checkpoint_folder, self.model, self.optimizer, self.scheduler, self.loader
        )
        self.step, extra = checkpoint.step, checkpoint.extra
        self.history, self._sums, self._summed = extra["history"], extra["sums"], extra["summed"]
        self._started = time.monotonic() - extra["seconds"]

    # Signals

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Notes SIGINT and SIGTERM; only a main thread can."""
        self._signal = None
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        old = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)  # the second acts at once

    def _stop_if_asked(self) -> None:
        # A signal may reach one rank a step later than another; they stop at the same step, or one would wait forever.
        self._signal = largest_over_ranks(self._signal or 0) or None
        if self._signal is None:
            return
        self._save()
        name = signal.Signals(self._signal).name
        saved = (
            f"a checkpoint is in {self.checkpoint_folder}: resume to go on"
            if self.checkpoint_folder is not None
            else "nothing was saved"
        )
        error = Interrupted(f"training stopped by {name} after step {self.step}; {saved}")
        error.exit_code = 128 + self._signal
        raise error
