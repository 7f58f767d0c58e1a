# SPDX-License-Identifier: Apache-2.0
"""Batches in pinned memory of the host, from which a device copies while the host goes on."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.backends import cuda
from penlight.tensor import Tensor
from penlight.tree import flatten


def pinned(value: Any) -> Any:
    """A tensor of the host in pinned memory, anything else as it is."""
    return value.pin_memory() if isinstance(value, Tensor) and type(value._data) is np.ndarray else value


def pinned_batch(batch: Any) -> Any:
    """A batch with its tensors in pinned memory; as it is where there is no device to copy from there."""
    if not cuda.is_available():
        return batch
    leaves, rebuild = flatten(batch)
    return rebuild([pinned(leaf) for leaf in leaves])
