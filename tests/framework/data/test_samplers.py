# SPDX-License-Identifier: Apache-2.0
"""Samplers, data sets made of others, and the loader's arguments that PyTorch has."""

import numpy as np
import pytest
from data_sets import Count, Squares

import penlight as pl
from penlight.data import (
    BatchSampler,
    ChainDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)
from penlight.errors import DataError


def labels(loader) -> list[list[int]]:
    return [batch[1].numpy().tolist() for batch in loader]


def test_samplers_take_a_data_set_or_its_size():
    assert list(SequentialSampler(Squares(3))) == list(SequentialSampler(3)) == [0, 1, 2]
    assert list(RandomSampler(Squares(9), seed=2)) == list(RandomSampler(9, seed=2))


@pytest.mark.parametrize(("count", "replacement"), [(3, False), (10, False), (25, False), (25, True), (0, False)])
def test_random_sampler_draws_as_many_as_asked(count, replacement):
    sampler = RandomSampler(10, replacement, count)
    order = sampler.order(1)
    assert len(sampler) == len(order) == count
    if not replacement:
        for first in range(0, count, 10):
            part = order[first : first + 10]
            assert len(set(part.tolist())) == len(part)
    assert not np.array_equal(order, sampler.order(2)) or not count


def test_a_generator_stands_for_its_seed():
    def generator():
        return pl.Generator(7)

    assert list(RandomSampler(20, generator=generator())) == list(RandomSampler(20, seed=7))
    assert list(SubsetRandomSampler([3, 1, 4], generator())) == list(SubsetRandomSampler([3, 1, 4], seed=7))
    weights = np.arange(5)
    assert list(WeightedRandomSampler(weights, 9, generator=generator())) == list(WeightedRandomSampler(weights, 9, seed=7))
    split = [part.indices.tolist() for part in random_split(Squares(10), [0.5, 0.5], generator())]
    assert split == [part.indices.tolist() for part in random_split(Squares(10), [0.5, 0.5], seed=7)]
    loader = DataLoader(Squares(10), 5, shuffle=True, generator=generator())
    assert labels(loader) == labels(DataLoader(Squares(10), 5, shuffle=True, seed=7))


def test_subset_random_sampler():
    sampler = SubsetRandomSampler([5, 2, 9], seed=1)
    assert sorted(sampler.order(0)) == [2, 5, 9]
    assert len({tuple(sampler.order(epoch)) for epoch in range(20)}) > 1


@pytest.mark.parametrize("workers", [0, 2])
def test_batch_sampler(workers):
    options = {"num_workers": workers, "multiprocessing_context": "fork"}
    sampler = BatchSampler(RandomSampler(10, seed=3), 4, drop_last=False)
    loader = DataLoader(Squares(10), batch_sampler=sampler, seed=3, **options)
    plain = DataLoader(Squares(10), 4, shuffle=True, seed=3)
    assert len(loader) == 3
    assert [labels(loader) for _ in range(2)] == [labels(plain) for _ in range(2)]
    assert list(BatchSampler(range(5), 2, drop_last=True)) == [[0, 1], [2, 3]]
    ragged = DataLoader(Squares(10), batch_sampler=[[1], [2, 3, 4], [5, 6]], **options)
    assert labels(ragged) == [[1], [2, 3, 4], [5, 6]]
    ragged.load_state_dict(ragged.state_dict() | {"epoch": 0, "position": 1})
    assert labels(ragged) == [[2, 3, 4], [5, 6]]


def test_set_epoch_of_the_sampler_as_in_pytorch():
    sampler = RandomSampler(12, seed=1)
    loader = DataLoader(Squares(12), 12, sampler=sampler, seed=1)
    for epoch in (4, 0):
        sampler.set_epoch(epoch)
        assert labels(loader) == [sampler.order(epoch).tolist()]
        assert loader.state_dict()["epoch"] == epoch + 1
    sampler.set_epoch(4)
    assert list(sampler) == sampler.order(4).tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_single_items_without_batches(workers):
    loader = DataLoader(Squares(3), batch_size=None, num_workers=workers, multiprocessing_context="fork")
    items = list(loader)
    assert len(loader) == 3
    assert [(x.shape, x.item(), y) for x, y in items] == [((1,), 0.0, 0), ((1,), 1.0, 1), ((1,), 4.0, 2)]
    assert isinstance(items[0][0], pl.Tensor)
    assert list(DataLoader(Count(3), batch_size=None)) == [0, 1, 2]


class Whole(Dataset):
    """Reads batches in one call, as PyTorch's data sets may."""

    def __len__(self) -> int:
        return 5

    def __getitems__(self, indices: list[int]) -> list[int]:
        return [10 * index for index in indices]


def test_getitems_reads_a_batch_at_once():
    assert [batch.numpy().tolist() for batch in DataLoader(Whole(), 2)] == [[0, 10], [20, 30], [40]]


def test_stack_chain_and_subset():
    images, names = np.arange(6.0).reshape(3, 2), ["a", "b", "c"]
    assert StackDataset(images, names)[1][1] == "b"
    batch = next(iter(DataLoader(StackDataset(image=images, name=names), 2)))
    assert batch["name"] == ["a", "b"]
    assert batch["image"].numpy().tolist() == [[0, 1], [2, 3]]
    with pytest.raises(DataError, match=r"one length, got lengths \[3, 2\]"):
        StackDataset(images, names[:2])
    with pytest.raises(DataError, match="either"):
        StackDataset(images, name=names)
    chained = Count(2) + Count(3)
    assert isinstance(chained, ChainDataset)
    loader = DataLoader(chained, 4)
    assert [batch.numpy().tolist() for batch in loader] == [[0, 1, 0, 1], [2]]
    assert [batch.numpy().tolist() for batch in loader] == [[100, 101, 100, 101], [102]]
    rows = Subset(TensorDataset(np.arange(10)), [7, 3, 5])
    assert [batch[0].numpy().tolist() for batch in DataLoader(rows, 2)] == [[7, 3], [5]]
    assert labels(DataLoader(Subset(Squares(10), [7, 3, 5]), 2)) == [[7, 3], [5]]


@pytest.mark.parametrize(
    "options",
    [
        {"worker_kind": "fibre"},
        {"persistent_workers": True},
        {"timeout": -1},
        {"prefetch_factor": 0},
        {"batch_sampler": [[0]], "batch_size": 2},
        {"batch_sampler": [[0]], "shuffle": True},
    ],
)
def test_bad_arguments(options):
    with pytest.raises(ValueError, match="DataLoader"):
        DataLoader(Squares(4), **options)


def test_pinning_is_accepted():
    assert labels(DataLoader(Squares(2), 2, pin_memory=True, pin_memory_device="cuda")) == [[0, 1]]
