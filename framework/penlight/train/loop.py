# SPDX-License-Identifier: Apache-2.0
"""The training loop: steps, metrics, checkpoints, resume, and an orderly stop."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import penlight.distributed.checkpoint as group_checkpoint  # a module: distributed imports penlight.train as well
from penlight.amp import GradScaler, autocast
from penlight.data.loader import DataLoader
from penlight.distributed import group
from penlight.distributed.collectives import largest_over_ranks
from penlight.dtype import bfloat16, float16
from penlight.errors import ArgumentError, CheckpointError, Interrupted, NumericalError, WorkerError
from penlight.nn.module import Module
from penlight.nn.utils import clip_grad_norm_
from penlight.optim.lr_scheduler import LRScheduler
from penlight.optim.optimizer import Optimizer
from penlight.tensor import Tensor
from penlight.train.callbacks import Callback
from penlight.train.checkpoint import has_checkpoint
from penlight.train.evaluation import Loss, classify, on_device_of

Record = dict[str, Any]

PRECISIONS: dict[str, Any] = {"fp32": None, "bf16": bfloat16, "fp16": float16}


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
        history: the records: dicts with "step", "epoch", "loss", "lr" (and "lr_1", ... of further parameter groups),
            "seconds" and the metrics; those of an evaluation have "step", "epoch", "seconds" and what `evaluate` returned under
            "validation_...".
        step: steps done.
        accumulate: batches per step: their gradients are averaged. At the end of an epoch a step may have fewer.
        precision: "fp32"; "bf16" and "fp16" run the model and the loss under `autocast`, "fp16" with a `GradScaler`.
        callbacks: told what happens; see `Callback`.
        stopped: why the run was ended early; None if it was not.
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
    accumulate: int = 1
    precision: str = "fp32"
    callbacks: Sequence[Callback] = ()
    stopped: str | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ArgumentError(f"Trainer: precision must be one of {', '.join(PRECISIONS)}, came {self.precision!r}")
        if self.accumulate < 1:
            raise ArgumentError(f"Trainer: accumulate must be >= 1, came {self.accumulate}")
        self._sums: dict[str, float] = {}
        self._summed = 0
        self._pending = 0  # batches whose gradients wait for a step
        self._scaler = GradScaler("cpu", enabled=self.precision == "fp16")
        self._started = self._saved_at = time.monotonic()
        self._signal: int | None = None  # the one that came, and the one that the ranks stop for
        self._told: int | None = None

    def fit(self, resume: bool = False) -> list[Record]:
        """Trains to the end and returns the history.

        Args:
            resume: go on from the checkpoint in the folder, if there is one.

        Raises:
            NumericalError: the loss, or a weight about to be saved, is NaN or infinite; the last good checkpoint is kept.
            Interrupted: SIGINT or SIGTERM came; the batch was finished and a checkpoint saved. A second signal acts at once.
        """
        self._started = self._saved_at = time.monotonic()
        self.loader.set_epoch(0)
        self.optimizer.zero_grad()
        if resume and self.checkpoint_folder is not None and has_checkpoint(self.checkpoint_folder):
            self._restore()
        try:
            self._tell("on_fit_start")
            with self._signals():
                while self.loader.epoch < self.epochs and not self.stopped:
                    self._run_epoch(self.loader.epoch)
                self._save()
                self._stop_if_asked()
        finally:
            self._tell("on_fit_end")
        return self.history

    def stop(self, reason: str) -> None:
        """Ends the run after this step, in order and with a checkpoint; a callback or an observer calls it."""
        self.stopped = self.stopped or reason

    def _tell(self, event: str, *details: Any) -> None:
        for callback in self.callbacks:
            if not callback.first_rank_only or group.get_rank() == 0:
                getattr(callback, event)(self, *details)

    def _run_epoch(self, epoch: int) -> None:
        self.model.train()
        for batch in self._batches():
            self._add_gradients(batch, epoch)
            if self._pending == self.accumulate:
                self._make_step(epoch)
            self._stop_if_asked()
            if self._is_checkpoint_due():
                self._save()
            if self.stopped:
                return
        rest = self._pending > 0
        if rest:
            self._make_step(epoch)
        if not (self.evaluate_every and self.step % self.evaluate_every == 0):
            self._validate(epoch)
        self._tell("on_epoch_end")
        self._stop_if_asked()
        if rest and self._is_checkpoint_due():
            self._save()

    def _batches(self) -> Iterator[Any]:
        try:
            yield from on_device_of(self.model, self.loader)
        except WorkerError:
            # A signal to the whole process group, as `timeout` and job schedulers send it, ends the data workers as well.
            if group.get_world_size() == 1:
                self._stop_if_asked()
            raise

    def _add_gradients(self, batch: Any, epoch: int) -> None:
        with autocast("cpu", dtype=PRECISIONS[self.precision] or bfloat16, enabled=self.precision != "fp32"):
            loss, metrics = self.loss(self.model, batch)
        value = loss.item()
        if not math.isfinite(value):
            raise self._diverged(f"the loss is {value}", epoch)
        self._scaler.scale(loss / self.accumulate if self.accumulate > 1 else loss).backward()
        self._pending += 1
        for name, number in {"loss": value, **metrics}.items():
            self._sums[name] = self._sums.get(name, 0.0) + number
        self._summed += 1

    def _make_step(self, epoch: int) -> None:
        if self._pending < self.accumulate:  # the rest of an epoch: the mean of fewer batches
            _multiply_gradients(self.model, self.accumulate / self._pending)
        if self.max_grad_norm is not None:
            self._scaler.unscale_(self.optimizer)
            norm = clip_grad_norm_(self.model.parameters(), self.max_grad_norm).item()
            if not math.isfinite(norm) and not self._scaler.is_enabled():
                raise self._diverged(f"the norm of the gradients is {norm}", epoch)
        rates = {f"lr_{i}" if i else "lr": group["lr"] for i, group in enumerate(self.optimizer.param_groups)}
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad()
        self._pending = 0
        if self.scheduler is not None:
            self.scheduler.step()
        self.step += 1
        self._tell("on_step")
        if self.step % self.log_every == 0:
            means = {name: total / self._summed for name, total in self._sums.items()}
            self._sums, self._summed = {}, 0
            self._record({"step": self.step, "epoch": epoch, **means, **rates})
        if self.evaluate_every and self.step % self.evaluate_every == 0:
            self._validate(epoch)

    def _diverged(self, what: str, epoch: int) -> NumericalError:
        kept = self.checkpoint_folder is not None and has_checkpoint(self.checkpoint_folder)
        where = f"the last good checkpoint is in {self.checkpoint_folder}" if kept else "no checkpoint was saved yet"
        return NumericalError(
            f"step {self.step + 1} (epoch {epoch + 1}): {what}; {where}; "
            "lower the learning rate, clip gradients, or look for NaN in the data"
        )

    def _validate(self, epoch: int) -> None:
        if self.evaluate is not None:
            numbers = self.evaluate()
            self._record({"step": self.step, "epoch": epoch, **{f"validation_{name}": number for name, number in numbers.items()}})

    def _record(self, record: Record) -> None:
        record["seconds"] = round(time.monotonic() - self._started, 3)
        self.history.append(record)
        if self.observe is not None:
            self.observe(record)
        self._tell("on_record", record)

    # Checkpoints

    def _is_checkpoint_due(self) -> bool:
        by_steps = not self._pending and bool(self.checkpoint_every) and self.step % (self.checkpoint_every or 1) == 0
        by_time = self.checkpoint_seconds is not None and time.monotonic() - self._saved_at >= self.checkpoint_seconds
        return by_steps or bool(largest_over_ranks(int(by_time)))  # clocks differ, and all ranks save together

    def _save(self) -> None:
        if self.checkpoint_folder is None:
            return
        seconds = time.monotonic() - self._started
        extra: dict[str, Any] = {"history": self.history, "sums": self._sums, "summed": self._summed, "seconds": seconds}
        extra |= {"stopped": self.stopped, "scaler": self._scaler.state_dict(), "pending": self._pending}
        extra["callbacks"] = {_key(i, callback): callback.state_dict() for i, callback in enumerate(self.callbacks)}
        if self._pending:
            named = self.model.named_parameters()
            extra["gradients"] = [[name, parameter.grad.detach()] for name, parameter in named if parameter.grad is not None]
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
        self.stopped, self._pending = extra.get("stopped"), extra.get("pending", 0)
        if self._pending >= self.accumulate:
            raise CheckpointError(
                f"checkpoint {self.checkpoint_folder}: it was saved after {self._pending} batches of a step, this run makes one of "
                f"{self.accumulate}; resume with the same accumulate"
            )
        if extra.get("scaler"):
            self._scaler.load_state_dict(extra["scaler"])
        parameters = dict(self.model.named_parameters())
        for name, gradient in extra.get("gradients", []):
            parameters[name].grad = gradient.to(parameters[name].device)
        for i, callback in enumerate(self.callbacks):
            if _key(i, callback) in extra.get("callbacks", {}):
                callback.load_state_dict(extra["callbacks"][_key(i, callback)])

    # Signals

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Notes SIGINT and SIGTERM; only a main thread can."""
        self._signal = self._told = None
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        old = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                # One that the other ranks had first is still on its way to this one, which it would kill while it ends in order.
                is_late = self._told == number and self._signal is None
                signal.signal(number, _once_ignored(handler) if is_late else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)  # the second acts at once

    def _stop_if_asked(self) -> None:
        # A signal may reach one rank a step later than another; they stop at the same step, or one would wait forever.
        # One that comes while the ranks agree stays noted, for the next step.
        number = largest_over_ranks(self._signal or 0)
        if not number:
            return
        self._told = number
        self._save()
        name = signal.Signals(number).name
        saved = (
            f"a checkpoint is in {self.checkpoint_folder}: resume to go on"
            if self.checkpoint_folder is not None
            else "nothing was saved"
        )
        error = Interrupted(f"training stopped by {name} after step {self.step}; {saved}")
        error.exit_code = 128 + number
        raise error


def _once_ignored(handler: Any) -> Callable[[int, FrameType | None], None]:
    def restore(number: int, frame: FrameType | None) -> None:
        signal.signal(number, handler)

    return restore


def _key(number: int, callback: Callback) -> str:
    return f"{number} {type(callback).__name__}"


def _multiply_gradients(model: Module, factor: float) -> None:
    for parameter in model.parameters():
        if isinstance(parameter.grad, Tensor):
            parameter.grad = parameter.grad.detach() * factor
