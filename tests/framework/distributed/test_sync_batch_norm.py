# SPDX-License-Identifier: Apache-2.0
"""SyncBatchNorm: alone it is batch norm, in two ranks it is batch norm over both."""

import numpy as np
import pytest
from ranks import require_mpi, two_ranks

import penlight as pl
from penlight import nn


def test_two_ranks_normalise_as_one():
    require_mpi()
    outcome = two_ranks("sync_batch_norm.py")
    assert outcome.code == 0, outcome.out + outcome.err
    assert sorted(outcome.out.split("\n"))[1:] == ["rank 0 agrees", "rank 1 agrees"]


def test_alone_it_is_batch_norm():
    x = pl.tensor(np.random.default_rng(0).normal(size=(4, 3, 2)))
    plain, synced = nn.BatchNorm1d(3).double(), nn.SyncBatchNorm(3).double()
    np.testing.assert_array_equal(plain(x).detach().numpy(), synced(x).detach().numpy())
    assert list(plain.state_dict()) == list(synced.state_dict())
    np.testing.assert_array_equal(plain.running_var.numpy(), synced.running_var.numpy())
    with pytest.raises(ValueError, match=r"SyncBatchNorm: expected a 2-dim or .* with 3 channels, got \(4, 2\)"):
        synced(pl.ones(4, 2))


def test_conversion_keeps_parameters_and_mode():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, eps=1e-3, momentum=None), nn.Sequential(nn.BatchNorm2d(2, affine=False))
    )
    held = dict(model.named_parameters())
    model.eval()
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert converted is model and isinstance(model[1], nn.SyncBatchNorm) and isinstance(model[2][0], nn.SyncBatchNorm)
    assert {name: id(p) for name, p in model.named_parameters()} == {name: id(p) for name, p in held.items()}
    assert model[1].eps == 1e-3 and model[1].momentum is None and not model[1].training and model[2][0].weight is None
    assert isinstance(nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm1d(3)), nn.SyncBatchNorm)
