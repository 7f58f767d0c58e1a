# SPDX-License-Identifier: Apache-2.0
"""Sizes that are named rather than fixed: integers that remember how they were computed.

An expression is a sum of products of atoms; an atom is a name or a floor division that does not come out even. Equal
expressions have equal text, whatever way they were computed.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Union

Monomial = tuple["Atom", ...]


@dataclass(frozen=True)
class FloorDivision:
    """floor(numerator / denominator)"""

    numerator: Expression
    denominator: Expression

    @cached_property
    def text(self) -> str:
        return f"{_bracketed(self.numerator)}//{_bracketed(self.denominator)}"

    def evaluate(self, bindings: Mapping[str, Any]) -> Any:
        return self.numerator.evaluate(bindings) // self.denominator.evaluate(bindings)


Atom = Union[str, FloorDivision]  # noqa: UP007  evaluated at run time, where str | class needs the class first


def _atom_text(atom: Atom) -> str:
    return atom if isinstance(atom, str) else atom.text


def _monomial_text(monomial: Monomial) -> str:
    return "*".join(map(_atom_text, monomial))


def _order(monomial: Monomial) -> tuple[int, bool, str]:
    """Constants last, higher products first, names before divisions, then by name."""
    return (-len(monomial), not all(isinstance(atom, str) for atom in monomial), _monomial_text(monomial))


class Expression:
    """A sum of products: monomial -> coefficient, without zeros."""

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        self.terms = {m: terms[m] for m in sorted(terms, key=_order) if terms[m]}

    @staticmethod
    def constant(value: int) -> Expression:
        return Expression({(): value})

    @staticmethod
    def symbol(name: str) -> Expression:
        return Expression({(name,): 1})

    @cached_property
    def text(self) -> str:
        """Such as "batch", "2*batch + 1", "(batch + 1)//2", "batch*time - 3"."""
        result = ""
        for monomial, coefficient in self.terms.items():
            sign = " - " if coefficient < 0 else " + "
            size, body = abs(coefficient), _monomial_text(monomial)
            if len(monomial) + (size != 1) > 1:  # in a product, a division needs brackets
                body = "*".join(atom if isinstance(atom, str) else f"({atom.text})" for atom in monomial)
            part = body if body and size == 1 else f"{size}*{body}" if body else str(size)
            result += (sign if result else sign.strip(" +")) + part
        return result or "0"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return self.text

    @property
    def value(self) -> int | None:
        """The number, of an expression without names."""
        return 0 if not self.terms else self.terms.get(()) if len(self.terms) == 1 else None

    @property
    def names(self) -> set[str]:
        """The names that occur."""
        found: set[str] = set()
        for monomial in self.terms:
            for atom in monomial:
                found |= {atom} if isinstance(atom, str) else atom.numerator.names | atom.denominator.names
        return found

    def __add__(self, other: Expression) -> Expression:
        total = dict(self.terms)
        for monomial, coefficient in other.terms.items():
            total[monomial] = total.get(monomial, 0) + coefficient
        return Expression(total)

    def __neg__(self) -> Expression:
        return Expression({m: -c for m, c in self.terms.items()})

    def __sub__(self, other: Expression) -> Expression:
        return self + -other

    def __mul__(self, other: Expression) -> Expression:
        total: dict[Monomial, int] = {}
        for a, x in self.terms.items():
            for b, y in other.terms.items():
                product = tuple(sorted((*a, *b), key=_atom_text))
                total[product] = total.get(product, 0) + x * y
        return Expression(total)

    def __floordiv__(self, other: Expression) -> Expression:
        exact = self.divided(other)
        if exact is not None:
            return exact
        divisor = other.value
        if divisor is None:
            return Expression({(FloorDivision(self, other),): 1})
        # floor((d*q + r) / d) = q + floor(r / d): what divides evenly comes out of the floor.
        even = Expression({m: c // divisor for m, c in self.terms.items() if c % divisor == 0})
        rest = Expression({m: c for m, c in self.terms.items() if c % divisor})
        if rest.value is not None:
            return even + Expression.constant(rest.value // divisor)
        return even + Expression({(FloorDivision(rest, other),): 1})

    def divided(self, other: Expression) -> Expression | None:
        """The quotient if it comes out even, by long division."""
        rest, quotient = self, Expression({})
        for _ in range(len(self.terms) + 1):
            if not rest.terms:
                return quotient
            step = _divide_leading(rest, other)
            if step is None:
                return None
            quotient, rest = quotient + step, rest - step * other
        return None

    def evaluate(self, bindings: Mapping[str, Any]) -> Any:
        """The value with the names bound to numbers, or to anything that has +, - , * and //."""
        total: Any = None
        for monomial, coefficient in self.terms.items():
            term: Any = None
            for atom in monomial:
                factor = bindings[atom] if isinstance(atom, str) else atom.evaluate(bindings)
                term = factor if term is None else term * factor
            term = coefficient if term is None else term if coefficient == 1 else term * coefficient
            total = term if total is None else total + term
        return 0 if total is None else total


def _divide_leading(a: Expression, b: Expression) -> Expression | None:
    (top, x), (bottom, y) = next(iter(a.terms.items())), next(iter(b.terms.items()))
    rest = list(top)
    for atom in bottom:
        if atom not in rest:
            return None
        rest.remove(atom)
    return None if x % y else Expression({tuple(rest): x // y})


def _bracketed(e: Expression) -> str:
    return e.text if len(e.terms) == 1 and "*" not in e.text else f"({e.text})"


class SymInt(int):
    """An integer that remembers its expression in named sizes; it behaves as the int of its value everywhere else.

    `+ - * // %` with integers and other SymInts keep the expression; true division, comparison and `int()` give plain
    numbers, and what is then fixed by them is found when the two traces are compared.
    """

    expression: Expression

    def __new__(cls, value: int, expression: Expression) -> SymInt:
        self = int.__new__(cls, value)
        self.expression = expression
        return self

    @property
    def text(self) -> str:
        """The canonical text of the expression, such as "2*batch + 1"."""
        return self.expression.text

    def evaluate(self, bindings: Mapping[str, Any]) -> Any:
        """The expression with the names bound to numbers, or to anything that has +, -, * and //."""
        return self.expression.evaluate(bindings)

    def __repr__(self) -> str:
        return f"{self.text}={int(self)}"

    def __str__(self) -> str:
        return int.__repr__(self)

    def __deepcopy__(self, memo: Any) -> SymInt:
        return self

    def __neg__(self) -> int:
        return made(-int(self), -self.expression)

    def __add__(self, other: Any) -> Any:
        return _combined(int.__add__, Expression.__add__, self, other)

    def __radd__(self, other: Any) -> Any:
        return _combined(int.__add__, Expression.__add__, other, self)

    def __sub__(self, other: Any) -> Any:
        return _combined(int.__sub__, Expression.__sub__, self, other)

    def __rsub__(self, other: Any) -> Any:
        return _combined(int.__sub__, Expression.__sub__, other, self)

    def __mul__(self, other: Any) -> Any:
        return _combined(int.__mul__, Expression.__mul__, self, other)

    def __rmul__(self, other: Any) -> Any:
        return _combined(int.__mul__, Expression.__mul__, other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _combined(int.__floordiv__, Expression.__floordiv__, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _combined(int.__floordiv__, Expression.__floordiv__, other, self)

    def __mod__(self, other: Any) -> Any:
        return self - (self // other) * other if isinstance(other, int) else NotImplemented

    def __rmod__(self, other: Any) -> Any:
        return other - (other // self) * self if isinstance(other, int) else NotImplemented


def made(value: int, expression: Expression) -> int:
    """A SymInt, or a plain int where no name is left."""
    return value if expression.value is not None else SymInt(value, expression)


def expression_of(value: int) -> Expression:
    """The expression of an integer of either kind."""
    return value.expression if isinstance(value, SymInt) else Expression.constant(int(value))


def _combined(on_values: Any, on_expressions: Any, a: Any, b: Any) -> Any:
    if not isinstance(a, int) or not isinstance(b, int):
        return NotImplemented
    return made(on_values(int(a), int(b)), on_expressions(expression_of(a), expression_of(b)))


def symbol(name: str, value: int) -> SymInt:
    """The size called `name`, which is `value` in this trace."""
    return SymInt(value, Expression.symbol(name))


def contains_symbol(value: Any) -> bool:
    """Whether a SymInt is in a field of an operator, at any depth."""
    if isinstance(value, (tuple, list)):
        return any(map(contains_symbol, value))
    if isinstance(value, SymInt):
        return True
    return any(contains_symbol(getattr(value, name)) for name in field_names(value))


def field_names(value: Any) -> tuple[str, ...]:
    """The names of the fields of an operator, or of a dataclass that is an argument of one."""
    names: Any = getattr(type(value), "field_names", ()) or getattr(type(value), "__dataclass_fields__", ())
    return tuple(names)


_OPERATIONS: dict[type, Any] = {
    ast.Add: Expression.__add__,
    ast.Sub: Expression.__sub__,
    ast.Mult: Expression.__mul__,
    ast.FloorDiv: Expression.__floordiv__,
}


def parse_expression(text: str) -> Expression:
    """The expression that `Expression.text` writes: names, integers, + - * // and brackets.

    Raises:
        ValueError: anything else, or a division by 0.
        TypeError: no text.
    """
    if not isinstance(text, str):
        raise TypeError(f"expected text, came {type(text).__name__}")
    try:
        return _parsed(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, ZeroDivisionError, MemoryError) as error:
        raise ValueError(f"{text!r} is no size: expected names, integers, + - * // and brackets") from error


def _parsed(node: ast.expr) -> Expression:
    if isinstance(node, ast.Name):
        return Expression.symbol(node.id)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Expression.constant(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_parsed(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = _parsed(node.left), _parsed(node.right)
        if isinstance(node.op, ast.FloorDiv) and not right.terms:
            raise ZeroDivisionError("division by 0")
        combined: Expression = _OPERATIONS[type(node.op)](left, right)
        return combined
    raise ValueError(f"{ast.unparse(node)!r} is no size: expected names, integers, + - * // and brackets")
