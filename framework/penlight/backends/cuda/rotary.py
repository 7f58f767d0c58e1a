# SPDX-License-Identifier: Apache-2.0
"""Launches `rotary.cu`: rotary position embedding, and its gradient, which turns back."""

from __future__ import annotations

from typing import Any

from penlight.backends.cuda import launch, source, wrapper
from penlight.backends.cuda.layout import MAX_COUNT


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by operator name."""
    kernel = source.kernels("rotary")["rotary_turn"]

    def turned(operator: Any, x: Any, cos: Any, sin: Any, ids: Any, direction: int) -> Any:
        if not wrapper.takes(x, cos, sin) or x.ndim != 4 or x.size >= MAX_COUNT or not cos.size or not _takes_ids(ids):
            return NotImplemented
        # (B, H, T, D) as a projection gives it lies as (B, T, H, D), and the result then does, too: no copy of either.
        time_first = not x.flags.c_contiguous and x.swapaxes(1, 2).flags.c_contiguous
        rows = x.swapaxes(1, 2) if time_first else xp.ascontiguousarray(x)
        result = xp.empty(rows.shape, x.dtype)
        pairs, unit = cos.shape[-1], 16 // x.itemsize
        values = {
            "x": rows,
            "cosines": xp.ascontiguousarray(cos),
            "sines": xp.ascontiguousarray(sin),
            "ids": None if ids is None else xp.ascontiguousarray(ids),
            "y": result,
            "rows": x.size // x.shape[3],
            "heads": x.shape[1],
            "times": x.shape[2],
            "size": x.shape[3],
            "pairs": pairs,
            "positions": cos.size // pairs,
            "time_first": time_first,
            "in_turns": operator.interleaved,
            "packed": pairs % unit == 0 and x.shape[3] % unit == 0,
            "direction": direction,
        }
        wrapper.launch(launcher, kernel, str(x.dtype), launch.elements(x.size // 2, x.itemsize), values)
        return result.swapaxes(1, 2) if time_first else result

    def forward(operator: Any, x: Any, cos: Any, sin: Any, ids: Any = None) -> Any:
        return turned(operator, x, cos, sin, ids, 1)

    def backward(operator: Any, needs: Any, grad: Any, output: Any, x: Any, cos: Any, sin: Any, ids: Any = None) -> Any:
        if needs[1] or needs[2]:
            return NotImplemented  # angles are constants as a rule
        result = turned(operator, grad, cos, sin, ids, -1)
        return result if result is NotImplemented else (result, None, None, None)

    return {"rotary_embedding": forward, "rotary_embedding.backward": backward}


def _takes_ids(ids: Any) -> bool:
    return ids is None or str(ids.dtype) == "int64"
