# SPDX-License-Identifier: Apache-2.0
"""Launches `dropout.cu`: masks of dropout drawn on the device.

The numbers are those of Philox4x32-10 with 32-bit words; the generator of the host is NumPy's Philox4x64-10, so that a seed gives
other masks on a GPU than on the CPU, as in PyTorch.
"""

from __future__ import annotations

import math
from typing import Any

from penlight.backends.cuda import launch, source, wrapper


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """`dropout_mask(state, shape, dtype, p)`."""
    kernels = source.kernels("dropout")

    def dropout_mask(state: Any, shape: tuple[int, ...], dtype: Any, p: float) -> Any:
        """0 with probability p, else 1 / (1 - p); moves the offset in `state`, uint64 (seed, offset), on."""
        name = str(dtype)
        if name not in kernels["dropout_mask"].dtypes:
            return NotImplemented
        mask, count = xp.empty(shape, dtype), math.prod(shape)
        values = {"state": state, "mask": mask, "count": count, "p": p, "scale": 1 / (1 - p), "blocks": -(-count // 4)}
        wrapper.launch(launcher, kernels["dropout_mask"], name, launch.elements(count, 4), values)
        wrapper.launch(launcher, kernels["dropout_advance"], "float32", launch.Grid((1, 1, 1), (1, 1, 1)), values)
        return mask

    return {"dropout_mask": dropout_mask}
