# SPDX-License-Identifier: Apache-2.0
"""Functions of single elements that are written as formulas: one text for NumPy, CuPy and ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penlight.ops.arithmetic import Binary
from penlight.ops.elementwise import Unary


class Formula(Unary):
    """One input. `formula` uses Python operators and `where`, `abs`, `exp`, `log`, ... of `xp` alone: no masks, no loops
    over the data, so that penlight_export can run it on graph values. It is computed in float64.
    """

    def formula(self, xp: Any, x: Any) -> Any:
        """The value, of any number type that `xp` works on."""
        raise NotImplementedError(f"{self.name}: formula is missing")

    def forward(self, xp, x):
        return self.formula(xp, x.astype(xp.float64, copy=False)).astype(x.dtype, copy=False)


class BinaryFormula(Binary):
    """Two inputs, broadcast; otherwise as `Formula`."""

    def formula(self, xp: Any, a: Any, b: Any) -> Any:
        """The value, of any number type that `xp` works on."""
        raise NotImplementedError(f"{self.name}: formula is missing")

    def forward(self, xp, a, b):
        wide = self.formula(xp, a.astype(xp.float64, copy=False), b.astype(xp.float64, copy=False))
        return wide.astype(a.dtype, copy=False)


def horner(x: Any, coefficients: Sequence[float]) -> Any:
    """The polynomial in x whose highest coefficient comes first."""
    value = x * coefficients[0] + coefficients[1]
    for c in coefficients[2:]:
        value = value * x + c
    return value
