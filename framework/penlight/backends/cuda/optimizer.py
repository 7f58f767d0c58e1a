# SPDX-License-Identifier: Apache-2.0
"""Launches `optimizer.cu`: one launch steps all parameters of a dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.backends.cuda import launch, source, wrapper

# Elements per block: enough work to hide the block's start, small enough that a few big parameters fill the GPU.
_CHUNK = 1 << 15


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by optimizer name."""
    return {"adamw": Adamw(xp, launcher).step}


class Adamw:
    """AdamW over lists of arrays.

    The pointer table is kept while the arrays stay where they are, which is every step of a steady training loop.
    """

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self._xp = xp
        self._launcher = launcher
        self._kernel = source.kernels("optimizer")["adamw_step"]
        self._tables: dict[bytes, tuple[Any, Any]] = {}

    def step(
        self,
        parameters: Sequence[Any],
        gradients: Sequence[Any],
        averages: Sequence[Any],
        square_averages: Sequence[Any],
        *,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        step: int,
    ) -> Any:
        """Updates parameters and both averages in place; `step` counts from 1.

        Returns:
            None, or `NotImplemented` when an array is not contiguous or not of the one dtype of all.
        """
        lists = (parameters, gradients, averages, square_averages)
        if not parameters:
            return None
        if not wrapper.takes(*(a for arrays in lists for a in arrays)):
            return NotImplemented
        if not all(a.flags.c_contiguous for arrays in lists for a in arrays):
            return NotImplemented
        entries, chunks = self._table(list(zip(*lists, strict=True)))
        values = {
            "entries": entries,
            "chunks": chunks,
            "chunk_size": _CHUNK,
            "lr": lr,
            "beta1": beta1,
            "beta2": beta2,
            "eps": eps,
            "weight_decay": weight_decay,
            "correction1": 1.0 - beta1**step,
            "root_correction2": math.sqrt(1.0 - beta2**step),
        }
        grid = launch.Grid((len(chunks), 1, 1), (launch.THREADS, 1, 1))
        wrapper.launch(self._launcher, self._kernel, str(parameters[0].dtype), grid, values)
        return None

    def _table(self, groups: list[tuple[Any, ...]]) -> tuple[Any, Any]:
        """The AdamwEntry lines (n, 5) and the chunks (m, 2) on the device."""
        pointer = self._launcher.pointer
        lines = np.array([[*map(pointer, group), group[0].size] for group in groups], np.int64)
        key = lines.tobytes()
        if key not in self._tables:
            chunks = [(entry, begin) for entry, line in enumerate(lines) for begin in range(0, int(line[4]), _CHUNK)]
            self._tables.clear()  # old addresses are dead
            self._tables[key] = self._xp.asarray(lines), self._xp.asarray(np.array(chunks, np.int64).reshape(-1, 2))
        return self._tables[key]
