# SPDX-License-Identifier: Apache-2.0
"""The Trainer's options: accumulation, precision, callbacks, early stopping, the best weights."""

import math
import signal

import numpy as np
import pytest
from training_run import fingerprint, make_trainer

import penlight as pl
from penlight import nn, optim
from penlight.data import DataLoader, TensorDataset
from penlight.errors import ArgumentError, CheckpointError, Interrupted
from penlight.train import BestCheckpoint, Callback, EarlyStopping, Trainer, classify, has_checkpoint, load_checkpoint


def losses(history):
    return [(record["step"], record["loss"], record["lr"]) for record in history if "loss" in record]


def linear_trainer(batch_size: int, **options) -> Trainer:
    pl.manual_seed(0)
    rng = np.random.default_rng(0)
    data = TensorDataset(rng.normal(size=(24, 5)), rng.integers(3, size=24))
    model = nn.Linear(5, 3, dtype=pl.float64)  # so that only what is summed matters, not its order
    return Trainer(model, optim.SGD(model.parameters(), lr=0.5), DataLoader(data, batch_size), 2, **options)


def test_accumulated_gradients_are_those_of_the_larger_batch():
    whole, parts = linear_trainer(12), linear_trainer(4, accumulate=3)
    whole.fit()
    parts.fit()
    assert parts.step == whole.step == 4
    np.testing.assert_allclose(parts.model.weight.detach().numpy(), whole.model.weight.detach().numpy(), rtol=1e-12)
    came, expected = ([record["loss"] for record in trainer.history] for trainer in (parts, whole))
    np.testing.assert_allclose(came, expected, rtol=1e-12)


def test_the_rest_of_an_epoch_is_a_mean_as_well():
    parts = linear_trainer(4, accumulate=4)
    parts.fit()
    assert parts.step == 4  # 4 + 2 batches per epoch
    expected = linear_trainer(4)
    model, optimizer = expected.model, expected.optimizer
    batches = list(expected.loader)
    for group in (batches[:4], batches[4:]) * 2:
        optimizer.zero_grad()
        for batch in group:
            (classify(model, batch)[0] / len(group)).backward()
        optimizer.step()
    np.testing.assert_allclose(parts.model.weight.detach().numpy(), model.weight.detach().numpy(), rtol=1e-12)


class StopAfterBatch(Callback):
    """Raises a signal in the loss of one batch: the run stops after that batch, in the middle of a step."""

    def __init__(self, number: int):
        self.number, self.seen = number, 0

    def loss(self, model, batch):
        self.seen += 1
        if self.seen == self.number:
            signal.raise_signal(signal.SIGTERM)
        return classify(model, batch)


@pytest.mark.parametrize(
    "options", [{"accumulate": 3}, {"accumulate": 4, "precision": "bf16"}, {"accumulate": 3, "precision": "fp16"}]
)
@pytest.mark.parametrize("batch", [1, 8, 10, 13])
def test_resume_in_the_middle_of_a_step_is_bit_exact(tmp_path, options, batch):
    whole = make_trainer(None, **options)
    whole.fit()
    stop = StopAfterBatch(batch)
    first = make_trainer(tmp_path, loss=stop.loss, **options)
    with pytest.raises(Interrupted):
        first.fit()
    second = make_trainer(tmp_path, **options)
    second.fit(resume=True)
    assert losses(second.history) == losses(whole.history)
    assert fingerprint(second) == fingerprint(whole)
    assert second.step == whole.step == 3 * math.ceil(10 / options["accumulate"])


def test_checkpoints_come_after_the_last_step_of_an_epoch_too(tmp_path):
    steps = []

    class Look(Callback):
        def on_step(self, trainer):
            steps.append(load_checkpoint(tmp_path).step if has_checkpoint(tmp_path) else 0)

    trainer = make_trainer(tmp_path, accumulate=4, checkpoint_every=3, callbacks=[Look()])  # 4 + 4 + 2 batches per epoch
    trainer.fit()
    assert steps == [0, 0, 0, 3, 3, 3, 6, 6, 6]


def test_resume_with_another_accumulation_is_refused(tmp_path):
    stop = StopAfterBatch(8)
    with pytest.raises(Interrupted):
        make_trainer(tmp_path, loss=stop.loss, accumulate=3).fit()
    with pytest.raises(CheckpointError, match="after 2 batches of a step, this run makes one of 2"):
        make_trainer(tmp_path, accumulate=2).fit(resume=True)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_nearly_as_well(precision):
    seen = []

    def loss(model, batch):
        seen.append(model[0](batch[0]).dtype)
        return classify(model, batch)

    full = make_trainer(None)
    full.fit()
    half = make_trainer(None, precision=precision, loss=loss)
    half.fit()
    assert set(seen) == {{"bf16": pl.bfloat16, "fp16": pl.float16}[precision]}
    assert {parameter.dtype for parameter in half.model.parameters()} == {pl.float32}
    came, expected = ([record["loss"] for record in trainer.history] for trainer in (half, full))
    np.testing.assert_allclose(came, expected, rtol=0.1)
    assert came != expected


@pytest.mark.parametrize(("options", "message"), [({"precision": "fp8"}, "fp32, bf16, fp16"), ({"accumulate": 0}, "accumulate")])
def test_bad_options(options, message):
    with pytest.raises(ArgumentError, match=message):
        make_trainer(None, **options)


class Told(Callback):
    def __init__(self):
        self.events = []

    def on_fit_start(self, trainer):
        self.events.append(("start", trainer.step))

    def on_step(self, trainer):
        self.events.append(("step", trainer.step))

    def on_epoch_end(self, trainer):
        self.events.append(("epoch", trainer.step))

    def on_fit_end(self, trainer):
        self.events.append(("end", trainer.step))

    def state_dict(self):
        return {"count": len(self.events)}

    def load_state_dict(self, state):
        self.events.append(("known", state["count"]))


def test_callbacks_are_told_and_keep_their_state(tmp_path):
    told = Told()
    trainer = make_trainer(tmp_path, callbacks=[told])
    trainer.fit()
    steps = [("step", step) for step in range(1, 31)]
    expected = [("start", 0), *steps[:10], ("epoch", 10), *steps[10:20], ("epoch", 20), *steps[20:], ("epoch", 30), ("end", 30)]
    assert told.events == expected
    again = Told()
    make_trainer(tmp_path, callbacks=[again]).fit(resume=True)
    assert again.events == [("known", 34), ("start", 30), ("end", 30)]


def make_stopping(folder, values, **options) -> Trainer:
    numbers = iter(values)
    trainer = make_trainer(folder, evaluate_every=2, callbacks=[EarlyStopping(patience=2, **options)])
    trainer.evaluate = lambda: {"loss": next(numbers)}
    return trainer


def test_early_stopping_ends_the_run_for_good(tmp_path):
    trainer = make_stopping(tmp_path, [3.0, 2.0, 2.5, 1.9, 1.95, 1.9, 1.0])
    trainer.fit()
    assert trainer.step == 12
    assert trainer.stopped == "validation_loss has not become better than 1.9 (step 8)"
    again = make_stopping(tmp_path, [])
    again.fit(resume=True)
    assert (again.step, again.stopped) == (12, trainer.stopped)


def test_early_stopping_remembers_over_a_resume(tmp_path):
    trainer = make_stopping(tmp_path, [3.0, 2.0, 2.5])
    trainer.observe = lambda record: signal.raise_signal(signal.SIGTERM) if record["step"] == 7 else None
    with pytest.raises(Interrupted):
        trainer.fit()
    resumed = make_stopping(tmp_path, [2.4])
    resumed.fit(resume=True)
    assert resumed.step == 8


def test_early_stopping_by_largest_and_by_nan():
    trainer = make_stopping(None, [0.5, 0.55, 0.56], mode="max", min_delta=0.1)
    trainer.fit()
    assert trainer.step == 6
    assert trainer.callbacks[0].best == 0.5
    broken = make_stopping(None, [math.nan])
    broken.fit()
    assert broken.stopped == "validation_loss is nan"


def test_a_name_that_is_not_evaluated_is_told():
    trainer = make_trainer(None, evaluate=lambda: {"accuracy": 1.0}, callbacks=[EarlyStopping()])
    with pytest.raises(ArgumentError, match=r"no 'validation_loss'; it returned validation_accuracy"):
        trainer.fit()
    with pytest.raises(ArgumentError, match="mode"):
        EarlyStopping(mode="least")
    with pytest.raises(ArgumentError, match="patience"):
        EarlyStopping(patience=0)


def test_the_best_weights_are_kept(tmp_path):
    values, weights = iter([2.0, 1.0, 1.5]), []

    def check():
        weights.append(trainer.model[0].weight.detach().numpy().copy())
        return {"loss": next(values)}

    trainer = make_trainer(None, evaluate=check, callbacks=[BestCheckpoint(tmp_path)])
    trainer.fit()
    fresh = make_trainer(None)
    saved = load_checkpoint(tmp_path, fresh.model)
    assert (saved.step, saved.extra) == (20, {"validation_loss": 1.0})
    np.testing.assert_array_equal(fresh.model[0].weight.detach().numpy(), weights[1])
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_rates_of_all_groups_are_recorded():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[1].parameters(), "lr": 0.01}]
    data = DataLoader(TensorDataset(np.ones((4, 2), np.float32), np.zeros(4, np.int64)), 2)
    history = Trainer(model, optim.SGD(groups), data, 1).fit()
    assert [(record["lr"], record["lr_1"]) for record in history] == [(0.1, 0.01)] * 2
