# SPDX-License-Identifier: Apache-2.0
"""A small model and its data, trained by one process or by one of several ranks."""

import numpy as np

import penlight as pl
import penlight.nn.functional as F
from penlight import nn

STEPS, BATCH, RANKS = 6, 8, 2


class Net(nn.Module):
    """A convolution, a layer that is used twice, a layer that only odd steps use, one that none uses, and a buffer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.twice = nn.Linear(64, 64)
        self.sometimes = nn.Linear(64, 64)
        self.head = nn.Linear(64, 5)
        self.never = nn.Linear(3, 3)
        self.wide = nn.Parameter(pl.ones(5, dtype=pl.float64))
        self.register_buffer("scale", pl.full((1,), 0.5))

    def forward(self, x, step):
        h = F.relu(self.conv(x)).mean(dim=1).reshape(x.shape[0], 64)
        h = F.gelu(self.twice(F.relu(self.twice(h)))) * self.scale
        for _ in range(step % 3):  # 0, 1 or 2 uses: more than in the step before, and fewer
            h = h + self.sometimes(h)
        return self.head(h) * self.wide


def new_net(seed=0):
    pl.manual_seed(seed)
    return Net()


def batch(step):
    """Inputs (8, 1, 8, 8) and labels (8,) of a step."""
    generator = np.random.default_rng(step)
    return generator.normal(size=(BATCH, 1, 8, 8)).astype("float32"), generator.integers(0, 5, BATCH)


def loss_of(model, step, rank):
    """The loss of a rank's part of the batch: every second sample."""
    images, labels = batch(step)
    return F.cross_entropy(model(pl.tensor(images[rank::RANKS]), step), pl.tensor(labels[rank::RANKS]))


def new_optimizer(model):
    return pl.optim.AdamW(model.parameters(), lr=1e-2)


def gradients_alone(model, step):
    """What all ranks should have: the gradients of the parts, each by itself, added in order and divided."""
    parts = []
    for rank in range(RANKS):
        model.zero_grad()
        loss_of(model, step, rank).backward()
        parts.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    averages = {}
    for name in parts[0]:
        total = parts[0][name].numpy().copy()
        for part in parts[1:]:
            total += part[name].numpy()
        averages[name] = total / total.dtype.type(RANKS)
    return averages


def train_alone():
    """The weights after all steps in one process."""
    model = new_net()
    optimizer = new_optimizer(model)
    for step in range(STEPS):
        averages = gradients_alone(model, step)
        for name, parameter in model.named_parameters():
            parameter.grad = pl.tensor(averages[name]) if name in averages else None
        optimizer.step()
    return {name: value.numpy(force=True) for name, value in model.state_dict().items()}
