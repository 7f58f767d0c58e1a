# SPDX-License-Identifier: Apache-2.0
"""Upper and lower case of single code points as C has it: no letter becomes two, and no language has rules of its own."""

from __future__ import annotations

from functools import cache

import numpy as np

_LAST_CASED = 0x1FFFF  # no alphabet behind the supplementary multilingual plane has cases


def _change(letter: str, upper: bool) -> str:
    changed = letter.upper() if upper else letter.lower()
    # The only one whose full lower case differs from its simple one (Unicode, SpecialCasing.txt).
    return "i" if letter == "\u0130" and not upper else changed if len(changed) == 1 else letter


def change_case(text: str, upper: bool) -> str:
    """Text with every letter changed by itself."""
    return "".join(_change(letter, upper) for letter in text)


@cache
def case_table(upper: bool) -> np.ndarray:
    """(R, 4) int32: code points first, first + step, ... (count of them) become themselves + delta, in ascending order."""
    codes = range(_LAST_CASED + 1)
    changes = [(code, ord(_change(chr(code), upper)) - code) for code in codes if _change(chr(code), upper) != chr(code)]
    rows: list[list[int]] = []
    for code, delta in changes:
        if rows and _continues(rows[-1], code, delta):
            rows[-1][2] = rows[-1][2] if rows[-1][1] > 1 else code - rows[-1][0]
            rows[-1][1] += 1
        else:
            rows.append([code, 1, 1, delta])
    return np.array(rows, np.int32)


def _continues(row: list[int], code: int, delta: int) -> bool:
    """Alternating pairs such as U+0100 to U+012F are one row of step 2."""
    first, count, step, before = row
    distance = code - first
    return delta == before and (distance <= 2 if count == 1 else distance == count * step)
