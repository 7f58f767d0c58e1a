# SPDX-License-Identifier: Apache-2.0
"""From a recipe to a trained and exported model: what `penlight train` and `penlight quickstart` share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import penlight as pl
from penlight import distributed, nn
from penlight.data import DataLoader
from penlight.errors import DataError
from penlight.optim import AdamW
from penlight.optim.lr_scheduler import LambdaLR
from penlight.train import (
    Callback,
    CsvLog,
    EarlyStopping,
    JsonlLog,
    TensorBoardLog,
    Trainer,
    evaluate,
    has_checkpoint,
    load_checkpoint,
)
from penlight_cli import output
from penlight_cli.errors import InputMissing, InputValue, UsageProblem
from penlight_cli.output import log, progress
from penlight_cli.recipes import load_recipe
from penlight_cli.recipes.recipe import Data
from penlight_cli.runs import Run, load_run, write_history

EVALUATION_BATCH = 200
HELD_OUT = 16  # samples on which exported models are compared
RESULTS = ("checkpoint/checkpoint.json", "history.jsonl", "curve.svg", "curve.png", "model.onnx", "model.pen", "verify.json")


@dataclass(frozen=True)
class Trained:
    """A trained model (in evaluation mode) with one dict of figures per epoch."""

    run: Run
    model: nn.Module
    history: list[dict[str, Any]]
    stopped: str | None = None  # why it ended early


def join_ranks() -> bool:
    """Joins the other ranks where `penlight launch` started several; True in the one that writes and prints.

    The others check the command line as well before they come here; nothing is written until all have.
    """
    if distributed.is_launched():
        distributed.init_process_group()
        distributed.barrier()
    output.settings.quiet = output.settings.quiet or distributed.get_rank() > 0
    return distributed.get_rank() == 0


def new_run(recipe_name: str, folder: Path, *, data: Path | None = None, seed: int = 0, **overrides: Any) -> tuple[Run, Data]:
    """Reads the data and writes run.json; settings that are None stay the recipe's."""
    recipe = load_recipe(recipe_name)
    loaded = recipe.load(data)
    settings = replace(recipe.settings, **{name: value for name, value in overrides.items() if value is not None})
    run = Run(folder, recipe, settings, seed, loaded.config, str(data) if data else None)
    if distributed.get_rank() > 0:
        return run, loaded
    for name in RESULTS:  # of an older run, which a resumed or interrupted new one must not pick up
        (folder / name).unlink(missing_ok=True)
    run.save()
    return run, loaded


def resumed_run(recipe_name: str, folder: Path, *, data: Path | None = None, **overrides: Any) -> tuple[Run, Data]:
    """Reads run.json and the data again; options may repeat what the run was started with, but not change it.

    Raises:
        UsageProblem: an option differs.
        InputValue: the data are others.
    """
    run = load_run(folder)
    was: dict[str, Any] = {"recipe": run.recipe.name, "seed": run.seed, **vars(run.settings)}
    for name, value in {"recipe": recipe_name, **overrides}.items():
        if value is not None and value != was[name]:
            raise UsageProblem(f"--resume: the run in {folder} has {name} {was[name]}, not {value}; leave the option out")
    loaded = run.recipe.load(data or (Path(run.data) if run.data else None))
    if loaded.config != run.config:
        raise InputValue(f"--resume: the data differ from those that the run in {folder} was started with; start a new run")
    return run, loaded


def train_run(run: Run, data: Data, *, resume: bool = False, workers: int = 0, log_dir: Path | None = None) -> Trained:
    """Trains to the end with live figures; writes a checkpoint and the curves after every epoch, and logs where asked.

    Raises:
        Interrupted: a signal came; the checkpoint is written and `resume=True` goes on.
        NumericalError: the loss became NaN.
    """
    settings, model = run.settings, run.new_model()
    loader = _training_loader(run, data, workers)
    steps = settings.epochs * -(-len(loader) // settings.accumulate)
    optimizer = AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    validation = DataLoader(data.validation, EVALUATION_BATCH)
    trainer = Trainer(
        _shared(model), optimizer, loader, settings.epochs,
        scheduler=LambdaLR(optimizer, warm_up_then_cosine(steps, settings.warmup)),
        max_grad_norm=settings.max_grad_norm or None,
        evaluate=lambda: evaluate(model, validation),
        log_every=1 if log_dir else max(1, steps // 200),
        checkpoint_folder=run.folder / "checkpoint",
        checkpoint_every=steps // settings.epochs,
        checkpoint_seconds=60.0,
        accumulate=settings.accumulate,
        precision=settings.precision,
        callbacks=_callbacks(settings.patience, log_dir),
    )  # fmt: skip
    with progress(steps, f"{run.recipe.name}") as bar:
        if distributed.get_rank() == 0:
            trainer.observe = Observer(run, trainer, bar, settings.epochs)
        trainer.fit(resume=resume)
    history = epochs_of(trainer.history)
    if trainer.stopped:
        log(f"stopped after step {trainer.step}: {trainer.stopped}")
    if distributed.get_rank() == 0:
        write_history(run.folder, history)
    return Trained(run, model.eval(), history, trainer.stopped)


def _callbacks(patience: int, log_dir: Path | None) -> list[Callback]:
    callbacks: list[Callback] = [EarlyStopping(patience=patience)] if patience else []
    if log_dir is not None:
        callbacks += [TensorBoardLog(log_dir), CsvLog(log_dir / "metrics.csv"), JsonlLog(log_dir / "metrics.jsonl")]
    return callbacks


def _training_loader(run: Run, data: Data, workers: int) -> DataLoader:
    """The shuffled training data; of several ranks, each reads its part of every batch."""
    ranks, batch_size = distributed.get_world_size(), run.settings.batch_size
    if batch_size % ranks:
        raise UsageProblem(f"--batch-size {batch_size}: it does not divide among {ranks} ranks; choose a multiple of {ranks}")
    if ranks == 1:
        return DataLoader(data.train, batch_size, shuffle=True, num_workers=workers, seed=run.seed)
    sampler = distributed.DistributedSampler(data.train, seed=run.seed)
    return DataLoader(data.train, batch_size // ranks, sampler=sampler, num_workers=workers, seed=run.seed)


def _shared(model: nn.Module) -> nn.Module:
    """The model as several ranks train it, in a fixed order of additions: a resumed run goes on bit for bit."""
    return model if distributed.get_world_size() == 1 else distributed.DistributedDataParallel(model, deterministic=True)


def warm_up_then_cosine(steps: int, warmup: float) -> Any:
    """The factor of the learning rate at a step: a linear rise, then half a cosine down to zero."""
    rising = max(1, round(steps * warmup))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    return factor


class Observer:
    """Turns the trainer's records into progress, a line per epoch, history.jsonl and curves."""

    def __init__(self, run: Run, trainer: Trainer, bar: Any, epochs: int) -> None:
        self.run, self.trainer, self.bar, self.epochs, self.shown = run, trainer, bar, epochs, 0

    def __call__(self, record: dict[str, Any]) -> None:
        if "loss" in record:
            note = f"epoch {record['epoch'] + 1}/{self.epochs}  loss {record['loss']:.4f}  accuracy {record['accuracy']:.2%}"
            self.bar.advance(record["step"] - self.shown, note)
            self.shown = record["step"]
            return
        history = epochs_of(self.trainer.history)
        write_history(self.run.folder, history)
        line = history[-1]
        log(
            f"epoch {line['epoch']}/{self.epochs}: train loss {line['train_loss']:.4f}, "
            f"validation loss {line['validation_loss']:.4f}, accuracy {line['validation_accuracy']:.2%}, {line['seconds']:.1f} s"
        )


def epochs_of(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One dict per finished epoch: means of training, and the validation at its end."""
    lines = []
    for last in (record for record in records if "validation_loss" in record):
        steps = [record for record in records if record["epoch"] == last["epoch"] and "loss" in record]
        means = {f"train_{name}": sum(r[name] for r in steps) / max(len(steps), 1) for name in ("loss", "accuracy")}
        lr = steps[-1]["lr"] if steps else 0.0
        lines.append({**last, "epoch": last["epoch"] + 1, **means, "lr": lr})
    return lines


def trained_model(run: Run) -> nn.Module:
    """The model of a run with the weights of its checkpoint, in evaluation mode."""
    folder = run.folder / "checkpoint"
    if not has_checkpoint(folder):
        raise UsageProblem(f"run {run.folder}: there is no checkpoint yet; train first, with --resume")
    model = run.new_model()
    load_checkpoint(folder, model)
    return model.eval()


def held_out(run: Run, data: Data | None = None) -> dict[str, np.ndarray]:
    """Some of the validation inputs by name; nothing where the data are gone."""
    try:
        loaded = data or run.recipe.load(Path(run.data) if run.data else None)
    except (DataError, InputMissing) as error:
        log(f"compared without the run's data: {error}")
        return {}
    inputs, _ = next(iter(DataLoader(loaded.validation, HELD_OUT)))
    return {run.recipe.input_names[0]: inputs.numpy()}


def export_model(
    run: Run,
    model: nn.Module,
    *,
    opset: int = 21,
    verify: bool = True,
    data: Data | None = None,
    passes: Any = None,
    precision: str = "float32",
    functions: bool = False,
) -> Any:
    """Exports a model of a run; verified at two sizes per dynamic dimension and on held-out data unless told otherwise."""
    import penlight_export
    from penlight_export.passes import DEFAULT

    real = held_out(run, data) if verify else {}

    inputs: dict[str, pl.Tensor] = run.recipe.example_inputs(run.config)
    return penlight_export.export(
        model,
        inputs,
        dynamic=run.recipe.dynamic,
        output_names=run.recipe.output_names,
        opset=opset,
        verify=verify,
        metadata={"recipe": run.recipe.name, "seed": str(run.seed)},
        data=[real] if real else [],
        functions=functions,
        passes=DEFAULT if passes is None else passes,
        precision=precision,
    )


def save_exports(run: Run, exported: Any) -> list[Path]:
    """Writes model.onnx, model.pen and verify.json into the run's folder."""
    import json

    from penlight.serialize import atomic_write

    paths = [run.folder / "model.onnx", run.folder / "model.pen"]
    for path in paths:
        exported.save(path)
    if exported.report is not None:
        atomic_write(run.folder / "verify.json", json.dumps(exported.report.to_json(), indent=1).encode())
    return paths
