# SPDX-License-Identifier: Apache-2.0
"""Einsum written out as matrix products, since the edge runtime has no kernel of it; operands are joined from the left."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

from penlight_export.graph import Model, Value, all_nodes, rank_of
from penlight_export.onnx.ml.body import Body


def write_out_einsums(model: Model) -> int:
    """Replaces Einsum in a model of operator set 21 or above whose shapes are known. Returns how many there were.

    Raises:
        UnsupportedFeatureError: an equation does not fit its operands, or the rank of an operand is unknown.
    """
    nodes = [node for node in all_nodes(model.graph) if node.op_type == "Einsum" and node.domain == ""]
    for node in nodes:
        _Einsum(node).write()
    return len(nodes)


class _Einsum(Body):
    """One node. A term is a text of letters, one for each dimension of its value."""

    def write(self) -> None:
        """Puts the products in the place of the node."""
        terms, result = self._terms()
        if len(set(result)) < len(result) or not set(result) <= set("".join(terms)):
            raise self.refusal("has a result with a letter twice, or with one that no operand has")
        parts = [self._part(term, self.input(i)) for i, term in enumerate(terms)]
        term, value = parts[0]
        for k, (other, operand) in enumerate(parts[1:], start=2):
            later = set(result).union(*(name for name, _ in parts[k:]))
            kept = "".join(letter for letter in dict.fromkeys(term + other) if letter in later)
            term, value = self._joined(term, value, other, operand, kept)
        value = self._arranged(term, value, result)
        self.finish(self.add("Identity", value) if value is self.node.inputs[0] else value)

    def _terms(self) -> tuple[list[str], str]:
        """Those of the operands and of the result; each dimension that "..." stands for, counted from the right, has a letter."""
        left, arrow, result = str(self.attribute("equation", "")).replace(" ", "").partition("->")
        given = left.split(",")
        if len(given) != len(self.node.inputs):
            raise self.refusal(f"has {len(given)} terms for {len(self.node.inputs)} operands")
        free = [letter for letter in string.ascii_letters if letter not in left + result]
        dots = ""
        terms = []
        for i, term in enumerate(given):
            rank = rank_of(self.input(i))
            more = -1 if rank is None else rank - len(term.replace("...", ""))
            if more < 0 or (more and "..." not in term) or not set(term.replace("...", "", 1)) <= set(string.ascii_letters):
                raise self.refusal(f"has the term '{term}' for an operand of rank {rank if rank is not None else 'unknown'}")
            names = "".join(reversed(free[:more]))
            dots = max(dots, names, key=len)
            terms.append(term.replace("...", names))
        if arrow:
            return terms, result.replace("...", dots)
        every = "".join(terms)
        return terms, dots + "".join(sorted(letter for letter in set(every) - set(dots) if every.count(letter) == 1))

    def _part(self, term: str, value: Value) -> tuple[str, Value]:
        """An operand without letters that are there twice, which stand for a diagonal."""
        for letter in dict.fromkeys(term):
            while term.count(letter) > 1:
                first = term.index(letter)
                second = term.index(letter, first + 1)
                rest = term[:first] + term[first + 1 : second] + term[second + 1 :]
                order = [axis for axis in range(len(term)) if axis not in (first, second)]
                turned = self.add("Transpose", value, perm=[*order, first, second])
                value, term = self._diagonal(turned, len(term)), rest + letter
        return term, value

    def _diagonal(self, value: Value, rank: int) -> Value:
        """Of the last two axes."""
        size = self.add("Squeeze", self._sizes(value, [rank - 1]))
        places = self.add("Range", self._number(0), size, self._number(1))
        same = self.add("Equal", self.add("Unsqueeze", places, self._numbers([1])), places)
        zero = self.add("CastLike", self._number(0), value)
        return self._sum(self.add("Where", same, value, zero), [rank - 1])

    def _joined(self, a: str, x: Value, b: str, y: Value, kept: str) -> tuple[str, Value]:
        """One product: over all of both where nothing is summed, else of matrices."""
        batch = [letter for letter in a if letter in b and letter in kept]
        summed = [letter for letter in a if letter in b and letter not in kept]
        rows = [letter for letter in a if letter not in b and letter in kept]
        columns = [letter for letter in b if letter not in a and letter in kept]
        term = "".join(batch + rows + columns)
        left, right = self._arranged(a, x, "".join(batch + rows + summed)), self._arranged(b, y, "".join(batch + summed + columns))
        start = len(batch)
        if not summed:
            left = self._widened(left, range(start + len(rows), len(term)))
            return term, self.add("Mul", left, self._widened(right, range(start, start + len(rows))))
        if rows and not batch and len(summed) == len(columns) == 1:  # several axes of rows are what MatMul takes
            return term, self.add("MatMul", left, right)
        matrix, other = self._merged(left, start, len(rows), len(summed)), self._merged(right, start, len(summed), len(columns))
        product = self.add("MatMul", matrix, other)
        if len(rows) == len(columns) == 1:
            return term, product
        sizes = [self._sizes(product, range(start))] if start else []
        sizes += [self._sizes(left, range(start, start + len(rows)))] if rows else []
        sizes += [self._sizes(right, range(start + len(summed), start + len(summed) + len(columns)))] if columns else []
        return term, self._reshaped(product, sizes)

    def _arranged(self, letters: str, value: Value, wanted: str) -> Value:
        """Summed over the letters that are not wanted, in the wanted order."""
        gone = [axis for axis, letter in enumerate(letters) if letter not in wanted]
        value = self._sum(value, gone) if gone else value
        kept = [letter for letter in letters if letter in wanted]
        return value if kept == list(wanted) else self.add("Transpose", value, perm=[kept.index(letter) for letter in wanted])

    def _merged(self, value: Value, start: int, first: int, second: int) -> Value:
        """Two groups of axes behind the first `start` as one axis each."""
        if first == second == 1:
            return value
        groups = [range(start + begin, start + begin + count) for begin, count in ((0, first), (first, second))]
        sizes = [self._sizes(value, range(start))] if start else []
        sizes += [
            self.add("ReduceProd", self._sizes(value, group), keepdims=1) if group else self._numbers([1]) for group in groups
        ]
        return self._reshaped(value, sizes)

    def _reshaped(self, value: Value, sizes: Sequence[Value]) -> Value:
        shape = self.add("Concat", *sizes, axis=0) if sizes else self._numbers([])
        return self.add("Reshape", value, shape, allowzero=1)

    def _widened(self, value: Value, axes: Sequence[int]) -> Value:
        return self.add("Unsqueeze", value, self._numbers(axes)) if len(axes) else value

    def _sizes(self, value: Value, axes: Sequence[int]) -> Value:
        return self.add("Gather", self.add("Shape", value), self._numbers(axes))

    def _sum(self, value: Value, axes: Sequence[int]) -> Value:
        return self.add("ReduceSum", value, self._numbers(axes), keepdims=0)

    def _number(self, number: int) -> Value:
        return self.constant(number, np.int64)

    def _numbers(self, numbers: Sequence[int]) -> Value:
        return self.constant(list(numbers), np.int64)
