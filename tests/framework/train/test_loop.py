# SPDX-License-Identifier: Apache-2.0
"""The training loop: it learns, resumes bit for bit, stops in order, and notices NaN."""

import math
import os
import signal
import subprocess
import sys
import time
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
import training_run
from training_run import EPOCHS, fingerprint, make_trainer

import penlight as pl
from penlight import nn, optim
from penlight.data import DataLoader, TensorDataset, load_digits
from penlight.errors import Interrupted, NumericalError, WorkerError
from penlight.models import MLP, DigitsCNN
from penlight.optim.lr_scheduler import OneCycleLR
from penlight.train import Trainer, classify, evaluate, has_checkpoint, load_checkpoint, loop

STEPS = EPOCHS * 10


@pytest.fixture(scope="module")
def whole():
    """The fingerprint and history of a run that nothing disturbs."""
    trainer = make_trainer(None)
    trainer.fit()
    return fingerprint(trainer), trainer.history


def losses(history):
    return [(record["step"], record["loss"], record["lr"]) for record in history if "loss" in record]


def test_runs_are_reproducible(whole):
    again = make_trainer(None)
    assert losses(again.fit()) == losses(whole[1])
    assert fingerprint(again) == whole[0]
    assert [step for step, _, _ in losses(whole[1])] == list(range(1, STEPS + 1))
    assert whole[1][-1]["loss"] < whole[1][0]["loss"]


@pytest.mark.parametrize("stop_at", [1, 9, 10, 14, STEPS - 1, STEPS])
def test_resume_at_any_step_is_bit_exact(tmp_path, whole, stop_at):
    first = make_trainer(tmp_path)

    def stop(record):
        if record["step"] == stop_at:
            signal.raise_signal(signal.SIGTERM)

    first.observe = stop
    with pytest.raises(Interrupted, match=f"SIGTERM after step {stop_at}; a checkpoint is in") as caught:
        first.fit()
    assert caught.value.exit_code == 143
    pl.rand(5)  # whatever happens in between
    second = make_trainer(tmp_path)
    assert losses(second.fit(resume=True)) == losses(whole[1])
    assert fingerprint(second) == whole[0]
    third = make_trainer(tmp_path)
    third.fit(resume=True)  # a finished run has nothing left to do
    assert third.step == STEPS
    assert fingerprint(third) == whole[0]


def test_workers_do_not_change_the_run(whole):
    trainer = make_trainer(None)
    trainer.loader.num_workers = 2
    trainer.fit()
    assert fingerprint(trainer) == whole[0]


def run_until_killed(folder: Path, rng: np.random.Generator) -> str | None:
    """Lets the script take some steps, kills it at a random moment, and returns its fingerprint if it came to its end."""
    command = [sys.executable, training_run.__file__, str(folder), "0.01"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(int(rng.integers(1, 12))):
            process.stdout.readline()
        time.sleep(0.03 * rng.random())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
    return rest[-1] if rest and len(rest[-1]) == 64 else None


def kill_and_resume(folder: Path, kills: int) -> str:
    rng = np.random.default_rng(kills)
    for _ in range(kills):
        run_until_killed(folder, rng)
    time.sleep(1.1)  # what a killed writer left counts as left when it is a second old
    result = subprocess.run([sys.executable, training_run.__file__, str(folder)], capture_output=True, text=True, check=True)
    assert len(list(folder.iterdir())) == 2
    return result.stdout.split()[-1]


def test_killed_and_resumed_ends_in_the_same_weights(tmp_path, whole):
    assert kill_and_resume(tmp_path, 2) == whole[0]


@pytest.mark.slow
def test_killed_ten_times_and_resumed_ends_in_the_same_weights(tmp_path, whole):
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        assert kill_and_resume(folder, 10) == whole[0]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_after_the_step(tmp_path, number, code):
    before = signal.getsignal(number)
    trainer = make_trainer(tmp_path)
    trainer.observe = lambda record: signal.raise_signal(number) if record["step"] == 4 else None
    with pytest.raises(Interrupted) as caught:
        trainer.fit()
    assert caught.value.exit_code == code
    assert trainer.step == 4
    assert load_checkpoint(tmp_path).step == 4
    assert signal.getsignal(number) is before


def test_a_signal_while_the_ranks_agree_is_not_lost(tmp_path, monkeypatch):
    """The ranks wait for each other there: most signals come then."""
    trainer = make_trainer(tmp_path)
    signals = [signal.SIGTERM]

    def agree(value):
        if trainer.step == 4 and signals:
            signal.raise_signal(signals.pop())
        return value  # what this rank had to say before the signal

    monkeypatch.setattr(loop, "largest_over_ranks", agree)
    with pytest.raises(Interrupted, match="after step 5") as caught:
        trainer.fit()
    assert caught.value.exit_code == 143
    assert load_checkpoint(tmp_path).step == 5


def test_a_signal_that_another_rank_had_first_may_come_late(tmp_path, monkeypatch):
    """It would kill a rank that is ending in order, with words that hide why."""
    before = signal.getsignal(signal.SIGTERM)
    trainer = make_trainer(tmp_path)
    monkeypatch.setattr(loop, "largest_over_ranks", lambda value: signal.SIGTERM if trainer.step == 4 else value)
    with pytest.raises(Interrupted, match="stopped by SIGTERM after step 4"):
        trainer.fit()
    assert signal.getsignal(signal.SIGTERM) is not before
    signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before  # the next one acts


def test_a_signal_in_the_last_save_is_not_lost(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path)
    save = loop.group_checkpoint.save_checkpoint

    def interrupted(*arguments, **options):
        if trainer.loader.epoch == EPOCHS and trainer._signal is None:
            signal.raise_signal(signal.SIGTERM)
        save(*arguments, **options)

    monkeypatch.setattr(loop.group_checkpoint, "save_checkpoint", interrupted)
    with pytest.raises(Interrupted, match=f"after step {STEPS}"):
        trainer.fit()
    assert load_checkpoint(tmp_path).step == STEPS


class Cut(DataLoader):
    """Its workers end before the batch `at`, by a signal to the whole process group."""

    at = 14

    def __iter__(self):
        batches = super().__iter__()
        for number in count(10 * self.epoch):
            if number == self.at:
                signal.raise_signal(signal.SIGTERM)
                raise WorkerError("data worker 0 was killed by SIGTERM")
            try:
                yield next(batches)
            except StopIteration:
                return


def test_a_signal_that_ends_the_workers_too_stops_in_order(tmp_path, whole):
    trainer = make_trainer(tmp_path)
    trainer.loader.__class__ = Cut
    with pytest.raises(Interrupted, match="SIGTERM after step 14; a checkpoint is in"):
        trainer.fit()
    again = make_trainer(tmp_path)
    assert losses(again.fit(resume=True)) == losses(whole[1])
    assert fingerprint(again) == whole[0]


def test_a_second_interrupt_acts_at_once(tmp_path):
    trainer = make_trainer(tmp_path)

    def twice(record):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    trainer.observe = twice
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert not has_checkpoint(tmp_path)


def test_without_a_folder_an_interrupt_says_so():
    trainer = make_trainer(None)
    trainer.observe = lambda record: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted, match="after step 1; nothing was saved"):
        trainer.fit()


@pytest.mark.parametrize("bad", ["data", "weights"])
def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path, bad):
    trainer = make_trainer(tmp_path, checkpoint_every=2)

    def spoil(record):
        if record["step"] == 5 and bad == "data":
            trainer.loader.dataset.images[:] = np.nan
        if record["step"] == 6 and bad == "weights":
            trainer.model[0].weight.detach().numpy()[0] = np.inf

    trainer.observe = spoil
    with pytest.raises(NumericalError) as caught:
        trainer.fit()
    assert caught.value.exit_code == 5
    expected = "step 6 (epoch 1): the loss is nan; the last good checkpoint is in" if bad == "data" else "step 6: weight 0.weight"
    assert expected in str(caught.value)
    assert load_checkpoint(tmp_path).step == 4


def test_infinite_gradients_stop_before_they_reach_the_weights():
    model = nn.Linear(2, 2)
    data = DataLoader(TensorDataset(np.ones((4, 2), np.float32), np.zeros(4, np.int64)), 2)

    def loss(model, batch):
        x = model(batch[0]).sum() * 0
        return (x * x).sqrt(), {}  # the square root has an infinite slope at 0

    trainer = Trainer(model, optim.SGD(model.parameters(), lr=1.0), data, 1, loss=loss, max_grad_norm=1.0)
    with pytest.raises(NumericalError, match=r"step 1 \(epoch 1\): the norm of the gradients is nan; no checkpoint"):
        trainer.fit()
    assert np.isfinite(model.weight.detach().numpy()).all()


def test_history_and_evaluation(tmp_path):
    calls = []

    def check():
        calls.append(trainer.step)
        return {"loss": 1.0}

    seen = []
    trainer = make_trainer(tmp_path, log_every=4, evaluate=check, evaluate_every=8, observe=seen.append)
    history = trainer.fit()
    assert seen == history
    assert calls == [8, 10, 16, 20, 24, 30]
    assert [record["step"] for record in history if "loss" in record] == [4, 8, 12, 16, 20, 24, 28]
    assert [record["epoch"] for record in history if "validation_loss" in record] == [0, 0, 1, 1, 2, 2]
    assert all(b["seconds"] >= a["seconds"] for a, b in pairwise(history))
    assert load_checkpoint(tmp_path).extra["history"] == history


def test_checkpoints_by_time(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, checkpoint_seconds=0.0)
    steps = []
    trainer.observe = lambda record: steps.append(load_checkpoint(tmp_path).step if has_checkpoint(tmp_path) else None)
    trainer.fit()
    assert steps == [None, *range(1, STEPS)]


def test_evaluate_weighs_batches_by_size_and_restores_the_mode():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)).astype(np.float32), rng.integers(2, size=7)
    parts = evaluate(model, DataLoader(TensorDataset(x, y), 3))
    one = evaluate(model, DataLoader(TensorDataset(x, y), 7))
    assert parts == pytest.approx(one, rel=1e-6)
    assert model.training
    assert evaluate(model.eval(), DataLoader(TensorDataset(x[:0], y[:0]), 3)) == {"loss": 0}
    assert not model.training


def test_classify_takes_sequences():
    logits = np.zeros((2, 3, 4), np.float32)
    logits[..., 1] = 1
    loss, metrics = classify(nn.Identity(), (pl.tensor(logits), pl.tensor([[1, 1, 0], [1, 2, 3]])))
    assert metrics == {"accuracy": 0.5}
    e = math.e
    assert loss.item() == pytest.approx(math.log(e + 3) - 0.5, rel=1e-6)


def test_the_small_network_reads_digits():
    """The figure of the quickstart: 98 % on the held-out digits."""
    pl.manual_seed(0)
    digits, epochs = load_digits(), 10
    loader = DataLoader(TensorDataset(digits.train_images, digits.train_labels), 64, shuffle=True)
    test = DataLoader(TensorDataset(digits.test_images, digits.test_labels), 200)
    model = DigitsCNN()
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    Trainer(model, optimizer, loader, epochs, scheduler=OneCycleLR(optimizer, 0.01, epochs * len(loader))).fit()
    assert evaluate(model, test)["accuracy"] >= 0.98


def test_mlp():
    assert MLP([4, 8, 8, 2])(pl.ones(3, 4)).shape == (3, 2)
    assert list(MLP([4, 8, 2]).state_dict()) == ["layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"]
