# SPDX-License-Identifier: Apache-2.0
"""mnist-cnn: 28x28 pictures in idx files (MNIST, Fashion-MNIST, EMNIST digits) by path; every fifth picture is held out."""

from pathlib import Path

import numpy as np

import penlight as pl
from penlight import nn
from penlight.data import Dataset, TensorDataset, item_generator, read_idx
from penlight.errors import DataError
from penlight.models import MnistCNN
from penlight_cli.errors import InputMissing, UsageProblem
from penlight_cli.recipes.recipe import Config, Data, Settings


def find_idx_files(folder: Path) -> tuple[Path, Path]:
    """The pictures and the labels in a folder: names such as train-images-idx3-ubyte.gz; the training files win over t10k."""
    if not folder.is_dir():
        raise InputMissing(f"data {folder}: expected a folder with idx files of images and labels; check the path")
    names = sorted((p for p in folder.iterdir() if p.is_file()), key=lambda p: (p.name.startswith("t10k"), p.name))
    found = [next((p for p in names if kind in p.name and "idx" in p.name), None) for kind in ("images", "labels")]
    if found[0] is None or found[1] is None:
        here = ", ".join(p.name for p in names[:5]) or "nothing"
        raise InputMissing(f"data {folder}: expected an images*idx3* and a labels*idx1* file, .gz or not; found {here}")
    return found[0], found[1]


def read_pictures(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 1, 28, 28) float32 in 0..1 and labels (N,) int64, checked against each other."""
    image_path, label_path = find_idx_files(folder)
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise DataError(f"data {image_path}: expected pictures (N, 28, 28), came {images.shape}")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or len(labels) < 10:
        raise DataError(f"data {label_path}: expected {len(images)} whole-number labels, came {labels.dtype}{list(labels.shape)}")
    return (images.astype(np.float32) / 255)[:, np.newaxis], labels.astype(np.int64)


class Shifted(Dataset):
    """Pictures moved by up to two pixels, anew in each epoch, so that the place of a digit matters less."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.padded, self.labels = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2))), labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        down, right = item_generator().integers(0, 5, 2)
        return self.padded[index, :, down : down + 28, right : right + 28], self.labels[index]


class MnistRecipe:
    """Pictures from idx files; four fifths to train on."""

    name = "mnist-cnn"
    description = "28x28 pictures from idx files (MNIST and its relatives)"
    needs_data = "a folder with idx files of images and labels, .gz or not"
    settings = Settings(epochs=8, batch_size=64, lr=2e-3)
    input_names = ("x",)
    output_names = ("logits",)
    dynamic = {"x": {0: "batch"}}

    def load(self, path: Path | None) -> Data:
        if path is None:
            raise UsageProblem(f"mnist-cnn needs --data: {self.needs_data}")
        images, labels = read_pictures(path)
        held_out = np.arange(len(labels)) % 5 == 4
        train = Shifted(images[~held_out], labels[~held_out])
        return Data(train, TensorDataset(images[held_out], labels[held_out]), {"classes": int(labels.max()) + 1})

    def build_model(self, config: Config) -> nn.Module:
        return MnistCNN(width=32, classes=config["classes"])

    def example_inputs(self, config: Config) -> dict[str, pl.Tensor]:
        generator = np.random.default_rng(0)
        return {"x": pl.from_numpy(generator.random((2, 1, 28, 28), np.float32))}

    def after_training(self, engines, config: Config, seed: int) -> str:
        return ""


recipe = MnistRecipe()
