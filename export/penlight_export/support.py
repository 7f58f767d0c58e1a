# SPDX-License-Identifier: Apache-2.0
"""The support table: what becomes of each operator in .onnx and .pen, derived from the declarations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import penlight as pl
from penlight.errors import PenlightError
from penlight.ops.dispatch import apply
from penlight.ops.operator import CUSTOM, Gap, NotExported, Operator
from penlight.ops.registry import operators
from penlight.ops.samples import build
from penlight_export.onnx.composites.registry import find_composite
from penlight_export.onnx.lower import find_gap
from penlight_export.onnx.opsets import MAXIMUM_EXPORT, MINIMUM_EXPORT

DTYPES = ("float16", "bfloat16", "float32", "float64", "int32", "int64")


@dataclass(frozen=True)
class Support:
    """A row of the table.

    Attributes:
        operator: its name.
        onnx: the ONNX operator of a one-to-one form, "nodes" for several, "composite", or "-".
        opset: the first operator set that has the form; None without one.
        edge: whether the edge runtime runs it.
        dtypes: what its floating-point inputs may be.
        reason: of a gap.
    """

    operator: str
    onnx: str
    opset: int | None
    edge: bool
    dtypes: tuple[str, ...]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The row for `--json`."""
        return asdict(self)


def support_table() -> list[Support]:
    """One row for each operator, by name."""
    return [support_of(cls) for _, cls in sorted(operators().items())]


def support_of(cls: type[Operator]) -> Support:
    """The row of one operator."""
    gap = cls.onnx if isinstance(cls.onnx, NotExported) else cls.edge if isinstance(cls.edge, Gap) else None
    if isinstance(cls.onnx, NotExported) or cls.is_random:
        reason = gap.reason if gap is not None else "a graph gives the same result each time"
        return Support(cls.name, "-", None, False, _dtypes(cls), reason)
    form = _form(cls)
    return Support(cls.name, form, _first_opset(cls), not isinstance(cls.edge, Gap), _dtypes(cls), gap.reason if gap else "")


def _form(cls: type[Operator]) -> str:
    if find_composite(cls.name) is not None:
        return "composite"
    return "nodes" if cls.onnx == CUSTOM else str(cls.onnx)


def _first_opset(cls: type[Operator]) -> int | None:
    return next((opset for opset in range(MINIMUM_EXPORT, MAXIMUM_EXPORT + 1) if find_gap(cls, opset) is None), None)


def _dtypes(cls: type[Operator]) -> tuple[str, ...]:
    """Found by calling the first sample."""
    if isinstance(cls.samples, Gap) or not cls.samples:
        return ()
    if not any(given is not None and given.dtype == "float" for given in cls.samples[0].inputs):
        return ()
    return tuple(dtype for dtype in DTYPES if _accepts(cls, dtype))


def _accepts(cls: type[Operator], dtype: str) -> bool:
    call = cls.samples[0]  # type: ignore[index]  # the caller has looked
    try:
        with np.errstate(all="ignore"):
            apply(cls(**call.fields), *(None if array is None else pl.tensor(array) for array in build(call, dtype)))
    except (PenlightError, TypeError, ValueError, IndexError):
        return False
    return True
