# SPDX-License-Identifier: Apache-2.0
"""The process group: which processes work together, and the engine that moves arrays between them."""

from __future__ import annotations

import importlib.util
import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from penlight.errors import ArgumentError, DistributedError

if TYPE_CHECKING:
    from penlight.distributed.mpi import MpiEngine

BACKENDS = ("mpi", "nccl")

# What mpiexec of MPICH and of Open MPI leaves in the environment of a rank.
_RANK_VARIABLES = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")
_SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")

_engine: MpiEngine | None = None


def init_process_group(backend: str | None = None) -> None:
    """Joins the processes that a launcher started; a process started alone is a group of one.

    Every rank calls it once, before the first collective. From then on an exception that nobody catches in one rank ends
    all of them, since the others would wait for it forever.

    Args:
        backend: "mpi" for tensors on the CPU, "nccl" for tensors on CUDA devices (one per rank; MPI then carries only the
            start-up and small checks), or None: "nccl" where there is a CUDA device, else "mpi".

    Raises:
        ArgumentError: there is no such backend.
        DistributedError: the group was initialised before.
        DistributedMissingError: mpi4py, an MPI library or NCCL is missing; the message holds the line that installs it.

    Example:
        >>> # penlight launch -n 2 script.py
        >>> pl.distributed.init_process_group()  # doctest: +SKIP
        >>> model = pl.distributed.DistributedDataParallel(model)  # doctest: +SKIP
    """
    global _engine
    if _engine is not None:
        raise DistributedError("init_process_group: it was called before; call destroy_process_group() first to start anew")
    _engine = _new_engine(backend)
    if _engine.size > 1 and sys.excepthook is not _end_all_ranks:
        sys.excepthook = _end_all_ranks


def _new_engine(backend: str | None) -> MpiEngine:
    name = backend or _default_backend()
    if name not in BACKENDS:
        raise ArgumentError(f'init_process_group: expected backend "mpi" or "nccl", came {backend!r}')
    # Late imports: a script that trains alone needs neither MPI nor NCCL.
    if name == "nccl":
        from penlight.distributed.nccl import NcclEngine

        return NcclEngine()
    from penlight.distributed.mpi import MpiEngine

    return MpiEngine()


def _default_backend() -> str:
    try:
        import cupy  # optional, and heavy

        return "nccl" if cupy.cuda.runtime.getDeviceCount() else "mpi"
    except Exception:  # not installed, no driver, no device: all mean the CPU
        return "mpi"


def destroy_process_group() -> None:
    """Leaves the group; collectives then raise until `init_process_group` is called again. Does nothing without a group."""
    global _engine
    if _engine is not None:
        _engine.close()
        _engine = None


def engine() -> MpiEngine:
    """The engine of the group.

    Raises:
        DistributedError: there is no group yet.
    """
    if _engine is None:
        raise DistributedError("distributed: there is no process group; call penlight.distributed.init_process_group() first")
    return _engine


def is_available() -> bool:
    """Whether mpi4py, which every backend starts with, is installed."""
    return importlib.util.find_spec("mpi4py") is not None


def is_initialized() -> bool:
    """Whether this process has joined a group."""
    return _engine is not None


def is_launched() -> bool:
    """Whether a launcher (`penlight launch`, mpiexec) started this process as one of several."""
    return any(int(os.environ.get(name, "1")) > 1 for name in _SIZE_VARIABLES)


def get_rank() -> int:
    """The number of this process in the group, from 0; 0 without a group."""
    return 0 if _engine is None else _engine.rank


def get_world_size() -> int:
    """The number of processes in the group; 1 without a group."""
    return 1 if _engine is None else _engine.size


def launched_rank() -> int:
    """The number that the launcher gave this process, known before any MPI call; 0 for a process started alone."""
    return int(next((os.environ[name] for name in _RANK_VARIABLES if name in os.environ), "0"))


def abort(exit_code: int) -> None:
    """Ends all ranks with `exit_code`, where there is more than one; returns where this process is alone."""
    if _engine is not None and _engine.size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        _engine.abort(exit_code)


def _end_all_ranks(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> Any:
    """Prints an exception that nobody caught, with the rank, and ends the job."""
    sys.__excepthook__(kind, error, traceback)
    if _engine is not None:
        print(f"rank {get_rank()} of {get_world_size()} failed: {error}; ending all ranks", file=sys.stderr)
        abort(130 if issubclass(kind, KeyboardInterrupt) else int(getattr(error, "exit_code", 1)))
