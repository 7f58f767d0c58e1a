# SPDX-License-Identifier: Apache-2.0
"""What a recipe says: its data, its model, and how long to train. `penlight_cli.training` does the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import penlight as pl
from penlight import nn
from penlight.data import Dataset

Config = dict[str, Any]  # facts from the data that the model needs, such as a vocabulary; plain JSON


@dataclass(frozen=True)
class Settings:
    """How to train; every field is an option of `penlight train`."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    warmup: float = 0.05  # part of the steps in which the learning rate rises
    precision: str = "fp32"
    accumulate: int = 1  # batches per step
    patience: int = 0  # epochs without a better validation loss that end the run; 0 never does


@dataclass(frozen=True)
class Data:
    """What a recipe read: two data sets of (input, target) and the facts for the model."""

    train: Dataset
    validation: Dataset
    config: Config


class Recipe(Protocol):
    """A worked example that `penlight train NAME` runs."""

    name: str
    description: str
    needs_data: str  # what --data must point to; empty when the data is embedded
    settings: Settings
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dynamic: dict[str, dict[int, str]]

    def load(self, path: Path | None) -> Data:
        """Reads the data."""

    def build_model(self, config: Config) -> nn.Module:
        """An untrained model; weights are drawn from the global seed."""

    def example_inputs(self, config: Config) -> dict[str, pl.Tensor]:
        """Inputs to trace and to verify with, by name in the order of the model's arguments."""

    def after_training(self, engines: dict[str, Any], config: Config, seed: int) -> str:
        """Something to look at once the exported model runs; may be empty."""
