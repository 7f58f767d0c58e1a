# SPDX-License-Identifier: Apache-2.0
"""NCCL through CuPy: collectives on CUDA arrays. MPI starts the group and carries the small checks on the host.

Each rank takes one device: its number on its own machine. Collectives run on a stream of their own, ordered by events
against the stream that computes, so that a bucket travels while backward goes on.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from penlight.distributed.mpi import MpiEngine, Work, reduce_in_order
from penlight.errors import DeviceError, DistributedMissingError

INSTALL = "pip install 'penlight[cuda13,mpi]' nvidia-nccl-cu13"
# Names of the constants in cupy.cuda.nccl, by dtype name; complex numbers are summed as pairs of reals.
DATATYPES = {
    "bool": "UINT8", "uint8": "UINT8", "int8": "INT8", "int32": "INT32", "uint32": "UINT32", "int64": "INT64",
    "uint64": "UINT64", "float16": "FLOAT16", "bfloat16": "BFLOAT16", "float32": "FLOAT32", "float64": "FLOAT64",
}  # fmt: skip
ID_BYTES = 128  # NCCL_UNIQUE_ID_BYTES
OPERATIONS = {"sum": "SUM", "product": "PROD", "min": "MIN", "max": "MAX"}


class NcclWork(Work):
    """A collective on the side stream; waiting for it makes the computing stream wait, not the host."""

    def __init__(self, event: Any, result: Any, source: Any) -> None:
        super().__init__(None, result)
        self.event, self.source = event, source  # the source lives as long, or the pool would give its memory away

    def wait(self) -> Any:
        import cupy

        cupy.cuda.get_current_stream().wait_event(self.event)
        return self.result


class NcclEngine(MpiEngine):
    """The ranks of one job, each with a CUDA device."""

    name, device = "nccl", "cuda"

    def __init__(self) -> None:
        self.nccl = _load_nccl()
        super().__init__()
        import cupy

        cupy.cuda.Device(self._local_device(cupy.cuda.runtime.getDeviceCount())).use()
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.communicator = self.nccl.NcclCommunicator(self.size, self._shared_id(), self.rank)

    def _shared_id(self) -> Any:
        """The id that rank 0 draws: bytes, in older releases of CuPy a tuple of small integers."""
        own: Any = self.nccl.get_unique_id() if self.rank == 0 else b""
        shared = np.zeros(1 + ID_BYTES, np.int64)
        shared[0] = isinstance(own, bytes) and bool(own)
        shared[1 : 1 + len(own)] = list(own)
        self.world.Bcast(shared, 0)
        return bytes(shared[1:].tolist()) if shared[0] else tuple(shared[1:].tolist())

    def _local_device(self, count: int) -> int:
        local = self.world.Split_type(self.mpi.COMM_TYPE_SHARED)
        index, ranks = local.Get_rank(), local.Get_size()
        local.Free()
        index = int(os.environ.get("LOCAL_RANK", index))
        if not index < count:
            raise DeviceError(
                f"init_process_group: {ranks} ranks on this machine need one CUDA device each, it has {count}; "
                'launch fewer, or use backend="mpi"'
            )
        return index

    def close(self) -> None:
        """Frees both communicators."""
        self.communicator.destroy()
        super().close()

    def _launch(self, collective: Any, result: Any, source: Any = None) -> NcclWork:
        """Runs `collective(stream pointer)` after what the computing stream has queued."""
        import cupy

        self.stream.wait_event(cupy.cuda.get_current_stream().record())
        collective(self.stream.ptr)
        return NcclWork(self.stream.record(), result, source)

    def _type_and_count(self, array: Any) -> tuple[int, int]:
        if array.dtype.kind == "c":
            return self._constant("FLOAT32" if array.dtype.itemsize == 8 else "FLOAT64"), 2 * array.size
        return self._constant(DATATYPES[array.dtype.name]), array.size

    def _constant(self, name: str) -> int:
        return getattr(self.nccl, f"NCCL_{name}")

    def broadcast(self, array: Any, src: int) -> None:
        """Overwrites the array with that of rank `src`; it travels as bytes."""
        kind, pointer, size = self._constant("UINT8"), array.data.ptr, array.nbytes
        self._launch(lambda stream: self.communicator.broadcast(pointer, pointer, size, kind, src, stream), array).wait()

    def start_all_gather(self, array: Any) -> Work:
        """Begins to gather; the result is (ranks, *shape)."""
        import cupy

        result = cupy.empty((self.size, *array.shape), array.dtype)
        kind, source, target, size = self._constant("UINT8"), array.data.ptr, result.data.ptr, array.nbytes
        return self._launch(lambda stream: self.communicator.allGather(source, target, size, kind, stream), result, array)

    def start_all_reduce(self, array: Any, operation: str) -> Work:
        """Begins to reduce in place; what NCCL cannot add (bool, 16-bit integers) is gathered and reduced here."""
        name = array.dtype.name
        if array.dtype.kind == "b" or (array.dtype.kind != "c" and name not in DATATYPES):
            array[...] = reduce_in_order(self.all_gather(array), operation)
            return Work(None, array)
        (kind, count), pointer, code = self._type_and_count(array), array.data.ptr, self._constant(OPERATIONS[operation])
        return self._launch(lambda stream: self.communicator.allReduce(pointer, pointer, count, kind, code, stream), array)


def _load_nccl() -> Any:
    try:
        from cupy.cuda import nccl  # optional: the extra `cuda13`
    except ImportError as error:
        raise DistributedMissingError(f"distributed: NCCL does not load ({error}); run {INSTALL}") from error
    if not getattr(nccl, "available", False):
        raise DistributedMissingError(f"distributed: CuPy finds no NCCL library; run {INSTALL}")
    return nccl
