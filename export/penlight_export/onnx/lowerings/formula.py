# SPDX-License-Identifier: Apache-2.0
"""Lowers operators that are formulas by running the formula on graph values instead of arrays."""

from __future__ import annotations

from typing import Any

from penlight.dtype import float32
from penlight.ops.operator import Spec
from penlight_export.graph import DataType, Value
from penlight_export.onnx.builder import Builder, onnx_dtype
from penlight_export.onnx.lowerings.registry import lowering


class Term:
    """A value of the graph with the arithmetic of a formula; numbers take the dtype of the operator's input."""

    def __init__(self, namespace: Namespace, value: Value) -> None:
        self.namespace = namespace
        self.value = value

    def __add__(self, other: Any) -> Term:
        return self.namespace.call("Add", self, other)

    def __radd__(self, other: Any) -> Term:
        return self.namespace.call("Add", other, self)

    def __sub__(self, other: Any) -> Term:
        return self.namespace.call("Sub", self, other)

    def __rsub__(self, other: Any) -> Term:
        return self.namespace.call("Sub", other, self)

    def __mul__(self, other: Any) -> Term:
        return self.namespace.call("Mul", self, other)

    def __rmul__(self, other: Any) -> Term:
        return self.namespace.call("Mul", other, self)

    def __truediv__(self, other: Any) -> Term:
        return self.namespace.call("Div", self, other)

    def __rtruediv__(self, other: Any) -> Term:
        return self.namespace.call("Div", other, self)

    def __pow__(self, other: Any) -> Term:
        return self.namespace.call("Pow", self, other)

    def __neg__(self) -> Term:
        return self.namespace.call("Neg", self)

    def __lt__(self, other: Any) -> Term:
        return self.namespace.call("Less", self, other)

    def __le__(self, other: Any) -> Term:
        return self.namespace.call("LessOrEqual", self, other)

    def __gt__(self, other: Any) -> Term:
        return self.namespace.call("Greater", self, other)

    def __eq__(self, other: Any) -> Any:  # a comparison per element, as of arrays
        return self.namespace.call("Equal", self, other)

    def __ne__(self, other: Any) -> Any:
        return ~(self == other)

    def __and__(self, other: Any) -> Term:
        return self.namespace.call("And", self, other)

    def __or__(self, other: Any) -> Term:
        return self.namespace.call("Or", self, other)

    def __invert__(self) -> Term:
        return self.namespace.call("Not", self)

    __hash__ = None  # type: ignore[assignment]  # == builds a node, so a term has no hash


class Namespace:
    """Stands in for NumPy: the functions that formulas use, each as one node."""

    _FUNCTIONS = {"abs": "Abs", "cos": "Cos", "exp": "Exp", "floor": "Floor", "isinf": "IsInf", "log": "Log", "rint": "Round",
                  "sign": "Sign", "sin": "Sin", "sqrt": "Sqrt", "where": "Where"}  # fmt: skip

    def __init__(self, builder: Builder, like: Value) -> None:
        self.builder = builder
        self.like = like

    def __getattr__(self, name: str) -> Any:
        operator = self._FUNCTIONS[name]
        return lambda *arguments: self.call(operator, *arguments)

    def call(self, operator: str, *arguments: Any) -> Term:
        """One node; numbers among the arguments become constants."""
        values = [a.value if isinstance(a, Term) else self.builder.like(a, self.like) for a in arguments]
        return Term(self, self.builder.op(operator, *values))

    def asarray(self, value: Any) -> Term:
        """The term itself, or a constant."""
        return value if isinstance(value, Term) else Term(self, self.builder.like(value, self.like))


@lowering("lgamma", "polygamma", "zeta", "i0", "i0e", "i1", "i1e", "erfcx")
def formula(b: Builder, operator: Any, *inputs: Value) -> Value:
    """The formula in the dtype of the input: in float32 it keeps about six digits."""
    half = b.specs[inputs[0]].dtype.numpy.itemsize == 2  # the constants of a formula are too large for float16
    wide = tuple(_widened(b, x) for x in inputs) if half else inputs
    namespace = Namespace(b, wide[0])
    result: Term = operator.formula(namespace, *(Term(namespace, x) for x in wide))
    return b.op("Cast", result.value, to=onnx_dtype(b.outputs[0])) if half else result.value


def _widened(b: Builder, x: Value) -> Value:
    wide: Value = b.op("Cast", x, to=DataType.FLOAT)
    b.define(wide, Spec(b.specs[x].shape, float32))
    return wide
