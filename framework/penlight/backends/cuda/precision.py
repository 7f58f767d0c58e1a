# SPDX-License-Identifier: Apache-2.0
"""Whether float32 products may round their factors to TF32, under PyTorch's names."""

from __future__ import annotations

from penlight.errors import ArgumentError

_PRECISIONS = ("highest", "high", "medium")


class Switch:
    """`penlight.backends.cuda.matmul` or `.cudnn`: `allow_tf32` is False at first, so that results are those of the CPU.

    TF32 keeps 10 of the 23 bits of a factor and adds in float32; products are then several times as fast.
    """

    def __init__(self) -> None:
        self.allow_tf32 = False
        self.enabled, self.deterministic, self.benchmark = True, True, False  # cuDNN's, which scripts set; nothing depends on them


matmul = Switch()
convolution = Switch()


def set_float32_matmul_precision(precision: str) -> None:
    """Sets how exact float32 products on a GPU are: "highest" is float32, "high" and "medium" are TF32.

    Raises:
        ArgumentError: another word.
    """
    if precision not in _PRECISIONS:
        raise ArgumentError(f"set_float32_matmul_precision: expected one of {', '.join(_PRECISIONS)}, came {precision!r}")
    matmul.allow_tf32 = precision != "highest"


def get_float32_matmul_precision() -> str:
    """Returns "highest" or "high"."""
    return "high" if matmul.allow_tf32 else "highest"
