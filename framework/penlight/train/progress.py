# SPDX-License-Identifier: Apache-2.0
"""A progress bar: one line that changes on a terminal, a line per tenth elsewhere."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from penlight.train.callbacks import Callback

if TYPE_CHECKING:
    from penlight.train.loop import Record, Trainer

WIDTH = 24


class ProgressBar(Callback):
    """Shows steps, epoch and the latest numbers.

    Args:
        stream: where to; stderr by default.
    """

    first_rank_only = True

    def __init__(self, stream: TextIO | None = None):
        self.stream = sys.stderr if stream is None else stream
        self._live = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self._total, self._tenth, self._note = 0, -1, ""

    def on_fit_start(self, trainer: Trainer) -> None:
        """Finds out how many steps there are; a stream of data has no number."""
        try:
            self._total = trainer.epochs * -(-len(trainer.loader) // trainer.accumulate)
        except TypeError:
            self._total = 0
        self._tenth = 10 * trainer.step // self._total - 1 if self._total else -1  # the first step shows that it runs at all

    def on_record(self, trainer: Trainer, record: Record) -> None:
        """Takes up the numbers; those of an evaluation get a line of their own."""
        numbers = {name: value for name, value in record.items() if name not in ("step", "epoch", "seconds")}
        note = "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in numbers.items())
        if "loss" in record:
            self._note = note
        else:
            self._line(f"step {trainer.step}  epoch {record['epoch'] + 1}/{trainer.epochs}  {note}")

    def on_step(self, trainer: Trainer) -> None:
        """Moves the bar; off a terminal, writes a line when another tenth is done."""
        if self._live:
            self.stream.write(f"\r\x1b[K{self._bar(trainer)}")
            self.stream.flush()
            return
        tenth = 10 * trainer.step // self._total if self._total else self._tenth
        if tenth > self._tenth:
            self._tenth = tenth
            self._line(f"{10 * tenth:3d} %  step {trainer.step}/{self._total}  {self._note}".rstrip())

    def on_fit_end(self, trainer: Trainer) -> None:
        """Leaves the last state of the bar on the terminal."""
        if self._live and trainer.step:
            self.stream.write(f"\r\x1b[K{self._bar(trainer)}\n")
            self.stream.flush()

    def _bar(self, trainer: Trainer) -> str:
        epoch = f"epoch {min(trainer.loader.epoch + 1, trainer.epochs)}/{trainer.epochs}"
        if not self._total:
            return f"step {trainer.step}  {epoch}  {self._note}"
        full = WIDTH * trainer.step // self._total
        return f"[{'#' * full}{'.' * (WIDTH - full)}] {trainer.step}/{self._total}  {epoch}  {self._note}"

    def _line(self, text: str) -> None:
        self.stream.write(f"\r\x1b[K{text}\n" if self._live else f"{text}\n")
        self.stream.flush()
