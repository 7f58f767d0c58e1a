# SPDX-License-Identifier: Apache-2.0
"""Embeddings with max_norm, norm_type and scale_grad_by_freq, and pretrained ones, against PyTorch."""

import numpy as np
import pytest

import penlight as pl
import penlight.nn.functional as F

TABLE = np.random.default_rng(0).normal(size=(5, 4))
INDEX = np.array([[1, 1, 3], [4, 0, 1]])


def both(torch, call):
    """(result, weight afterwards, gradient) on both sides."""
    found = []
    for m, functional in ((pl, F), (torch, torch.nn.functional)):
        weight = m.tensor(TABLE.copy(), requires_grad=True)
        y = call(functional, m.tensor(INDEX), weight)
        (y * m.tensor(np.arange(y.detach().numpy().size, dtype=np.float64).reshape(y.shape))).sum().backward()
        found.append([y.detach().numpy(), weight.detach().numpy(), weight.grad.numpy()])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    return found[0]


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
def test_rows_are_scaled_down_in_place(norm_type):
    torch = pytest.importorskip("torch")
    _, weight, _ = both(torch, lambda f, i, w: f.embedding(i, w, max_norm=1.0, norm_type=norm_type))
    assert (weight[2] == TABLE[2]).all() and not (weight[1] == TABLE[1]).all()
    assert np.linalg.norm(weight[[0, 1, 3, 4]], norm_type, axis=1).max() <= 1.0


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_scale_rows_too(mode):
    torch = pytest.importorskip("torch")
    both(torch, lambda f, i, w: f.embedding_bag(i, w, max_norm=0.5, mode=mode))


def test_gradients_by_frequency():
    torch = pytest.importorskip("torch")
    both(torch, lambda f, i, w: f.embedding(i, w, padding_idx=3, scale_grad_by_freq=True))


def test_modules():
    torch = pytest.importorskip("torch")
    results = []
    for m in (pl, torch):
        layer = m.nn.Embedding.from_pretrained(m.tensor(TABLE.copy()), max_norm=0.7, padding_idx=1)
        assert not layer.weight.requires_grad and tuple(layer(m.tensor(INDEX)).shape) == (2, 3, 4)
        bag = m.nn.EmbeddingBag(5, 4, max_norm=0.5, _weight=m.tensor(TABLE.copy()))
        results.append((layer.weight.numpy(), bag(m.tensor(INDEX)).detach().numpy()))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert repr(pl.nn.Embedding(5, 4, max_norm=1.0)) == "Embedding(5, 4, max_norm=1.0)"


def test_what_cannot_be():
    weight = pl.ones(3, 2)
    with pytest.raises(IndexError, match="out of range for 3 rows"):
        F.embedding(pl.tensor([3]), weight, max_norm=0.5)
    assert weight.tolist() == [[1.0, 1.0]] * 3
    with pytest.raises(pl.errors.TraceError, match="embedding with max_norm changes its weight"):
        pl.tracing.trace(pl.nn.Embedding(3, 2, max_norm=1.0), (pl.tensor([1]),))
