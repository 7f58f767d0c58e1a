# SPDX-License-Identifier: Apache-2.0
"""Classes out of range on a device, where nobody waits to look: NaN in their rows, in the loss and in its gradient."""

import numpy as np
import pytest

import penlight as pl
from penlight import nn
from penlight.nn import functional as F


def rows_of(loss, target, dtype=pl.float32, kind=pl.int64):
    """Which rows of the losses and of the gradients are NaN; all others are those of the CPU."""
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    x = pl.from_numpy(logits).to(dtype).to("cuda").requires_grad_(True)
    losses = loss(x, pl.tensor(target, dtype=kind, device="cuda"))
    losses.sum().backward()
    found = np.isnan(losses.detach().cpu().numpy())
    np.testing.assert_array_equal(np.isnan(x.grad.cpu().numpy()), np.repeat(found[:, None], 4, 1))
    plain = loss(pl.from_numpy(logits).to(dtype), pl.tensor(np.where(found, 0, target), dtype=kind))
    np.testing.assert_allclose(losses.detach().cpu().numpy()[~found], plain.detach().numpy()[~found], rtol=1e-5)
    return found.tolist()


def weighted(requires_grad):
    def loss(x, target):
        weight = pl.full((4,), 0.5, dtype=x.dtype, device=x.device, requires_grad=requires_grad)
        return F.cross_entropy(x, target, weight, ignore_index=-7, reduction="none")

    return loss


LOSSES = {
    "cross_entropy": lambda x, t: F.cross_entropy(x, t, ignore_index=-7, label_smoothing=0.1, reduction="none"),
    "weighted": weighted(False),
    "learned weights": weighted(True),
    "nll_loss": lambda x, t: F.nll_loss(F.log_softmax(x, 1), t, ignore_index=-7, reduction="none"),
}


@pytest.mark.parametrize("dtype", [pl.float32, pl.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_rows_of_classes_out_of_range_are_nan(fake_cuda, name, dtype):
    assert rows_of(LOSSES[name], [0, 4, 3, -1, -7], dtype) == [False, True, False, True, False]
    assert rows_of(LOSSES[name], [0, 1, 2, 3, -7], dtype) == [False] * 5


def test_one_such_class_shows_in_the_mean(fake_cuda):
    x = pl.zeros(2, 3, device="cuda")
    for loss in (nn.CrossEntropyLoss(), nn.NLLLoss()):
        assert np.isnan(loss(x, pl.tensor([1, 3], device="cuda")).item())
