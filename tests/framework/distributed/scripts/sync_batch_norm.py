# SPDX-License-Identifier: Apache-2.0
"""SyncBatchNorm on two ranks with batches of different sizes, against BatchNorm on both batches in one process."""

import functools

import numpy as np

import penlight as pl
from penlight import distributed as dist
from penlight import nn

dist.init_process_group("mpi")
rank = dist.get_rank()
rng = np.random.default_rng(0)
FIRST = 3  # samples of rank 0; rank 1 has the rest
PART = slice(0, FIRST) if rank == 0 else slice(FIRST, None)


def summed(t):
    total = t.detach().clone()
    dist.all_reduce(total)
    return total.numpy()


def check(shape, kind, dtype, momentum=0.1, tolerance=1e-12):
    close = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance * 10)
    data, factors = (rng.normal(2.0, 3.0, size=shape) for _ in range(2))
    alone = kind(shape[1], momentum=momentum).to(dtype)
    alone.weight.data.copy_(pl.tensor(rng.normal(size=shape[1])))
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.Identity(), kind(shape[1], momentum=momentum).to(dtype)))
    assert isinstance(synced[1], nn.SyncBatchNorm)
    synced[1].load_state_dict(alone.state_dict())
    for step in range(2):
        whole, part = (pl.tensor(d).to(dtype).requires_grad_() for d in (data + step, data[PART] + step))
        (alone(whole) * pl.tensor(factors).to(dtype)).sum().backward()
        y = synced(part)
        assert y.dtype is dtype and y.shape == part.shape
        (y * pl.tensor(factors[PART]).to(dtype)).sum().backward()
        close(part.grad.numpy(), whole.grad.numpy()[PART])
    for name, parameter in alone.named_parameters():
        close(summed(getattr(synced[1], name).grad), parameter.grad.numpy())
    for name, value in alone.state_dict().items():
        close(synced[1].state_dict()[name].numpy(), value.numpy())
    alone.eval()
    synced.eval()
    close(synced(part).detach().numpy(), alone(whole).detach().numpy()[PART])


check((8, 4, 5, 6), nn.BatchNorm2d, pl.float64)
check((8, 4), nn.BatchNorm1d, pl.float64, momentum=None)
check((7, 3, 2), nn.BatchNorm1d, pl.float32, tolerance=2e-5)

# One sample on each rank is enough, and a wrapped model trains with the same weights on both.
model = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)))
parallel = dist.DistributedDataParallel(model)
optimizer = pl.optim.SGD(parallel.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    parallel(pl.tensor(rng.normal(size=(2, 4)).astype(np.float32)[rank : rank + 1])).sum().backward()
    optimizer.step()
for name, value in model.state_dict().items():
    parts = [pl.zeros_like(value) for _ in range(2)]
    dist.all_gather(parts, value.detach())
    assert np.array_equal(parts[0].numpy(), parts[1].numpy()), name
print(f"rank {rank} agrees")
