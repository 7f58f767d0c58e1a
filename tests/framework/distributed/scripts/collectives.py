# SPDX-License-Identifier: Apache-2.0
"""Every collective, dtype, operation and shape, against NumPy; each rank knows what the others hold."""

import numpy as np

import penlight as pl
from penlight import distributed as dist
from penlight.dtype import ALL
from penlight.errors import ArgumentError, DistributedError, DTypeError, ShapeError

SHAPES = [(), (2, 0, 4), (3, 343)]
UFUNCS = {"sum": np.add, "product": np.multiply, "min": np.minimum, "max": np.maximum}

dist.init_process_group("mpi")
rank, size = dist.get_rank(), dist.get_world_size()
assert (size, dist.is_initialized(), dist.is_launched()) == (2, True, True)


def values(dtype, shape, r, salt=0):
    """What rank `r` holds; small whole numbers, so that each dtype is exact."""
    generator = np.random.default_rng([r, salt, len(shape)])
    return generator.integers(0, 4, shape).astype(dtype.numpy)


def same(t, expected):
    assert t.numpy().dtype == expected.dtype and t.shape == expected.shape, (t, expected)
    assert t.numpy().tobytes() == np.ascontiguousarray(expected).tobytes(), (t, expected)


def operations_of(dtype):
    operations = ["sum", "product"] if dtype.kind == 3 else list(UFUNCS)
    return operations + (["avg"] if dtype.kind >= 2 else [])


def reduced(arrays, operation, dtype):
    if operation == "avg":
        return (reduced(arrays, "sum", dtype) / dtype.numpy.type(size)).astype(dtype.numpy)
    return np.asarray(UFUNCS[operation](*arrays)).astype(dtype.numpy)


for dtype in ALL:
    for shape in SHAPES:
        everyone = [values(dtype, shape, r) for r in range(size)]
        for operation in operations_of(dtype):
            t = pl.tensor(everyone[rank])
            dist.all_reduce(t, operation if rank else dist.ReduceOp(operation))
            same(t, reduced(everyone, operation, dtype))
            rows = [[values(dtype, shape, r, salt) for salt in range(size)] for r in range(size)]
            t = pl.tensor(everyone[rank])
            dist.reduce_scatter(t, [pl.tensor(row) for row in rows[rank]], operation)
            same(t, reduced([row[rank] for row in rows], operation, dtype))
        for src in range(size):
            t = pl.tensor(everyone[rank])
            dist.broadcast(t, src)
            same(t, everyone[src])
        parts = [pl.zeros(shape, dtype=dtype) for _ in range(size)]
        dist.all_gather(parts, pl.tensor(everyone[rank]))
        for part, expected in zip(parts, everyone, strict=True):
            same(part, expected)

# A view that is not contiguous is written in place; the base sees it, and the version counts.
base = pl.full((4, 6), rank + 1.0)
before = base.version
dist.all_reduce(base[:, ::2])
assert base[:, ::2].tolist() == [[3.0] * 3] * 4 and base[:, 1::2].tolist() == [[rank + 1.0] * 3] * 4 and base.version > before
# Halves are added in float32 and rounded once.
t = pl.tensor([1 / 3], dtype=pl.bfloat16)
dist.all_reduce(t, "sum")
assert t.item() == float(np.float32(2 * np.float32(t.numpy().dtype.type(1 / 3))))


def refuses(kind, words, call):
    try:
        call()
    except kind as error:
        assert words in str(error), str(error)
        return
    raise AssertionError(f"nothing raised where {kind.__name__} was expected")


refuses(DistributedError, "rank 1 came with all_reduce(sum) of float32 (3, 4), rank 0 with all_reduce(sum) of float32 (4, 3)",
        lambda: dist.all_reduce(pl.ones(4 - rank, 3 + rank)))  # fmt: skip
kind = (pl.float32, pl.float64)[rank]
refuses(
    DistributedError, "all_gather of float64 (2,)", lambda: dist.all_gather([pl.ones(2, dtype=kind)] * 2, pl.ones(2, dtype=kind))
)
refuses(DistributedError, "rank 1 came with barrier", lambda: dist.barrier() if rank else dist.all_reduce(pl.ones(1)))
refuses(ArgumentError, "0..1, came 2", lambda: dist.broadcast(pl.ones(1), 2))
refuses(ArgumentError, "one of sum", lambda: dist.all_reduce(pl.ones(1), "mean"))
refuses(DTypeError, "floating-point", lambda: dist.all_reduce(pl.ones(1, dtype=pl.int32), dist.ReduceOp.AVG))
refuses(DTypeError, "no min", lambda: dist.all_reduce(pl.ones(1, dtype=pl.complex64), "min"))
refuses(ShapeError, "list of 2 tensors", lambda: dist.all_gather([pl.ones(1)], pl.ones(1)))
refuses(ShapeError, "list[1] has (3,)", lambda: dist.reduce_scatter(pl.ones(2), [pl.ones(2), pl.ones(3)]))
refuses(DistributedError, "called before", dist.init_process_group)
assert dist.largest_over_ranks(rank * 7) == 7
dist.barrier()
dist.destroy_process_group()
refuses(DistributedError, "init_process_group() first", lambda: dist.all_reduce(pl.ones(1)))
print(f"rank {rank} checked {len(ALL)} dtypes")
