# SPDX-License-Identifier: Apache-2.0
"""Sums of products named by letters."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from penlight.errors import ArgumentError, ShapeError
from penlight.ops.matmul import matmul
from penlight.ops.rearrange import diagonal
from penlight.tensor import Tensor


def einsum(equation: str, *operands: Any) -> Tensor:
    """Returns the sum of products that the equation states, such as "bij,bjk->bik".

    Letters that the result lacks are summed over; a letter twice in one term is its diagonal; "..." stands for further
    dimensions, which broadcast. Without "->" the result has the letters that occur once, in alphabetical order. Several
    operands are joined from the left.

    Raises:
        ArgumentError: the terms do not fit the operands, or a letter of the result is in none.
        ShapeError: a letter has two sizes.
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    terms, arrow, result = equation.replace(" ", "").partition("->")
    letters = _without_dots(terms.split(","), operands, equation)
    dots = max((t for t, term in letters), key=len, default="")
    plain = [term for _, term in letters]
    if arrow:
        result = result.replace("...", dots)
    else:
        every = "".join(plain)
        result = dots + "".join(sorted(c for c in set(every) if every.count(c) == 1 and c not in dots))
    if not set(result) <= set("".join(plain)):
        raise ArgumentError(f"einsum: the result of {equation!r} has a letter that no operand has")
    parts = [_take_diagonals(term, t) for term, t in zip(plain, operands, strict=True)]
    parts = _drop_ones(parts, equation)
    return _contract(parts, result)


def _without_dots(terms: list[str], operands: Sequence[Tensor], equation: str) -> list[tuple[str, str]]:
    """Per operand the letters that stand for its "...", aligned from the right, and the whole term in letters."""
    if len(terms) != len(operands):
        raise ArgumentError(f"einsum: {equation!r} has {len(terms)} terms, came {len(operands)} operands")
    free = [c for c in string.ascii_uppercase + string.ascii_lowercase if c not in equation]
    found = []
    for term, t in zip(terms, operands, strict=True):
        extra = t.ndim - len(term.replace("...", ""))
        if extra < 0 or (extra and "..." not in term):
            raise ArgumentError(f"einsum: term {term!r} does not fit shape {tuple(t.shape)}")
        names = "".join(reversed(free[:extra])) if "..." in term else ""
        found.append((names, term.replace("...", names)))
    return found


def _take_diagonals(term: str, t: Tensor) -> tuple[str, Tensor]:
    for c in dict.fromkeys(term):
        while term.count(c) > 1:
            first = term.index(c)
            second = term.index(c, first + 1)
            t = diagonal(t, 0, first, second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + c
    return term, t


def _drop_ones(parts: list[tuple[str, Tensor]], equation: str) -> list[tuple[str, Tensor]]:
    """Letters of size 1 that are larger elsewhere are taken out, which broadcasts them."""
    sizes: dict[str, int] = {}
    for term, t in parts:
        for c, size in zip(term, t.shape, strict=True):
            known = sizes.setdefault(c, size)
            if known != size and 1 not in (known, size):
                raise ShapeError(f"einsum: {c!r} of {equation!r} has the sizes {int(known)} and {int(size)}")
            sizes[c] = size if known == 1 else known
    result = []
    for term, t in parts:
        gone = tuple(d for d, c in enumerate(term) if t.shape[d] == 1 and sizes[c] != 1)
        result.append(("".join(c for d, c in enumerate(term) if d not in gone), t.squeeze(gone) if gone else t))
    return result


def _contract(parts: list[tuple[str, Tensor]], result: str) -> Tensor:
    term, t = parts[0]
    for k, (other, u) in enumerate(parts[1:], start=2):
        later = set(result).union(*(name for name, _ in parts[k:]))
        kept = "".join(c for c in dict.fromkeys(term + other) if c in later)
        t = _einsum_pair(term, other, kept, t, u)
        term = kept
    return _arrange(t, term, result)


def _arrange(t: Tensor, letters: str, wanted: str) -> Tensor:
    """The operand summed over the letters that are not wanted, in the wanted order."""
    gone = tuple(i for i, c in enumerate(letters) if c not in wanted)
    t = t.sum(gone) if gone else t
    kept = [c for c in letters if c in wanted]
    return t.permute(tuple(kept.index(c) for c in wanted)) if kept != list(wanted) else t


def _einsum_pair(a: str, b: str, result: str, x: Tensor, y: Tensor) -> Tensor:
    """Batch letters first, then one matrix product over the shared summed letters."""
    batch = [c for c in a if c in b and c in result]
    summed = [c for c in a if c in b and c not in result]
    rows = [c for c in a if c not in b and c in result]
    columns = [c for c in b if c not in a and c in result]
    left = _arrange(x, a, "".join(batch + rows + summed))
    right = _arrange(y, b, "".join(batch + summed + columns))
    sizes = {c: left.shape[i] for i, c in enumerate(batch + rows + summed)}
    sizes.update((c, right.shape[len(batch) + len(summed) + i]) for i, c in enumerate(columns))
    lead = tuple(sizes[c] for c in batch)
    product = matmul(
        left.reshape(*lead, _count(sizes, rows), _count(sizes, summed)),
        right.reshape(*lead, _count(sizes, summed), _count(sizes, columns)),
    )
    letters = batch + rows + columns
    return _arrange(product.reshape(tuple(sizes[c] for c in letters)), "".join(letters), result)


def _count(sizes: dict[str, int], letters: list[str]) -> int:
    total = 1
    for c in letters:
        total = total * sizes[c]
    return total
