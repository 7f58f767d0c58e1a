# SPDX-License-Identifier: Apache-2.0
"""What a loop computes on a batch, and means over a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import penlight.nn.functional as F
from penlight.autograd import no_grad
from penlight.data.collate import to_device
from penlight.data.loader import DataLoader
from penlight.device import cpu
from penlight.nn.module import Module
from penlight.tensor import Tensor

Loss = Callable[[Module, Any], tuple[Tensor, dict[str, float]]]


def classify(model: Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
    """Returns cross-entropy and accuracy of a model that maps inputs to logits (..., classes), for a batch (inputs, labels)."""
    inputs, labels = batch
    logits = model(inputs)
    classes = logits.shape[-1]
    loss = F.cross_entropy(logits.reshape(-1, classes), labels.reshape(-1))
    right = logits.detach().argmax(dim=-1) == labels
    return loss, {"accuracy": float(right.numpy(force=True).mean()) if right.numel() else 0.0}


def on_device_of(model: Module, loader: DataLoader) -> Iterator[Any]:
    """Yields the batches of a loader on the device of the model's parameters."""
    parameter = next(model.parameters(), None)
    device = cpu if parameter is None else parameter.device
    return iter(loader) if device == cpu else (to_device(batch, device) for batch in loader)


def evaluate(model: Module, loader: DataLoader, loss: Loss = classify) -> dict[str, float]:
    """Returns the mean loss and metrics over a data set, in evaluation mode and without gradients.

    Batches count by their number of items; the mode of the model is restored.
    """
    training, sums, items = model.training, {"loss": 0.0}, 0
    model.eval()
    loader.set_epoch(0)
    try:
        with no_grad():
            for batch in on_device_of(model, loader):
                value, metrics = loss(model, batch)
                size = len(batch[0])
                items += size
                for name, number in {"loss": value.item(), **metrics}.items():
                    sums[name] = sums.get(name, 0.0) + number * size
    finally:
        model.train(training)
    return {name: total / max(items, 1) for name, total in sums.items()}
