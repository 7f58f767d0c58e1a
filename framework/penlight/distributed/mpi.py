# SPDX-License-Identifier: Apache-2.0
"""MPI through mpi4py: collectives on NumPy arrays.

Every array is contiguous when it comes here. Values travel as bytes wherever nothing is computed with them, so that each
dtype passes, also those that MPI does not know.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.errors import DistributedError, DistributedMissingError

INSTALL = "pip install 'penlight[mpi]'"
HEADER_BYTES = 256
_REDUCED_BY_MPI = frozenset("bhilqBHILQfdFD")  # dtype characters; bool, float16 and bfloat16 are gathered and reduced here


class Work:
    """A collective that runs while the caller goes on; `wait()` returns the array with the result."""

    def __init__(self, request: Any, result: Any) -> None:
        self.request, self.result = request, result

    def advance(self) -> None:
        """Lets MPI move data; without a call now and then most MPI libraries make no progress."""
        if self.request is not None:
            self.request.Test()

    def wait(self) -> Any:
        """The result, when it is there."""
        if self.request is not None:
            self.request.Wait()
            self.request = None
        return self.result


def load_mpi() -> Any:
    """The `mpi4py.MPI` module; importing it starts MPI.

    Raises:
        DistributedMissingError: mpi4py or the MPI library is not there.
    """
    try:
        from mpi4py import MPI  # optional: the extra `mpi`
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py is there and finds no libmpi
        raise DistributedMissingError(f"distributed: MPI does not load ({error}); run {INSTALL}") from error
    return MPI


class MpiEngine:
    """The ranks of one MPI job.

    Attributes:
        rank, size: this process, and how many there are.
        device: the kind of tensors that it takes.
    """

    name, device = "mpi", "cpu"

    def __init__(self) -> None:
        self.mpi = load_mpi()
        self.world = self.mpi.COMM_WORLD.Dup()  # messages of the user's own MPI calls never meet ours
        self.rank: int = self.world.Get_rank()
        self.size: int = self.world.Get_size()

    def close(self) -> None:
        """Frees the communicator."""
        self.world.Free()

    def abort(self, exit_code: int) -> None:
        """Ends all ranks."""
        self.world.Abort(exit_code)

    # Small messages on the host

    def barrier(self) -> None:
        """Waits until all ranks are here."""
        self.world.Barrier()

    def exchange_text(self, text: str) -> list[str]:
        """The texts of all ranks in their order; what is longer than a header is cut."""
        mine = np.zeros(HEADER_BYTES, np.uint8)
        data = np.frombuffer(text.encode()[:HEADER_BYTES], np.uint8)
        mine[: data.size] = data
        everyone = np.empty((self.size, HEADER_BYTES), np.uint8)
        self.world.Allgather(mine, everyone)
        return [bytes(line).rstrip(b"\0").decode(errors="replace") for line in everyone]

    def largest(self, values: np.ndarray) -> np.ndarray:
        """The elementwise maximum over the ranks of a small integer array."""
        result = np.ascontiguousarray(values, np.int64).copy()
        self.world.Allreduce(self.mpi.IN_PLACE, result, self.mpi.MAX)
        return result

    def check_same(self, call: str, description: str) -> None:
        """Raises DistributedError on all ranks where one comes with another call, dtype or shape than rank 0.

        The message names the first such rank.
        """
        if self.size == 1:
            return
        came = self.exchange_text(f"{call} of {description}")
        for rank, other in enumerate(came):
            if other != came[0]:
                raise DistributedError(
                    f"{call}: rank {rank} came with {other}, rank 0 with {came[0]}; "
                    "all ranks make the same calls in the same order, with the same shapes and dtypes"
                )

    # Arrays

    def broadcast(self, array: Any, src: int) -> None:
        """Overwrites the array with that of rank `src`."""
        self.world.Bcast(as_bytes(array), src)

    def all_gather(self, array: Any) -> Any:
        """The arrays of all ranks, stacked in their order."""
        return self.start_all_gather(array).wait()

    def all_reduce(self, array: Any, operation: str) -> None:
        """Reduces over the ranks into the array, in place; `operation` is sum, product, min or max."""
        self.start_all_reduce(array, operation).wait()

    def start_all_gather(self, array: Any) -> Work:
        """Begins to gather; the result is (ranks, *shape)."""
        result = np.empty((self.size, *array.shape), array.dtype)
        return Work(self.world.Iallgather(as_bytes(array), as_bytes(result)), result)

    def start_all_reduce(self, array: Any, operation: str) -> Work:
        """Begins to reduce in place."""
        if array.dtype.char not in _REDUCED_BY_MPI:
            array[...] = reduce_in_order(self.all_gather(array), operation)
            return Work(None, array)
        named = {"sum": self.mpi.SUM, "product": self.mpi.PROD, "min": self.mpi.MIN, "max": self.mpi.MAX}[operation]
        return Work(self.world.Iallreduce(self.mpi.IN_PLACE, array.reshape(-1), named), array)


def as_bytes(array: np.ndarray) -> np.ndarray:
    """The memory of a contiguous array as uint8, shared."""
    return array.reshape(-1).view(np.uint8)


_UFUNCS = {"sum": np.add, "product": np.multiply, "min": np.minimum, "max": np.maximum}


def reduce_in_order(stacked: Any, operation: str) -> Any:
    """Reduces (ranks, ...) over the first axis, rank after rank: ((g0 + g1) + g2) + ...

    The order never changes, so neither does the result. Halves are added in float32 and rounded once at the end.
    """
    wide = stacked.dtype.itemsize == 2 and stacked.dtype.kind not in "iu"  # float16 and bfloat16 (kind V)
    total = stacked[:1].astype("float32" if wide else stacked.dtype)  # slices: an index would make scalars of 0-dim rows
    for rank in range(1, len(stacked)):
        _UFUNCS[operation](total, stacked[rank : rank + 1].astype(total.dtype, copy=False), out=total)
    return total.astype(stacked.dtype, copy=False).reshape(stacked.shape[1:])
