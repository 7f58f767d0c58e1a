# SPDX-License-Identifier: Apache-2.0
"""The folder of a training run: run.json says how to build the model again, `checkpoint` holds its weights.

run.json         recipe, settings, seed, facts from the data (plain JSON)
history.jsonl    one line per epoch
curve.svg .png   the same as pictures
model.onnx .pen  what was exported, with verify.json
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penlight_cli.errors import InputFormat, InputMissing
from penlight_cli.recipes import load_recipe

if TYPE_CHECKING:
    from penlight import nn
    from penlight_cli.recipes.recipe import Config, Recipe, Settings

SCHEMA = "penlight.train-run/1"


@dataclass(frozen=True)
class Run:
    """A training run on disk."""

    folder: Path
    recipe: Recipe
    settings: Settings
    seed: int
    config: Config
    data: str | None

    def save(self) -> None:
        """Writes run.json."""
        from penlight.serialize import atomic_write

        facts = {"schema": SCHEMA, "recipe": self.recipe.name, "seed": self.seed, "data": self.data}
        text = json.dumps({**facts, "settings": asdict(self.settings), "config": self.config}, indent=1)
        atomic_write(self.folder / "run.json", text.encode())

    def new_model(self) -> nn.Module:
        """The untrained model; the same seed gives the same weights."""
        import penlight as pl

        pl.manual_seed(self.seed)
        return self.recipe.build_model(self.config)


def load_run(folder: Path) -> Run:
    """Reads run.json.

    Raises:
        InputMissing: the folder holds no training run.
        InputFormat: run.json is damaged.
    """
    from penlight_cli.recipes.recipe import Settings

    path = folder / "run.json"
    if not path.is_file():
        raise InputMissing(
            f"run {folder}: expected the folder of a training run, with run.json in it; 'penlight train --out {folder}' makes one"
        )
    try:
        facts = json.loads(path.read_bytes())
        recipe = load_recipe(facts["recipe"])
        return Run(folder, recipe, Settings(**facts["settings"]), int(facts["seed"]), dict(facts["config"]), facts["data"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputFormat(f"run {path}: not a whole run.json ({error}); train again, or copy the folder again") from error


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The lines of history.jsonl; none when there is no such file yet."""
    path = folder / "history.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise InputFormat(f"history {path}: not JSON lines ({error}); remove the file to start it anew") from error


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """Writes history.jsonl and the curves."""
    from penlight.serialize import atomic_write
    from penlight_cli.chart import to_png, to_svg

    atomic_write(folder / "history.jsonl", "".join(json.dumps(line) + "\n" for line in history).encode())
    panels = history_panels(history)
    atomic_write(folder / "curve.svg", to_svg(panels, "Training").encode())
    atomic_write(folder / "curve.png", to_png(panels))


def history_panels(history: list[dict[str, Any]]) -> list[Any]:
    """Loss and accuracy over epochs, of training and validation."""
    from penlight_cli.chart import Panel, Series

    epochs = [line["epoch"] for line in history]

    def series(kind: str) -> list[Series]:
        return [
            Series(part, epochs, [line[f"{prefix}{kind}"] for line in history])
            for part, prefix in (("train", "train_"), ("validation", "validation_"))
        ]

    return [Panel("loss (cross-entropy, nats)", series("loss")), Panel("accuracy", series("accuracy"))]
