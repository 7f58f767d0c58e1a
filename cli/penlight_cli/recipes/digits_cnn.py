# SPDX-License-Identifier: Apache-2.0
"""digits-cnn: handwritten digits, 8x8 pixels, with data that comes with the package. Above 98 % in half a minute."""

from pathlib import Path

import penlight as pl
from penlight import nn
from penlight.data import TensorDataset, load_digits
from penlight_cli.errors import UsageProblem
from penlight_cli.recipes.recipe import Config, Data, Settings


class DigitsCNN(nn.Module):
    """Two convolutions and a linear layer: (N, 1, 8, 8) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.25), nn.Linear(64 * 4 * 4, 10))

    def forward(self, image: pl.Tensor) -> pl.Tensor:
        return self.classifier(self.features(image))


class DigitsRecipe:
    """The UCI handwritten digits: 1,397 images to train on, 400 held out."""

    name = "digits-cnn"
    description = "8x8 handwritten digits, embedded data"
    needs_data = ""
    settings = Settings(epochs=12, batch_size=32, lr=2e-3)
    input_names = ("image",)
    output_names = ("logits",)
    dynamic = {"image": {0: "batch"}}

    def load(self, path: Path | None) -> Data:
        if path is not None:
            raise UsageProblem("digits-cnn brings its own data; leave out --data")
        digits = load_digits()
        train = TensorDataset(digits.train_images, digits.train_labels)
        return Data(train, TensorDataset(digits.test_images, digits.test_labels), {})

    def build_model(self, config: Config) -> nn.Module:
        return DigitsCNN()

    def example_inputs(self, config: Config) -> dict[str, pl.Tensor]:
        return {"image": pl.from_numpy(load_digits().test_images[:2])}

    def after_training(self, engines, config: Config, seed: int) -> str:
        return ""


recipe = DigitsRecipe()
