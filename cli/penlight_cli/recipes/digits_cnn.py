# SPDX-License-Identifier: Apache-2.0
"""digits-cnn: handwritten digits, 8x8 pixels, with data that comes with the package. Above 98 % in half a minute."""

from pathlib import Path

import penlight as pl
from penlight import nn
from penlight.data import TensorDataset, load_digits
from penlight.models import DigitsCNN
from penlight_cli.errors import UsageProblem
from penlight_cli.recipes.recipe import Config, Data, Settings


class DigitsRecipe:
    """The UCI handwritten digits: 1,397 images to train on, 400 held out."""

    name = "digits-cnn"
    description = "8x8 handwritten digits, embedded data"
    needs_data = ""
    settings = Settings(epochs=12, batch_size=64, lr=1e-2, warmup=0.3)
    input_names = ("x",)
    output_names = ("logits",)
    dynamic = {"x": {0: "batch"}}

    def load(self, path: Path | None) -> Data:
        if path is not None:
            raise UsageProblem("digits-cnn brings its own data; leave out --data")
        digits = load_digits()
        train = TensorDataset(digits.train_images, digits.train_labels)
        return Data(train, TensorDataset(digits.test_images, digits.test_labels), {})

    def build_model(self, config: Config) -> nn.Module:
        return DigitsCNN()

    def example_inputs(self, config: Config) -> dict[str, pl.Tensor]:
        return {"x": pl.from_numpy(load_digits().test_images[:2])}

    def after_training(self, engines, config: Config, seed: int) -> str:
        return ""


recipe = DigitsRecipe()
