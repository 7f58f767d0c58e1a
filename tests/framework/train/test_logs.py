# SPDX-License-Identifier: Apache-2.0
"""Logs: readable while training goes on, continued by a resumed run, and in TensorBoard's format."""

import csv
import io
import json
import math
import signal
import struct

import numpy as np
import pytest
from event_file import fields, records, scalars
from training_run import make_trainer

import penlight as pl
from penlight.errors import Interrupted
from penlight.train import Callback, CsvLog, JsonlLog, ProgressBar, SummaryWriter, TensorBoardLog


def validate() -> dict[str, float]:
    return {"loss": 1.5, "accuracy": 0.25}


def test_jsonl_is_the_history_at_every_moment(tmp_path):
    path = tmp_path / "logs" / "metrics.jsonl"
    seen = []

    class Reader(Callback):
        def on_record(self, trainer, record):
            seen.append([json.loads(line) for line in path.read_text().splitlines()] == trainer.history)

    trainer = make_trainer(None, evaluate=validate, log_every=5, callbacks=[JsonlLog(path), Reader()])
    history = trainer.fit()
    assert len(seen) == len(history) == 9
    assert all(seen)


def test_csv_has_a_column_per_name(tmp_path):
    path = tmp_path / "metrics.csv"
    history = make_trainer(None, evaluate=validate, log_every=5, callbacks=[CsvLog(path)]).fit()
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*history[0], "validation_loss", "validation_accuracy"]
    assert [{name: float(value) for name, value in row.items() if value} for row in rows] == history


def test_json_has_no_nan(tmp_path):
    path = tmp_path / "metrics.jsonl"
    make_trainer(None, evaluate=lambda: {"loss": math.nan}, log_every=100, callbacks=[JsonlLog(path)]).fit()
    assert [json.loads(line)["validation_loss"] for line in path.read_text().splitlines()] == [None] * 3


def test_a_resumed_run_takes_back_what_came_after_its_checkpoint(tmp_path):
    def callbacks():
        return [JsonlLog(tmp_path / "m.jsonl"), CsvLog(tmp_path / "m.csv"), TensorBoardLog(tmp_path / "events")]

    first = make_trainer(tmp_path / "run", checkpoint_every=4, evaluate=validate, callbacks=callbacks())

    class Crash(Callback):
        def on_record(self, trainer, record):
            if record["step"] == 14:
                raise MemoryError

    first.callbacks = [*first.callbacks, Crash()]
    with pytest.raises(MemoryError):
        first.fit()
    with open(tmp_path / "m.jsonl", "a") as file:
        file.write('{"step": 15, "lo')  # cut off
    with open(tmp_path / "m.csv", "a") as file:
        file.write("15,1,0.2")
    second = make_trainer(tmp_path / "run", evaluate=validate, callbacks=callbacks())
    history = second.fit(resume=True)
    assert [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()] == history
    with open(tmp_path / "m.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [record["step"] for record in history]
    files = sorted((tmp_path / "events").iterdir())
    assert len(files) == 2
    assert [step for step, tag, _ in scalars(files[0]) if tag == "train/loss"] == list(range(1, 15))
    assert [step for step, tag, _ in scalars(files[1]) if tag == "train/loss"] == list(range(13, 31))
    start = fields(records(files[1])[1])
    assert (start[2], fields(start[7][0])) == ([13], {1: [1]})  # SessionLog.START: TensorBoard drops what came from here on


def test_event_files_are_tensorboards(tmp_path):
    history = make_trainer(None, evaluate=validate, log_every=10, callbacks=[TensorBoardLog(tmp_path)]).fit()
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("events.out.tfevents.")
    assert fields(records(path)[0])[3] == [b"brain.Event:2"]
    found = {(step, tag): value for step, tag, value in scalars(path)}
    for record in history:
        if "loss" in record:
            assert found[record["step"], "train/loss"] == np.float32(record["loss"])
            assert found[record["step"], "train/lr"] == np.float32(record["lr"])
        else:
            assert found[record["step"], "validation/accuracy"] == 0.25
    assert len(found) == 3 * 4 + 3 * 2


def test_summary_writer(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_scalar("big", 1e300, 1 << 40)
        writer.add_histogram("weights", pl.tensor([1.0, 2.0, 2.0, math.nan]), 3, bins=2)
        writer.add_text("note", "line one", 4)
        assert scalars(writer.path) == [(1 << 40, "big", math.inf)]  # read while it is open
    _, _, drawn, noted = [fields(message) for message in records(writer.path)]
    histogram = fields(fields(fields(drawn[5][0])[1][0])[5][0])
    assert [histogram[i][0] for i in range(1, 6)] == [1.0, 2.0, 3.0, 5.0, 9.0]
    assert struct.unpack("<2d", histogram[6][0]) == (1.5, 2.0)
    assert struct.unpack("<2d", histogram[7][0]) == (1.0, 2.0)
    value = fields(fields(noted[5][0])[1][0])
    assert fields(value[8][0])[8] == [b"line one"]
    assert fields(fields(value[9][0])[1][0])[1] == [b"text"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_plain_when_not_on_a_terminal():
    out = io.StringIO()
    make_trainer(None, evaluate=validate, callbacks=[ProgressBar(out)]).fit()
    lines = out.getvalue().splitlines()
    assert "\r" not in out.getvalue()
    assert "\x1b" not in out.getvalue()
    assert [line.split()[0] for line in lines if "%" in line] == ["0", *map(str, range(10, 101, 10))]
    assert lines[1].startswith(" 10 %  step 3/30  loss ")
    assert sum("validation accuracy 0.25" in line for line in lines) == 3


def test_progress_on_a_terminal_is_one_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    make_trainer(None, callbacks=[ProgressBar(out)]).fit()
    shown = out.getvalue().split("\r\x1b[K")
    assert len(shown) == 32
    assert shown[15].startswith("[############............] 15/30  epoch 2/3  loss ")
    assert out.getvalue().endswith("\n")


def test_logs_close_when_the_run_is_interrupted(tmp_path):
    log = JsonlLog(tmp_path / "m.jsonl")
    trainer = make_trainer(None, callbacks=[log])
    trainer.observe = lambda record: signal.raise_signal(signal.SIGTERM) if record["step"] == 2 else None
    with pytest.raises(Interrupted):
        trainer.fit()
    assert log._file is None
    assert len((tmp_path / "m.jsonl").read_text().splitlines()) == 2
