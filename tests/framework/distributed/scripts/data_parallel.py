# SPDX-License-Identifier: Apache-2.0
"""Trains the case on two ranks, deterministic or not; rank 0 saves the weights. Checks what only ranks can see."""

import sys
from pathlib import Path

import numpy as np
from data_parallel_case import STEPS, Net, gradients_alone, loss_of, new_net, new_optimizer

import penlight as pl
from penlight import distributed as dist
from penlight import nn
from penlight.errors import DistributedError

folder = Path(sys.argv[1])
dist.init_process_group("mpi")
rank = dist.get_rank()


def train(deterministic):
    """Starts from other weights on rank 1: those of rank 0 must win. Small buckets, so that there are several."""
    model = new_net(seed=rank)
    model.scale += rank
    parallel = dist.DistributedDataParallel(model, bucket_cap_mb=0.005, deterministic=deterministic)
    assert model.scale.item() == 0.5 and len(parallel._buckets) >= 4
    optimizer = new_optimizer(parallel)
    for step in range(STEPS):
        optimizer.zero_grad()
        model.scale[...] = 0.5 + rank  # a running statistic that drifts apart; rank 0 is followed in the forward
        loss_of(parallel, step, rank).backward()
        optimizer.step()
    assert model.never.weight.grad is None
    assert list(parallel.state_dict()) == [f"module.{name}" for name in model.state_dict()]
    dist.save_checkpoint(folder / ("ordered" if deterministic else "free"), parallel, optimizer, step=STEPS)
    other = dist.DistributedDataParallel(Net())
    assert dist.load_checkpoint(folder / ("ordered" if deterministic else "free"), other).step == STEPS
    for mine, theirs in zip(other.parameters(), parallel.parameters(), strict=True):
        assert np.array_equal(mine.numpy(force=True), theirs.numpy(force=True))
    return parallel


for deterministic in (True, False):
    model = train(deterministic)
    # Every rank has the same weights.
    for parameter in model.parameters():
        parts = [pl.zeros_like(parameter) for _ in range(2)]
        dist.all_gather(parts, parameter.detach())
        assert np.array_equal(parts[0].numpy(), parts[1].numpy())

# Buckets leave while backward goes on, once the first pass has shown how often each parameter is used.
parallel = dist.DistributedDataParallel(new_net(), bucket_cap_mb=0.001, deterministic=True)
left = []
parallel.module.conv.weight.register_hook(lambda gradient: left.append(parallel._next))
for _ in range(2):
    parallel.zero_grad()
    loss_of(parallel, 1, rank).backward()
assert left[0] == 0 < left[1], left

# no_sync keeps gradients here; the next backward averages the sums.
alone = new_net()
expected = gradients_alone(alone, 1)
parallel.zero_grad()
with parallel.no_sync():
    loss_of(parallel, 1, rank).backward()
loss_of(alone, 1, rank)
alone.zero_grad()
loss_of(alone, 1, rank).backward()
assert np.array_equal(parallel.module.head.weight.grad.numpy(), alone.head.weight.grad.numpy())
loss_of(parallel, 1, rank).backward()
assert np.allclose(parallel.module.head.weight.grad.numpy(), 2 * expected["head.weight"], rtol=1e-6, atol=1e-7)

# A backward that raises half-way on all ranks leaves nothing behind.
fails = parallel.module.conv.weight.register_hook(lambda gradient: 1 / 0)
try:
    loss_of(parallel, 1, rank).backward()
except ZeroDivisionError:
    fails()
dist.barrier()
fresh = dist.DistributedDataParallel(new_net(), deterministic=True)
fresh.zero_grad()
loss_of(fresh, 1, rank).backward()
assert all(np.array_equal(p.grad.numpy(), expected[name]) for name, p in fresh.module.named_parameters() if name in expected)


def refused(call):
    """The message of the error that a call must raise."""
    try:
        call()
    except (DistributedError, OSError) as error:
        return str(error)
    raise AssertionError("nothing raised")


message = refused(lambda: dist.DistributedDataParallel(nn.Linear(3 + rank, 2)))
assert "rank 1 came with DistributedDataParallel of weight float32 (2, 4), rank 0 with" in message, message
message = refused(lambda: dist.save_checkpoint("/dev/null/x", alone))
assert ("/dev/null", "rank 0 could not save it")[rank] in message, message
print("ok")
