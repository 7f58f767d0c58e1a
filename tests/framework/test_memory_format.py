# SPDX-License-Identifier: Apache-2.0
"""channels_last: who keeps it, who makes it, and that results do not depend on it."""

import numpy as np
import pytest

import penlight as pl
from penlight.errors import ShapeError

F = pl.nn.functional
RNG = np.random.default_rng(0)
IMAGES, WEIGHT = RNG.standard_normal((2, 8, 6, 6)).astype(np.float32), RNG.standard_normal((4, 8, 3, 3)).astype(np.float32)


def calls(T):
    """Results on a channels_last batch, by name, on namespace T (penlight or torch)."""
    F, x, w = T.nn.functional, T.tensor(IMAGES).to(memory_format=T.channels_last), T.tensor(WEIGHT)
    plain, channel = T.tensor(IMAGES), T.tensor(IMAGES[:1, :, :1, :1])
    return {
        "to": lambda: x,
        "relu": lambda: F.relu(x),
        "gelu": lambda: F.gelu(x),
        "sigmoid": lambda: T.sigmoid(x),
        "exp": lambda: x.exp(),
        "neg": lambda: -x,
        "clamp": lambda: x.clamp(0, 1),
        "greater": lambda: x > 0,
        "add": lambda: x + x,
        "add_plain": lambda: plain + x,
        "add_channel": lambda: x + channel,
        "mul_number": lambda: x * 2,
        "where": lambda: T.where(x > 0, x, x),
        "clone": lambda: x.clone(),
        "clone_contiguous": lambda: x.clone(memory_format=T.contiguous_format),
        "clone_channels_last": lambda: plain.clone(memory_format=T.channels_last),
        "clone_of_gaps": lambda: plain[:, ::2].permute(0, 2, 3, 1).clone(),
        "clone_of_repeats": lambda: plain[0, 0, 0].expand(3, 6).clone(),
        "zeros_like": lambda: T.zeros_like(x),
        "ones_like_contiguous": lambda: T.ones_like(x, memory_format=T.contiguous_format),
        "full_like_channels_last": lambda: T.full_like(plain, 1.0, memory_format=T.channels_last),
        "empty_like": lambda: T.empty_like(x),
        "randn_like": lambda: T.randn_like(x),
        "empty": lambda: T.empty(2, 8, 6, 6, memory_format=T.channels_last),
        "double": lambda: x.double(),
        "bfloat16": lambda: x.bfloat16(),
        "bfloat16_relu": lambda: F.relu(x.bfloat16()),
        "to_both": lambda: plain.to(T.float64, memory_format=T.channels_last),
        "contiguous": lambda: x.contiguous(),
        "contiguous_channels_last": lambda: plain.contiguous(memory_format=T.channels_last),
        "permute": lambda: x.permute(0, 2, 3, 1),
        "cat": lambda: T.cat([x, x], 1),
        "conv2d": lambda: F.conv2d(x, w),
        "conv2d_grouped": lambda: F.conv2d(x, w[:, :4], groups=2, padding=1),
        "conv_transpose2d": lambda: F.conv_transpose2d(x, w.permute(1, 0, 2, 3)),
        "max_pool2d": lambda: F.max_pool2d(x, 2),
        "avg_pool2d": lambda: F.avg_pool2d(x, 2),
        "adaptive_avg_pool2d": lambda: F.adaptive_avg_pool2d(x, 2),
        "adaptive_max_pool2d": lambda: F.adaptive_max_pool2d(x, 2),
        "batch_norm": lambda: F.batch_norm(x, T.zeros(8), T.ones(8)),
        "batch_norm_training": lambda: F.batch_norm(x, T.zeros(8), T.ones(8), training=True),
        "group_norm": lambda: F.group_norm(x, 2),
        "dropout": lambda: F.dropout(x),
        "interpolate": lambda: F.interpolate(x, scale_factor=2),
        "pad": lambda: F.pad(x, (1, 1, 1, 1)),
    }


RANDOM = {"empty", "empty_like", "randn_like", "dropout"}


@pytest.mark.parametrize("name", list(calls(pl)))
def test_strides_and_values_are_those_of_torch(name):
    torch = pytest.importorskip("torch")
    expected, result = calls(torch)[name](), calls(pl)[name]()
    assert tuple(result.stride()) == tuple(expected.stride())
    if name not in RANDOM:
        # bfloat16 has no NumPy type in torch
        np.testing.assert_allclose(result.double().numpy(), expected.double().numpy(), rtol=1e-5, atol=1e-5)


def test_is_contiguous_of_a_format():
    x = pl.tensor(IMAGES)
    y = x.to(memory_format=pl.channels_last)
    assert x.is_contiguous() and not x.is_contiguous(memory_format=pl.channels_last)
    assert not y.is_contiguous() and y.is_contiguous(memory_format=pl.channels_last)
    assert x[:, :1].contiguous().is_contiguous(memory_format=pl.channels_last)  # one channel fits both
    assert not x[0].is_contiguous(memory_format=pl.channels_last)
    assert y.to(memory_format=pl.channels_last) is y and x.contiguous() is x
    volume = pl.randn(1, 2, 3, 4, 5).contiguous(memory_format=pl.channels_last_3d)
    assert volume.stride() == (120, 1, 40, 10, 2) and volume.is_contiguous(memory_format=pl.channels_last_3d)
    with pytest.raises(ShapeError, match=r"channels_last: expected 4 dimensions, came shape \(8, 6, 6\)"):
        x[0].to(memory_format=pl.channels_last)


def network():
    return pl.nn.Sequential(
        pl.nn.Conv2d(8, 4, 3), pl.nn.BatchNorm2d(4), pl.nn.ReLU(), pl.nn.MaxPool2d(2), pl.nn.Flatten(), pl.nn.Linear(16, 3)
    )


def test_a_module_in_channels_last_trains_the_same():
    pl.manual_seed(0)
    plain = network()
    laid_out = network()
    laid_out.load_state_dict(plain.state_dict())
    assert laid_out.to(memory_format=pl.channels_last) is laid_out
    assert laid_out[0].weight.is_contiguous(memory_format=pl.channels_last) and laid_out[5].weight.is_contiguous()
    x = pl.tensor(IMAGES, requires_grad=True)
    y = pl.tensor(IMAGES).to(memory_format=pl.channels_last).requires_grad_()
    assert laid_out[:3](y).is_contiguous(memory_format=pl.channels_last)
    for model, batch in ((plain, x), (laid_out, y)):
        optimizer = pl.optim.SGD(model.parameters(), lr=0.001)  # AdamW would blow up the rounding of the useless bias
        for _ in range(3):
            optimizer.zero_grad()
            model(batch).square().sum().backward()
            optimizer.step()
    np.testing.assert_allclose(y.grad.numpy(), x.grad.numpy(), rtol=1e-4, atol=1e-5)
    for a, b in zip(plain.parameters(), laid_out.parameters(), strict=True):
        np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_traces_see_no_format():
    from penlight.tracing import trace

    model = pl.nn.Conv2d(8, 4, 3)
    graph = trace(model, (pl.tensor(IMAGES).to(memory_format=pl.channels_last),))
    assert [node.operator.name for node in graph.nodes] == ["conv2d"]
