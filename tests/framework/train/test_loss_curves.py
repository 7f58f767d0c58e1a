# SPDX-License-Identifier: Apache-2.0
"""Loss curves equal PyTorch's step by step, from the same weights and data."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import penlight as pl

torch = pytest.importorskip("torch")

STEPS, BATCHES = 100, 8
# Both sum in another order, and what that changes grows over the steps.
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


def cnn(framework: Any) -> Any:
    nn = framework.nn
    features = [
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.GELU(),
        nn.MaxPool2d(2),
    ]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def resnet(framework: Any) -> Any:
    # A smooth activation: at the kink of ReLU a rounding error switches a gradient on, and PyTorch in float32 leaves its own
    # float64 curve by 2e-3 in a hundred steps.
    nn, silu = framework.nn, framework.nn.functional.silu

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
            self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

        def forward(self, x: Any) -> Any:
            return silu(self.bn2(self.conv2(silu(self.bn1(self.conv1(x))))) + self.skip(x))

    stem = [nn.Conv2d(1, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU()]
    return nn.Sequential(*stem, Block(8, 8, 1), Block(8, 16, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def transformer(framework: Any) -> Any:
    nn, attention = framework.nn, framework.nn.functional.scaled_dot_product_attention

    class Block(nn.Module):
        def __init__(self, size: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
            self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
            self.mlp = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

        def forward(self, x: Any) -> Any:
            batch, length, size = x.shape
            q, k, v = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            x = x + self.out(attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, length, size))
            return x + self.mlp(self.norm2(x))

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.position = nn.Embedding(17, 32), nn.Embedding(16, 32)
            self.blocks = nn.Sequential(Block(32, 4), Block(32, 4))
            self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 17)

        def forward(self, ids: Any) -> Any:
            x = self.token(ids) + self.position(framework.arange(ids.shape[1]))
            return self.head(self.norm(self.blocks(x)))

    return Transformer()


def images() -> list[tuple[np.ndarray, np.ndarray]]:
    digits = pl.data.load_digits()
    return [(digits.train_images[i : i + 16], digits.train_labels[i : i + 16]) for i in range(0, 16 * BATCHES, 16)]


def sentences() -> list[tuple[np.ndarray, np.ndarray]]:
    """Counting in steps that differ from row to row: there is something to learn in a hundred steps."""
    rng = np.random.default_rng(0)
    first, step = rng.integers(17, size=(BATCHES, 8, 1)), rng.integers(1, 4, size=(BATCHES, 8, 1))
    ids = (first + step * np.arange(17)) % 17
    return [(batch[:, :-1], batch[:, 1:]) for batch in ids]


CASES = {"cnn": (cnn, images), "resnet": (resnet, images), "transformer": (transformer, sentences)}
OPTIMIZERS = {
    "adamw": lambda framework, model: framework.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1),
    "sgd": lambda framework, model: framework.optim.SGD(model.parameters(), lr=3e-2, momentum=0.9, weight_decay=1e-4),
}


def losses(framework: Any, model: Any, optimizer: Any, batches: list) -> list[float]:
    found = []
    for step in range(STEPS):
        x, y = batches[step % len(batches)]
        optimizer.zero_grad()
        logits = model(x)
        loss = framework.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize(("optimizer", "dtype"), [("adamw", "float32"), ("sgd", "float32"), ("adamw", "float64")])
@pytest.mark.parametrize("name", CASES)
def test_losses_are_those_of_torch(name, optimizer, dtype):
    build, data = CASES[name]
    torch.manual_seed(0)
    theirs = build(torch).to(getattr(torch, dtype))
    ours = build(SimpleNamespace(nn=pl.nn, arange=pl.arange)).to(getattr(pl, dtype))
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    batches = [(x.astype(dtype) if x.dtype == np.float32 else x, y) for x, y in data()]
    make = OPTIMIZERS[optimizer]
    expected = losses(torch, theirs, make(torch, theirs), [tuple(map(torch.tensor, batch)) for batch in batches])
    came = losses(pl, ours, make(pl, ours), [tuple(map(pl.tensor, batch)) for batch in batches])
    np.testing.assert_allclose(came, expected, rtol=TOLERANCE[dtype])
    assert expected[-1] < 0.95 * expected[0]
