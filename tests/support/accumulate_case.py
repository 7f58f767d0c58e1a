# SPDX-License-Identifier: Apache-2.0
"""A training run with two batches per step, for one process or for each of several ranks."""

import numpy as np

import penlight as pl
from penlight import distributed, nn, optim
from penlight.data import DataLoader, TensorDataset
from penlight.train import Trainer

BATCH = 8


def make_trainer(folder, **options) -> Trainer:
    pl.manual_seed(0)
    rng = np.random.default_rng(0)
    data = TensorDataset(rng.normal(size=(40, 5)).astype(np.float32), rng.integers(3, size=40))
    model, ranks = nn.Linear(5, 3), distributed.get_world_size()
    sampler = distributed.DistributedSampler(data, seed=1) if ranks > 1 else None
    loader = DataLoader(data, BATCH // ranks, shuffle=None if sampler else True, sampler=sampler, seed=1)
    wrapped = distributed.DistributedDataParallel(model, deterministic=True) if ranks > 1 else model
    optimizer = optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    return Trainer(wrapped, optimizer, loader, 3, accumulate=2, checkpoint_folder=folder, **options)
