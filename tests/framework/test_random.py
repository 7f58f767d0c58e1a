# SPDX-License-Identifier: Apache-2.0
"""Generators: reproducible, saved as plain data, and drawn from as documented."""

import json

import numpy as np
import pytest

import penlight as pl
from penlight.errors import ArgumentError
from penlight.nn import functional as F


def test_equal_seeds_give_equal_streams():
    pl.manual_seed(3)
    first = [pl.rand(4), pl.randn(2, 3), pl.randint(0, 9, (5,)), pl.randperm(7), F.dropout(pl.ones(20))]
    pl.manual_seed(3)
    again = [pl.rand(4), pl.randn(2, 3), pl.randint(0, 9, (5,)), pl.randperm(7), F.dropout(pl.ones(20))]
    assert [t.tolist() for t in first] == [t.tolist() for t in again]
    assert pl.rand(4).tolist() != first[0].tolist()


def test_the_stream_of_a_seed_never_changes():
    # Checkpoints of old versions must resume alike: a change here breaks bit-exact resuming.
    generator = pl.Generator(0)
    assert generator.numpy.integers(0, 2**32, 4).tolist() == [582496169, 60417458, 4027530181, 1107101889]


def test_the_state_survives_json():
    generator = pl.Generator(5)
    pl.rand(3, generator=generator)
    state = json.loads(json.dumps(generator.get_state()))
    expected = pl.randn(7, generator=generator).tolist()
    other = pl.Generator(1).set_state(state)
    assert pl.randn(7, generator=other).tolist() == expected and other.initial_seed() == 5
    for broken in ({}, {**state, "counter": "x"}, {**state, "key": [-1, 0]}):
        with pytest.raises(ArgumentError, match="get_state"):
            pl.Generator(1).set_state(broken)


def test_fork_rng_leaves_the_default_generator_alone():
    pl.manual_seed(1)
    with pl.fork_rng():
        pl.rand(100)
    after = pl.rand(3).tolist()
    pl.manual_seed(1)
    assert pl.rand(3).tolist() == after


def test_distributions():
    generator = pl.Generator(0)
    uniform = pl.rand(20000, generator=generator).numpy()
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.01
    normal = pl.randn(20000, generator=generator).numpy()
    assert abs(normal.mean()) < 0.03 and abs(normal.std() - 1) < 0.02
    whole = pl.randint(-2, 3, (1000,), generator=generator)
    assert set(whole.tolist()) == {-2, -1, 0, 1, 2} and whole.dtype is pl.int64
    assert sorted(pl.randperm(50, generator=generator).tolist()) == list(range(50))
    assert abs(pl.bernoulli(pl.full((5000,), 0.3), generator=generator).mean().item() - 0.3) < 0.03
    draws = pl.multinomial(pl.tensor([[0.0, 1.0, 3.0]]), 4000, replacement=True, generator=generator)
    assert draws.shape == (1, 4000) and abs((draws == 2).float().mean().item() - 0.75) < 0.03
    assert sorted(pl.multinomial(pl.ones(5), 5, generator=generator).tolist()) == [0, 1, 2, 3, 4]
    filled = pl.zeros(5000).normal_(2.0, 0.5, generator=generator)
    assert abs(filled.mean().item() - 2) < 0.05


def test_dropout_scales_what_it_keeps():
    x = pl.ones(10000, requires_grad=True)
    y = F.dropout(x, 0.25, generator=pl.Generator(0))
    values = y.detach().numpy()
    assert set(np.unique(values).round(5)) == {0.0, np.float32(1 / 0.75).round(5)} and abs((values == 0).mean() - 0.25) < 0.02
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), values)
    assert F.dropout(x, 0.25, training=False) is x and F.dropout(x, 1.0).sum().item() == 0
    channels = F.dropout2d(pl.ones(4, 8, 3, 3), 0.5, generator=pl.Generator(0)).numpy()
    assert all(len(np.unique(c)) == 1 for image in channels for c in image)


def test_errors():
    with pytest.raises(ArgumentError, match="empty"):
        pl.randint(3, 3, (2,))
    with pytest.raises(ArgumentError, match="positive"):
        pl.multinomial(pl.zeros(3), 1)
    with pytest.raises(ArgumentError, match="without replacement"):
        pl.multinomial(pl.tensor([1.0, 0.0]), 2)
    with pytest.raises(ArgumentError, match="integer"):
        pl.manual_seed(1.5)
