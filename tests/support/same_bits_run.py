# SPDX-License-Identifier: Apache-2.0
"""Trains a network through every kind of kernel and prints the SHA-256 of its weights, as a process of its own.

python same_bits_run.py WORKERS "process"|"thread"
"""

import sys

import numpy as np
from training_run import fingerprint

import penlight as pl
import penlight.nn.functional as F
from penlight import nn, optim
from penlight.data import DataLoader, Dataset, item_generator
from penlight.train import Trainer

ITEMS, BATCH, CLASSES, LENGTH = 96, 32, 10, 12


class Patterns(Dataset):
    """Noisy stripes, drawn anew in each epoch."""

    def __len__(self) -> int:
        return ITEMS

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image = np.sin(np.arange(24 * 24) * (index % CLASSES + 1) / 7).reshape(1, 24, 24)
        return (image + item_generator().normal(scale=0.3, size=image.shape)).astype(np.float32), index % CLASSES


class Network(nn.Module):
    """Convolutions with batch norm, then attention over the rows of pixels, a recurrent layer, and dropout."""

    def __init__(self) -> None:
        # Sizes for which a BLAS library with two threads would split its sums.
        self.features = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
        self.mixer = nn.TransformerEncoderLayer(384, 4, 512, dropout=0.1, batch_first=True)
        self.recurrent = nn.LSTM(384, 64, batch_first=True)
        self.head = nn.Linear(64 * LENGTH, CLASSES)

    def forward(self, x: pl.Tensor) -> pl.Tensor:
        x = self.features(x).transpose(1, 2).flatten(2)  # (B, 12, 384)
        return self.head(self.recurrent(F.gelu(self.mixer(x)))[0].flatten(1))


def main() -> None:
    pl.manual_seed(0)
    model = Network()
    options = {} if sys.argv[2] == "process" else {"worker_kind": "thread"}
    loader = DataLoader(Patterns(), BATCH, shuffle=True, seed=1, num_workers=int(sys.argv[1]), **options)
    trainer = Trainer(model, optim.AdamW(model.parameters(), lr=1e-3), loader, 2, max_grad_norm=1.0)
    trainer.fit()
    print(trainer.history[-1]["loss"], fingerprint(trainer))


if __name__ == "__main__":
    main()
