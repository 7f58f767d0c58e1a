# SPDX-License-Identifier: Apache-2.0
"""Comparing arrays of two engines, and the report of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

DEFAULT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Difference:
    """How far one array is from its reference.

    Attributes:
        max_abs: largest absolute difference; inf where one is finite or a number and the other is not.
        max_rel: the same, each divided by the magnitude of the reference (elements below 1e-6 of its largest left out).
        scaled: max_abs / max(1, largest magnitude of the reference); what the tolerance is about.
        agreement: share of rows whose largest element along the last dimension is at the same place; None without rows.
        note: what else is wrong, such as different shapes.
    """

    max_abs: float
    max_rel: float
    scaled: float
    agreement: float | None
    note: str = ""


def difference(reference: np.ndarray, other: np.ndarray) -> Difference:
    """Compares two arrays. NaN equals NaN, and an infinity equals itself; integers and bools are compared exactly."""
    if reference.shape != other.shape or reference.dtype != other.dtype:
        note = f"{reference.dtype} {list(reference.shape)} against {other.dtype} {list(other.shape)}"
        return Difference(np.inf, np.inf, np.inf, None, note)
    if not reference.size:
        return Difference(0.0, 0.0, 0.0, None)
    a, b = reference.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):  # inf - inf
        error = np.abs(a - b)
    error = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.where(np.isnan(error), np.inf, error))
    magnitude = np.abs(np.where(np.isfinite(a), a, 0.0))
    largest = float(magnitude.max())
    relevant = magnitude > 1e-6 * largest
    max_rel = float((error[relevant] / magnitude[relevant]).max()) if relevant.any() else 0.0
    max_abs = float(error.max())
    note = "" if np.isfinite(max_abs) else "NaN or infinity on one side only"
    exact = reference.dtype.kind in "iub"
    scaled = (np.inf if max_abs else 0.0) if exact else max_abs / max(1.0, largest)
    return Difference(max_abs, max_rel, scaled, _agreement(reference, other), note)


def _agreement(reference: np.ndarray, other: np.ndarray) -> float | None:
    if reference.ndim == 0 or reference.shape[-1] < 2 or reference.dtype.kind not in "fV":
        return None
    return float(np.mean(np.argmax(reference, -1) == np.argmax(other, -1)))


@dataclass(frozen=True)
class VerifyRow:
    """One output at one set of sizes, of `engine` against `reference`."""

    reference: str
    engine: str
    output: str
    sizes: dict[str, int]
    max_abs: float
    max_rel: float
    agreement: float | None
    ok: bool
    note: str = ""

    @property
    def pair(self) -> str:
        """'eager / onnxruntime'"""
        return f"{self.reference} / {self.engine}"


@dataclass(frozen=True)
class Divergence:
    """The first value, in the order of computation, that differs by more than the tolerance."""

    value: str
    operator: str
    module_path: str
    source: str
    max_abs: float
    compared: int

    def __str__(self) -> str:
        place = ", ".join(text for text in (self.module_path, self.source) if text)
        where = f" ({place})" if place else ""
        return (
            f"{self.operator} '{self.value}'{where} is the first of {self.compared} layers that differs: max abs {self.max_abs:.3g}"
        )


@dataclass
class VerifyReport:
    """What verification found. `ok` holds when every row is within the tolerance."""

    tolerance: float = DEFAULT_TOLERANCE
    rows: list[VerifyRow] = field(default_factory=list)
    divergence: Divergence | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Every row is within the tolerance."""
        return all(row.ok for row in self.rows)

    @property
    def max_abs(self) -> float:
        """The largest absolute difference of all rows."""
        return max((row.max_abs for row in self.rows), default=0.0)

    @property
    def worst(self) -> VerifyRow | None:
        """The row that is farthest out: a failed one if there is one."""
        return max(self.rows, key=lambda row: (not row.ok, row.max_abs), default=None)

    def add(self, reference: str, engine: str, output: str, sizes: dict[str, int], found: Difference) -> None:
        """Appends a row, judged by the tolerance."""
        row = VerifyRow(
            reference,
            engine,
            output,
            sizes,
            found.max_abs,
            found.max_rel,
            found.agreement,
            found.scaled <= self.tolerance,
            found.note,
        )
        self.rows.append(row)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; a number that JSON lacks becomes a string."""
        rows = [{key: _plain(value) for key, value in asdict(row).items()} for row in self.rows]
        found = None if self.divergence is None else {key: _plain(value) for key, value in asdict(self.divergence).items()}
        return {"ok": self.ok, "tolerance": self.tolerance, "rows": rows, "divergence": found, "notes": list(self.notes)}

    def to_text(self) -> str:
        """A table, one line per row."""
        head = ("engines", "output", "sizes", "max abs", "max rel", "argmax", "")
        table = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[k]) for line in table) for k in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
        lines += [f"note: {note}" for note in self.notes]
        if self.divergence is not None:
            lines.append(str(self.divergence))
        return "\n".join(lines)


def _cells(row: VerifyRow) -> tuple[str, ...]:
    sizes = " ".join(f"{name}={size}" for name, size in row.sizes.items()) or "fixed"
    agreement = "-" if row.agreement is None else f"{100 * row.agreement:.1f}%"
    verdict = ("ok" if row.ok else "DIFFERS") + (f" ({row.note})" if row.note else "")
    return (row.pair, row.output, sizes, f"{row.max_abs:.2e}", f"{row.max_rel:.2e}", agreement, verdict)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value
