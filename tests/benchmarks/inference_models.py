# SPDX-License-Identifier: Apache-2.0
"""Models of the inference benchmark with random weights, written as ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import penlight as pl
import penlight.nn as nn
from penlight_export import export

LENGTH = 128  # tokens


class Lstm(nn.Module):
    """Two layers of width 128 over 64 features."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(64, 128, 2, batch_first=True), nn.Linear(128, 10)

    def forward(self, x: pl.Tensor) -> pl.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class KeywordSpotter(nn.Module):
    """The small DS-CNN of Zhang et al. 2017, "Hello Edge"."""

    def __init__(self, width: int = 64, classes: int = 12) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, (10, 4), stride=2, padding=(5, 1)), nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(4):
            layers += [nn.Conv2d(width, width, 3, padding=1, groups=width), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU()]
        self.features, self.head = nn.Sequential(*layers), nn.Linear(width, classes)

    def forward(self, x: pl.Tensor) -> pl.Tensor:
        return self.head(self.features(x).mean(dim=(2, 3)))


def _mlp() -> tuple[nn.Module, dict[str, pl.Tensor]]:
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)), {"x": pl.randn(1, 784)}


def _resnet18() -> tuple[nn.Module, dict[str, pl.Tensor]]:
    from penlight.models.resnet import resnet18

    return resnet18(), {"x": pl.randn(1, 3, 224, 224)}


def _minilm() -> tuple[nn.Module, dict[str, pl.Tensor]]:
    from penlight.models.bert import BertModel

    model = BertModel(vocabulary=1000, size=384, layers=6, heads=12, intermediate=1536, positions=512)
    return model, {"input_ids": pl.randint(0, 1000, (1, LENGTH)), "attention_mask": pl.ones((1, LENGTH), dtype=pl.int64)}


MODELS: dict[str, Callable[[], tuple[Any, dict[str, pl.Tensor]]]] = {
    "mlp": _mlp,
    "dscnn": lambda: (KeywordSpotter(), {"x": pl.randn(1, 1, 49, 10)}),
    "lstm": lambda: (Lstm(), {"x": pl.randn(1, 100, 64)}),
    "resnet18": _resnet18,
    "minilm_l6": _minilm,
}


def write(name: str, folder: Path) -> Path:
    """Writes NAME.onnx with fixed sizes and returns its path."""
    pl.manual_seed(0)
    model, inputs = MODELS[name]()
    exported = export(model.eval(), inputs, opset=17, verify=False)
    return Path(exported.save(folder / f"{name}.onnx"))
