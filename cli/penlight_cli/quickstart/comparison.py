# SPDX-License-Identifier: Apache-2.0
"""All test images through the three engines: accuracy, agreement, largest difference, size, memory and latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penlight_cli.engines import Engine
from penlight_cli.quickstart.report import Picture
from penlight_cli.timing import measure, percentiles

BATCH = 100
HEADERS = ["Engine", "Accuracy", "Same answers as eager", "Max abs difference", "File bytes", "Arena bytes", "p50 of one image"]


@dataclass(frozen=True)
class Row:
    """What one engine did with the test images; `max_abs` and `agreement` are against eager mode."""

    engine: str
    accuracy: float
    agreement: float
    max_abs: float
    file_bytes: int | None
    arena_bytes: int | None
    p50_us: float

    def cells(self) -> list[str]:
        """The row as text, in the order of HEADERS."""
        sizes = [f"{size:,}" if size is not None else "-" for size in (self.file_bytes, self.arena_bytes)]
        return [
            self.engine,
            f"{self.accuracy:.2%}",
            f"{self.agreement:.2%}",
            f"{self.max_abs:.1e}",
            *sizes,
            f"{self.p50_us:.0f} us",
        ]


def answers_of(engine: Engine, images: np.ndarray) -> np.ndarray:
    """Logits (N, 10) of all images (N, 1, 8, 8), in batches."""
    batches = [engine.run({"x": images[i : i + BATCH]})["logits"] for i in range(0, len(images), BATCH)]
    return np.concatenate(batches)


def compare(
    engines: Mapping[str, Engine], files: Mapping[str, Path], images: np.ndarray, labels: np.ndarray
) -> tuple[list[Row], dict[str, np.ndarray]]:
    """Returns a row per engine, the first being the one to compare with, and the logits of each."""
    logits = {name: answers_of(engine, images) for name, engine in engines.items()}
    times = measure(engines, {"x": images[:1]}, rounds=20, calls=10)
    reference = logits[next(iter(engines))]
    rows = []
    for name, engine in engines.items():
        guesses = logits[name].argmax(1)
        file_bytes = files[name].stat().st_size if name in files else None
        rows.append(
            Row(
                name,
                float((guesses == labels).mean()),
                float((guesses == reference.argmax(1)).mean()),
                float(np.abs(logits[name] - reference).max()),
                file_bytes,
                engine.arena_bytes,
                percentiles(times[name])["p50_us"],
            )
        )
    return rows, logits


def confusion_matrix(labels: np.ndarray, guesses: np.ndarray, classes: int = 10) -> np.ndarray:
    """Counts (classes, classes): rows are the true classes, columns the guesses."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, guesses), 1)
    return counts


def hardest(images: np.ndarray, labels: np.ndarray, logits: np.ndarray, count: int = 8) -> list[Picture]:
    """The misread pictures, most certain error first, then the least certain right ones."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    guesses, certainty = probabilities.argmax(1), probabilities.max(1)
    order = np.argsort(np.where(guesses != labels, -1 - certainty, certainty))[:count]
    return [Picture(images[i, 0], int(labels[i]), int(guesses[i]), float(certainty[i])) for i in order]


def checks(rows: list[Row], results: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """What quickstart promises, each with whether it held."""
    lowest, agreement = min(row.accuracy for row in rows), min(row.agreement for row in rows)
    largest = max(row.max_abs for row in rows)
    # all(), not the figures shown: a NaN would slip through min and max.
    promised = [
        (all(row.accuracy >= 0.98 for row in rows), f"accuracy {lowest:.2%} on the held-out digits (at least 98 %)"),
        (all(row.agreement == 1.0 for row in rows), f"{agreement:.2%} of the answers are the same on all engines (100 %)"),
        (all(row.max_abs <= 1e-4 for row in rows), f"largest difference between engines {largest:.1e} (at most 1e-4)"),
    ]
    return promised + [(bool(result["ok"]), f"{name}: {result['text']}") for name, result in results.items()]
