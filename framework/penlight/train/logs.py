# SPDX-License-Identifier: Apache-2.0
"""Logs of a run: each record is appended to a file that can be read while training goes on.

A resumed run takes back what was written after its checkpoint, and a last line that a crash cut off.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penlight.serialize import atomic_write
from penlight.train.callbacks import Callback
from penlight.train.tensorboard import SummaryWriter

if TYPE_CHECKING:
    from penlight.train.loop import Record, Trainer


class _LineLog(Callback):
    """A text file with a line per record. The folder is created."""

    first_rank_only = True

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._file: Any = None

    def on_fit_start(self, trainer: Trainer) -> None:
        """Begins the file anew, or goes on after the last line that the checkpoint knows."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._begin([record for record in self._read() if record["step"] <= trainer.step] if trainer.step else [])

    def on_fit_end(self, trainer: Trainer) -> None:
        """Makes the lines durable and closes the file."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _begin(self, records: list[Record]) -> None:
        if self._file is not None:
            self._file.close()
        atomic_write(self.path, self._text(records).encode())
        self._file = io.FileIO(self.path, "ab")

    def _append(self, line: str, is_evaluation: bool) -> None:
        self._file.write(line.encode())  # one write, so that a reader sees whole lines
        if is_evaluation:  # flushing the disk at each step would cost more than small steps do
            os.fsync(self._file.fileno())

    def _read(self) -> list[Record]:
        raise NotImplementedError

    def _text(self, records: list[Record]) -> str:
        raise NotImplementedError


class JsonlLog(_LineLog):
    """One JSON object per record; NaN and infinity become null."""

    def on_record(self, trainer: Trainer, record: Record) -> None:
        """Appends the record."""
        self._append(_json_line(record), "loss" not in record)

    def _text(self, records: list[Record]) -> str:
        return "".join(map(_json_line, records))

    def _read(self) -> list[Record]:
        records = []
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                records.append(json.loads(line))
            except ValueError:
                break  # cut off by a crash
        return records


def _json_line(record: Record) -> str:
    plain = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in record.items()}
    return json.dumps(plain) + "\n"


class CsvLog(_LineLog):
    """A table with a column per name; the first record that brings new names makes the table wider."""

    def __init__(self, path: str | os.PathLike[str]):
        super().__init__(path)
        self.columns: list[str] = []

    def on_record(self, trainer: Trainer, record: Record) -> None:
        """Appends a row; names that the record lacks stay empty."""
        if not set(record) <= set(self.columns):
            self._begin([*self._read(), record])
        else:
            self._append(_rows(self.columns, [record]), "loss" not in record)

    def _text(self, records: list[Record]) -> str:
        self.columns = list(dict.fromkeys(name for record in records for name in record))
        return _rows(self.columns, [dict(zip(self.columns, self.columns, strict=True)), *records]) if records else ""

    def _read(self) -> list[Record]:
        text = self.path.read_text() if self.path.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # without a line that a crash cut off
        rows = csv.DictReader(io.StringIO(whole))
        return [{name: _number(value) for name, value in row.items() if value not in ("", None)} for row in rows]


def _rows(columns: list[str], records: list[Record]) -> str:
    out = io.StringIO()
    csv.DictWriter(out, columns, restval="", lineterminator="\n").writerows(records)
    return out.getvalue()


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


class TensorBoardLog(Callback):
    """Curves for TensorBoard: `train/loss`, `train/lr`, ..., `validation/loss`, ... over steps."""

    first_rank_only = True

    def __init__(self, log_dir: str | os.PathLike[str]):
        self.log_dir = Path(log_dir)
        self.writer: SummaryWriter | None = None

    def on_fit_start(self, trainer: Trainer) -> None:
        """Opens a new file; of the earlier ones, TensorBoard shows what comes before this step."""
        self.writer = SummaryWriter(self.log_dir, trainer.step + 1 if trainer.step else None)

    def on_record(self, trainer: Trainer, record: Record) -> None:
        """Writes the numbers of the record."""
        assert self.writer is not None
        values = {name: value for name, value in record.items() if name not in ("step", "epoch", "seconds")}
        curves = {
            f"validation/{name.removeprefix('validation_')}" if name.startswith("validation_") else f"train/{name}": value
            for name, value in values.items()
        }
        self.writer.add_scalars({**curves, "train/epoch": record["epoch"]}, record["step"])
        if "loss" not in record:
            self.writer.flush()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Closes the file."""
        if self.writer is not None:
            self.writer.close()
