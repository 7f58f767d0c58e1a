# SPDX-License-Identifier: Apache-2.0
"""PyTorch's name for what stands beside the layers: `penlight.utils.checkpoint`, `penlight.utils.dlpack`."""

import importlib
from typing import Any

from penlight.utils import checkpoint as checkpoint
from penlight.utils import dlpack as dlpack


def __getattr__(name: str) -> Any:
    if name not in ("data", "tensorboard"):
        raise AttributeError(f"module 'penlight.utils' has no attribute {name!r}")
    return importlib.import_module(f"penlight.utils.{name}")  # late: the loader imports multiprocessing
