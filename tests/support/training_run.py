# SPDX-License-Identifier: Apache-2.0
"""A small training run with everything that must survive a crash; as a script it runs until it is done or killed.

python training_run.py FOLDER [SECONDS_PER_STEP]
"""

import hashlib
import sys
import time
from pathlib import Path

import numpy as np

import penlight as pl
from penlight import nn, optim
from penlight.data import DataLoader, Dataset, item_generator, load_digits
from penlight.optim.lr_scheduler import CosineAnnealingLR
from penlight.train import Trainer

EPOCHS, ITEMS, BATCH = 3, 160, 16


class Noisy(Dataset):
    """The first digits, with noise that is drawn anew in each epoch."""

    def __init__(self) -> None:
        digits = load_digits()
        self.images, self.labels = digits.train_images[:ITEMS], digits.train_labels[:ITEMS]

    def __len__(self) -> int:
        return ITEMS

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        noise = item_generator().normal(size=(1, 8, 8)).astype(np.float32)
        return self.images[index] + 0.1 * noise, self.labels[index]


def make_trainer(folder: Path | None, **options) -> Trainer:
    """Returns a trainer of a network with batch norm and dropout, momentum, a schedule and a shuffled, noisy data set."""
    pl.manual_seed(1)
    conv = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()]
    model = nn.Sequential(*conv, nn.Flatten(), nn.Dropout(0.3), nn.Linear(144, 10))
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    loader = DataLoader(Noisy(), BATCH, shuffle=True, seed=3)
    scheduler = CosineAnnealingLR(optimizer, T_max=EPOCHS * len(loader))
    return Trainer(model, optimizer, loader, EPOCHS, scheduler=scheduler, max_grad_norm=1.0, checkpoint_folder=folder, **options)


def fingerprint(trainer: Trainer) -> str:
    """Returns the SHA-256 of all weights, buffers and optimizer state."""
    digest = hashlib.sha256()
    for value in trainer.model.state_dict().values():
        digest.update(value.numpy().tobytes())
    for entry in trainer.optimizer.state_dict()["state"].values():
        for value in entry.values():
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def main() -> None:
    """Trains with a checkpoint after each third step, from where the folder's checkpoint is; prints the fingerprint."""
    folder = Path(sys.argv[1])
    pause = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    trainer = make_trainer(folder, checkpoint_every=3)

    def observe(record: dict) -> None:
        print(f"step {record['step']}", flush=True)
        time.sleep(pause)

    trainer.observe = observe
    trainer.fit(resume=True)
    print(fingerprint(trainer), flush=True)


if __name__ == "__main__":
    main()
