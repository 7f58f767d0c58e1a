# SPDX-License-Identifier: Apache-2.0
"""`python -m penlight.ops`: the support table, derived from the declarations."""

from __future__ import annotations

import sys

import penlight  # noqa: F401  registers all operators
from penlight.ops.operator import AVAILABLE, CUSTOM, Gap, Operator
from penlight.ops.registry import operators

_COLUMNS = ("operator", "gradient", "second", "onnx", "edge", "cuda kernel")


def rows() -> list[tuple[str, ...]]:
    """One row per operator; gaps are named with their reason below the table."""
    cuda = _cuda_kernels()
    return [_row(cls, cuda) for cls in sorted(operators().values(), key=lambda cls: cls.name)]


def _row(cls: type[Operator], cuda: set[str] | None) -> tuple[str, ...]:
    first = _state(cls.gradient)
    second = "-" if first == "-" else _state(cls.second_derivative)
    edge = "-" if isinstance(cls.onnx, Gap) else _state(cls.edge)
    return (cls.name, first, second, _state(cls.onnx), edge, "?" if cuda is None else "yes" if cls.name in cuda else "reference")


def _state(value: object) -> str:
    if isinstance(value, Gap):
        return "-"
    return "yes" if value in (AVAILABLE, CUSTOM) else str(value)


def _cuda_kernels() -> set[str] | None:
    """Names of operators with a kernel of ours for CUDA; None where that cannot be told on this machine."""
    try:
        from penlight.backends import cuda  # optional: CuPy
    except ImportError:
        return None
    names = getattr(cuda, "kernel_names", None)
    return None if names is None else set(names())


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
