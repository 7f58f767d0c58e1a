# SPDX-License-Identifier: Apache-2.0
"""`python -m penlight.ops`: the support table, derived from the declarations."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import penlight  # noqa: F401  registers all operators
from penlight.backends.cpu import CPU
from penlight.backends.cuda.cupy_backend import CudaBackend
from penlight.ops.operator import AVAILABLE, CUSTOM, Gap, Operator
from penlight.ops.registry import operators

_COLUMNS = ("operator", "gradient", "second", "onnx", "edge", "cpu kernel", "cuda kernel")


def rows() -> list[tuple[str, ...]]:
    """One row per operator; where it has no kernel of its own on a device, its reference runs there."""
    return [_row(cls, set(CPU.kernels), _cuda_kernels()) for cls in sorted(operators().values(), key=lambda cls: cls.name)]


def _row(cls: type[Operator], cpu: set[str], cuda: set[str]) -> tuple[str, ...]:
    first = _state(cls.gradient)
    second = "-" if first == "-" else _state(cls.second_derivative)
    edge = "-" if isinstance(cls.onnx, Gap) else _state(cls.edge)
    return (cls.name, first, second, _state(cls.onnx), edge, *("own" if cls.name in found else "" for found in (cpu, cuda)))


def _state(value: object) -> str:
    if isinstance(value, Gap):
        return "-"
    return "yes" if value in (AVAILABLE, CUSTOM) else str(value)


def _cuda_kernels() -> set[str]:
    """Names of the operators with a kernel of ours for CUDA; the table needs no GPU."""
    return set(CudaBackend(np, _NoLauncher()).kernels)


class _NoLauncher:
    """Stands in for what launches kernels; none is launched here."""

    def launch(self, kernel: Any, dtype: str, grid: Any, *values: Any) -> None:
        raise NotImplementedError("no kernel runs while the table is printed")

    def pointer(self, array: Any) -> int:
        raise NotImplementedError("no kernel runs while the table is printed")


def gaps() -> list[str]:
    """Every gap with its reason."""
    found = []
    for cls in sorted(operators().values(), key=lambda cls: cls.name):
        for part in ("gradient", "second_derivative", "onnx", "edge"):
            value = getattr(cls, part)
            if isinstance(value, Gap):
                found.append(f"{cls.name}: {part}: {value.reason}")
    return found


def main() -> None:
    """Prints the table and the gaps."""
    table = [_COLUMNS, *rows()]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    sys.stdout.write("\n".join([*lines, "", "Gaps", *gaps(), ""]))


if __name__ == "__main__":
    main()
