# SPDX-License-Identifier: Apache-2.0
"""DistributedSampler: each sample once, the batches of one process, resume at any batch."""

import numpy as np
import pytest

from penlight.data import DataLoader, TensorDataset
from penlight.data.sampler import RandomSampler
from penlight.distributed import DistributedSampler
from penlight.errors import ArgumentError


def parts(size, ranks, epoch=0, **options):
    samplers = [DistributedSampler(range(size), ranks, rank, **options) for rank in range(ranks)]
    orders = [sampler.order(epoch) for sampler in samplers]
    assert [len(order) for order in orders] == [len(sampler) for sampler in samplers]
    return orders


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("size", "ranks"), [(12, 2), (12, 3), (13, 2), (13, 5), (3, 4), (1, 2), (0, 2)])
def test_every_sample_comes_exactly_once(size, ranks, shuffle):
    orders = parts(size, ranks, shuffle=shuffle, seed=3, pad=False)
    assert sorted(np.concatenate(orders).tolist()) == list(range(size))
    assert max(map(len, orders)) - min(map(len, orders)) <= 1


@pytest.mark.parametrize(("size", "ranks"), [(12, 3), (13, 2), (13, 5), (3, 4), (0, 2)])
def test_padding_and_dropping_give_equal_parts(size, ranks):
    padded = np.concatenate(parts(size, ranks, seed=1))
    assert set(padded.tolist()) == set(range(size)) and len(padded) == -(-size // ranks) * ranks
    dropped = np.concatenate(parts(size, ranks, seed=1, drop_last=True)).tolist()
    assert len(set(dropped)) == len(dropped) == size // ranks * ranks


def test_batches_of_all_ranks_are_those_of_one_process():
    data = TensorDataset(np.arange(64))
    alone = DataLoader(data, 8, shuffle=True, seed=5)
    loaders = [DataLoader(data, 4, sampler=DistributedSampler(data, 2, rank, seed=5), seed=5) for rank in range(2)]
    for epoch in range(3):
        for whole, *shares in zip(alone, *loaders, strict=True):
            together = np.stack([share[0].numpy() for share in shares], axis=1).reshape(-1)
            assert together.tolist() == whole[0].numpy().tolist(), epoch
    assert not np.array_equal(loaders[0].sampler.order(0), loaders[0].sampler.order(1))
    assert np.array_equal(loaders[1].sampler.order(7), RandomSampler(64, seed=5).order(7)[1::2])


def test_a_loader_resumes_in_the_middle_of_an_epoch():
    data = TensorDataset(np.arange(50))

    def loader():
        return DataLoader(data, 3, sampler=DistributedSampler(data, 2, 1, seed=2), seed=2)

    first = loader()
    list(first)
    batches = iter(first)
    for _ in range(4):
        next(batches)
    state = first.state_dict()
    rest = [batch[0].tolist() for batch in batches]
    second = loader()
    second.load_state_dict(state)
    assert [batch[0].tolist() for batch in second] == rest and len(rest) == 5


def test_impossible_rank():
    with pytest.raises(ArgumentError, match="came 2 and 2"):
        DistributedSampler(range(3), 2, 2)
