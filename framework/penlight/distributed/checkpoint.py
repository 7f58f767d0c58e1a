# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a group: rank 0 writes, all ranks read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penlight.distributed import group
from penlight.distributed.collectives import largest_over_ranks
from penlight.distributed.data_parallel import unwrapped
from penlight.errors import DistributedError
from penlight.train import checkpoint as one_process


def save_checkpoint(
    folder: str | os.PathLike[str],
    model: Any,
    optimizer: Any = None,
    scheduler: Any = None,
    loader: Any = None,
    *,
    step: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Saves what `penlight.train.save_checkpoint` saves, from rank 0; all ranks call it, and return when it is on disk.

    The names are those of the module inside a DistributedDataParallel, so that one process can read the checkpoint.

    Raises:
        SaveError, NumericalError: on rank 0, as in one process.
        DistributedError: on the other ranks, when rank 0 could not save.
    """
    failure: Exception | None = None
    path = Path(folder) / one_process.NAME
    if group.get_rank() == 0:
        try:
            path = one_process.save_checkpoint(folder, unwrapped(model), optimizer, scheduler, loader, step=step, extra=extra)
        except Exception as error:
            failure = error  # raised below, after the others have heard of it: they would wait forever
    failed = largest_over_ranks(int(failure is not None))
    if failure is not None:
        raise failure
    if failed:
        raise DistributedError(f"save_checkpoint {folder}: rank 0 could not save it; its message says why")
    return path


def load_checkpoint(
    folder: str | os.PathLike[str], model: Any = None, optimizer: Any = None, scheduler: Any = None, loader: Any = None
) -> one_process.Checkpoint:
    """Reads a checkpoint on every rank, into the module inside a DistributedDataParallel; see `penlight.train.load_checkpoint`.

    The loader's position counts batches of one rank: go on with the same number of ranks and the same batch size per rank.
    """
    inner = None if model is None else unwrapped(model)
    return one_process.load_checkpoint(folder, inner, optimizer, scheduler, loader)
