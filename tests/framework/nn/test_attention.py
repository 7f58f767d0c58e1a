# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention and the encoder layer against PyTorch."""

import numpy as np
import pytest

import penlight as pl
from penlight import nn
from penlight.nn import functional as F

torch = pytest.importorskip("torch")

E, H, T, S, B = 8, 2, 5, 3, 4


def pair(name, *args, **kwargs):
    torch.manual_seed(0)
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    return ours, theirs


def draw(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def close(ours, theirs):
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_self_attention(bias, batch_first, need_weights):
    ours, theirs = pair("MultiheadAttention", E, H, bias=bias, batch_first=batch_first)
    data = draw(B, T, E)
    x, tx = pl.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, weights = ours(x, x, x, need_weights=need_weights)
    ty, theirs_weights = theirs(tx, tx, tx, need_weights=need_weights)
    close(y, ty)
    assert (weights is None) == (theirs_weights is None)
    if weights is not None:
        close(weights, theirs_weights)
    y.sum().backward()
    ty.sum().backward()
    close(x.grad, tx.grad)
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(parameter.grad, other.grad)


MASKS = {
    "bool": np.array([[0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 1]], bool),
    "float": draw(T, S),
    "heads": draw(B * H, T, S),
}
PADDING = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]], bool)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(("mask", "padding"), [("bool", False), ("float", False), ("heads", False), (None, True)])
def test_cross_attention_with_masks(mask, padding, need_weights):
    ours, theirs = pair("MultiheadAttention", E, H, batch_first=True)
    q, k, v = draw(B, T, E), draw(B, S, E), draw(B, S, E) * 2
    arguments = {"attn_mask": MASKS.get(mask), "key_padding_mask": PADDING if padding else None}
    options = {"need_weights": need_weights, "average_attn_weights": False}
    y, weights = ours(
        *map(pl.tensor, (q, k, v)), **{n: None if m is None else pl.tensor(m) for n, m in arguments.items()}, **options
    )
    ty, tw = theirs(
        *map(torch.tensor, (q, k, v)), **{n: None if m is None else torch.tensor(m) for n, m in arguments.items()}, **options
    )
    close(y, ty)
    if need_weights:
        close(weights, tw)


@pytest.mark.parametrize("need_weights", [True, False])
def test_causal(need_weights):
    ours, theirs = pair("MultiheadAttention", E, H, batch_first=True)
    x = draw(B, T, E)
    y, _ = ours(*[pl.tensor(x)] * 3, need_weights=need_weights, is_causal=True)
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    ty, _ = theirs(*[torch.tensor(x)] * 3, attn_mask=later)
    close(y, ty)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder_layer(activation, norm_first):
    options = {"activation": activation, "norm_first": norm_first, "batch_first": True, "dropout": 0.0}
    ours, theirs = pair("TransformerEncoderLayer", E, H, 16, **options)
    data = draw(B, T, E)
    x, tx = pl.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, ty = ours(x), theirs(tx)
    close(y, ty)
    y.sum().backward()
    ty.sum().backward()
    close(x.grad, tx.grad)
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    close(ours(x, src_mask=pl.tensor(later.numpy())), theirs(tx, src_mask=later))


@pytest.mark.parametrize("mask", [None, (T, S), (B, 1, T, S), (B, 6, T, S)])
def test_heads_of_queries_share_heads_of_keys(mask):
    shapes = ((B, 6, T, E), (B, 2, S, E), (B, 2, S, 3))
    ours = [pl.tensor(draw(*shape), requires_grad=True) for shape in shapes]
    theirs = [torch.tensor(draw(*shape), requires_grad=True) for shape in shapes]
    allowed = None if mask is None else draw(*mask) > -1
    y = F.scaled_dot_product_attention(*ours, None if mask is None else pl.tensor(allowed), enable_gqa=True)
    wanted = None if mask is None else torch.tensor(allowed)
    ty = torch.nn.functional.scaled_dot_product_attention(*theirs, wanted, enable_gqa=True)
    close(y, ty)
    y.square().sum().backward()
    ty.square().sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        close(a.grad, b.grad)


def test_heads_that_do_not_divide_are_refused():
    q, k = pl.zeros(1, 5, T, E), pl.zeros(1, 2, S, E)
    with pytest.raises(pl.errors.ShapeError, match=r"enable_gqa wants .* came 5 of query, 2 of key, 2 of value"):
        F.scaled_dot_product_attention(q, k, k, enable_gqa=True)
