# SPDX-License-Identifier: Apache-2.0
"""Comparing arrays of two engines, and the report of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from penlight_export.plots import describe_pair
from penlight_export.structure import Structure

DEFAULT_TOLERANCE = 1e-4
WORST_INPUTS = 5  # that a report names


@dataclass(frozen=True)
class Difference:
    """How far one array is from its reference.

    Attributes:
        max_abs: largest absolute difference; inf where one is finite or a number and the other is not.
        max_rel: the same, each divided by the magnitude of the reference (elements below 1e-6 of its largest left out).
        scaled: max_abs / max(1, largest magnitude of the reference); what the tolerance is about.
        agreement: share of rows whose largest element along the last dimension is at the same place; None without rows.
        note: what else is wrong, such as different shapes.
        max_ulp: largest distance in representable numbers of the dtype, of floating point where both are finite.
        snr_db: signal-to-noise ratio, 10 log10(sum of squares of the reference / of the difference); inf when equal.
        worst: the element of the largest absolute difference.
    """

    max_abs: float
    max_rel: float
    scaled: float
    agreement: float | None
    note: str = ""
    max_ulp: int | None = None
    snr_db: float | None = None
    worst: tuple[int, ...] = ()


def difference(reference: np.ndarray, other: np.ndarray) -> Difference:
    """Compares two arrays. NaN equals NaN, and an infinity equals itself; integers, bools and strings are compared exactly."""
    if reference.shape != other.shape or reference.dtype != other.dtype:
        note = f"{reference.dtype} {list(reference.shape)} against {other.dtype} {list(other.shape)}"
        return Difference(np.inf, np.inf, np.inf, None, note)
    if not reference.size:
        return Difference(0.0, 0.0, 0.0, None)
    if reference.dtype.kind == "O":
        return _text_difference(reference, other)
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
    worst = tuple(int(k) for k in np.unravel_index(int(error.argmax()), error.shape)) if max_abs else ()
    return Difference(
        max_abs, max_rel, scaled, _agreement(reference, other), note, max_ulp(reference, other), _snr(a, error), worst
    )


def _text_difference(reference: np.ndarray, other: np.ndarray) -> Difference:
    """Strings are equal, or infinitely far."""
    wrong = [k for k, (a, b) in enumerate(zip(reference.reshape(-1), other.reshape(-1), strict=True)) if a != b]
    if not wrong:
        return Difference(0.0, 0.0, 0.0, None)
    place = np.unravel_index(wrong[0], reference.shape)
    note = f"{reference[place]!r} against {other[place]!r}"
    return Difference(np.inf, np.inf, np.inf, None, note, worst=tuple(int(k) for k in place))


def max_ulp(a: np.ndarray, b: np.ndarray) -> int | None:
    """The largest number of steps between neighbours of the dtype from `a` to `b`, where both are finite; None for integers."""
    if a.dtype.kind not in "fV" or a.dtype.itemsize not in (2, 4, 8):
        return None
    finite = np.isfinite(a) & np.isfinite(b)
    if not finite.any():
        return 0
    left, right = _ordered(a[finite]), _ordered(b[finite])
    return int((np.maximum(left, right) - np.minimum(left, right)).max())


def _ordered(array: np.ndarray) -> np.ndarray:
    """Unsigned numbers in the order of the floating-point ones, neighbours next to each other; both zeros are one."""
    unsigned = np.dtype(f"u{array.dtype.itemsize}")
    bits = array.view(unsigned)
    sign = unsigned.type(1 << (8 * unsigned.itemsize - 1))
    return np.where(bits & sign, sign - (bits ^ sign), bits + sign)


def _snr(reference: np.ndarray, error: np.ndarray) -> float | None:
    used = np.isfinite(reference) & np.isfinite(error)
    signal, noise = float(np.square(reference[used]).sum()), float(np.square(error[used]).sum())
    if not noise:
        return np.inf if used.all() else None
    return 10 * float(np.log10(signal / noise)) if signal else -np.inf


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
    max_ulp: int | None = None
    snr_db: float | None = None
    worst: tuple[int, ...] = ()
    sample: str = ""

    @property
    def pair(self) -> str:
        """'eager / onnxruntime'"""
        return f"{self.reference} / {self.engine}"


@dataclass(frozen=True)
class WorstInput:
    """An input whose output is far off: `row` is its place along the first dimension, None where outputs have no such dimension."""

    sample: str
    row: int | None
    output: str
    engine: str
    max_abs: float

    def __str__(self) -> str:
        place = "" if self.row is None else f"row {self.row} of "
        return f"worst input: {place}{self.sample or 'the sample'}, max abs {self.max_abs:.3g} in '{self.output}' of {self.engine}"


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
    worst_inputs: list[WorstInput] = field(default_factory=list)
    plots: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)  # see `plots.describe_pair`
    structure: Structure | None = field(default=None, repr=False)  # of a failed export, whose graph is in no file

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

    def add(
        self, reference: str, engine: str, output: str, sizes: dict[str, int], found: Difference, sample: str = ""
    ) -> VerifyRow:
        """Appends a row, judged by the tolerance."""
        measures = {
            name: getattr(found, name) for name in ("max_abs", "max_rel", "agreement", "note", "max_ulp", "snr_db", "worst")
        }
        row = VerifyRow(reference, engine, output, sizes, ok=found.scaled <= self.tolerance, sample=sample, **measures)
        self.rows.append(row)
        return row

    def add_pair(self, row: VerifyRow, a: np.ndarray, b: np.ndarray) -> None:
        """Notes which inputs of the row are worst, and keeps a plot if no other of this output is worse."""
        self.worst_inputs = sorted([*self.worst_inputs, *_worst_inputs(row, a, b)], key=lambda found: -found.max_abs)[:WORST_INPUTS]
        name = f"{row.pair}: {row.output}"
        if a.dtype.kind == "O":
            return
        if a.shape == b.shape and a.size and (name not in self.plots or row.max_abs > self.plots[name]["max_abs"]):
            self.plots[name] = {"max_abs": row.max_abs, **describe_pair(a, b)}

    def join(self, other: VerifyReport) -> None:
        """Takes over the rows of another report, with its notes, worst inputs and plots."""
        self.rows += other.rows
        self.notes += [note for note in other.notes if note not in self.notes]
        self.worst_inputs = sorted([*self.worst_inputs, *other.worst_inputs], key=lambda found: -found.max_abs)[:WORST_INPUTS]
        for name, plot in other.plots.items():
            if name not in self.plots or plot["max_abs"] > self.plots[name]["max_abs"]:
                self.plots[name] = plot

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; a number that JSON lacks becomes a string."""
        return {
            "ok": self.ok,
            "tolerance": self.tolerance,
            "rows": [_plain_fields(row) for row in self.rows],
            "divergence": None if self.divergence is None else _plain_fields(self.divergence),
            "worst_inputs": [_plain_fields(entry) for entry in self.worst_inputs],
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """A table, one line per row."""
        head = ("engines", "output", "sizes", "max abs", "max rel", "ulp", "snr", "argmax", "")
        table = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[k]) for line in table) for k in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
        lines += [f"note: {note}" for note in self.notes]
        lines += [] if self.ok else [str(entry) for entry in self.worst_inputs[:3]]
        if self.divergence is not None:
            lines.append(str(self.divergence))
        return "\n".join(lines)


def _cells(row: VerifyRow) -> tuple[str, ...]:
    sizes = " ".join(f"{name}={size}" for name, size in row.sizes.items()) or "fixed"
    agreement = "-" if row.agreement is None else f"{100 * row.agreement:.1f}%"
    verdict = ("ok" if row.ok else "DIFFERS") + (f" ({row.note})" if row.note else "")
    ulp = "-" if row.max_ulp is None else str(row.max_ulp) if row.max_ulp < 10_000 else f"{row.max_ulp:.1e}"
    snr = "-" if row.snr_db is None else "equal" if row.snr_db == np.inf else f"{row.snr_db:.0f} dB"
    return (row.pair, row.output, sizes, f"{row.max_abs:.2e}", f"{row.max_rel:.2e}", ulp, snr, agreement, verdict)


def _worst_inputs(row: VerifyRow, a: np.ndarray, b: np.ndarray) -> list[WorstInput]:
    """The rows along the first dimension that are farthest off; the whole sample where there is none."""
    if not row.max_abs or a.shape != b.shape:
        return []
    if a.ndim < 2:
        return [WorstInput(row.sample, None, row.output, row.engine, row.max_abs)]
    with np.errstate(invalid="ignore"):  # inf - inf
        differs = np.abs(a.astype(np.float64) - b.astype(np.float64)) if a.dtype.kind != "O" else np.where(a == b, 0.0, np.inf)
        errors = differs.reshape(len(a), -1).max(1)
    errors = np.nan_to_num(errors, nan=np.inf)
    order = np.argsort(-errors, kind="stable")[:WORST_INPUTS]
    return [WorstInput(row.sample, int(k), row.output, row.engine, float(errors[k])) for k in order if errors[k]]


def _plain_fields(entry: Any) -> dict[str, Any]:
    return {key: _plain(value) for key, value in asdict(entry).items()}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value
