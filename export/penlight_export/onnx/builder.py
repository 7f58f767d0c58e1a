# SPDX-License-Identifier: Apache-2.0
"""What lowerings write ONNX nodes with: names, constants, sizes that are known only when the model runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from penlight_export.errors import UnsupportedFeatureError
from penlight_export.graph import (
    BUILT,
    MODULE_PATH,
    SOURCE,
    DataType,
    Graph,
    Model,
    Shape,
    TensorType,
    Value,
    add_constant,
    fresh_name,
    make_node,
    shared_shape,
)
from penlight_export.onnx.opsets import ir_version


class Size:
    """A size inside the graph: an int64 scalar value, with the arithmetic that SymInt expressions are made of."""

    def __init__(self, builder: Builder, value: Value) -> None:
        self.builder = builder
        self.value = value

    def _with(self, operator: str, other: Any, swapped: bool = False) -> Size:
        right = other.value if isinstance(other, Size) else self.builder.integers(int(other))
        pair = (right, self.value) if swapped else (self.value, right)
        return Size(self.builder, self.builder.op(operator, *pair, dtype=np.int64, shape=()))

    def __add__(self, other: Any) -> Size:
        return self._with("Add", other)

    def __radd__(self, other: Any) -> Size:
        return self._with("Add", other, swapped=True)

    def __sub__(self, other: Any) -> Size:
        return self._with("Sub", other)

    def __rsub__(self, other: Any) -> Size:
        return self._with("Sub", other, swapped=True)

    def __mul__(self, other: Any) -> Size:
        return self._with("Mul", other)

    def __rmul__(self, other: Any) -> Size:
        return self._with("Mul", other, swapped=True)

    def __floordiv__(self, other: Any) -> Size:
        # ONNX rounds towards zero, Python down; sizes are not negative, where both agree.
        return self._with("Div", other)

    def __neg__(self) -> Size:
        return self._with("Mul", -1)


class Builder:
    """Appends nodes to a graph. `enter` names what the next nodes stand for.

    Attributes:
        model: what is being built.
        specs: shape and dtype (from the trace) of values that a lowering gets as input.
        outputs: Specs of the outputs of the operator that is being lowered.
        wanted: per output whether anything reads it.
    """

    def __init__(self, name: str, opset: int) -> None:
        graph = Graph([], [], nodes=[], opset_imports={"": opset}, name=name)
        self.model = Model(graph, ir_version=ir_version(opset), producer_name="penlight")
        self.model.meta[BUILT] = True
        self._graph = graph
        self.specs: dict[Value, Any] = {}
        self.outputs: tuple[Any, ...] = ()
        self.wanted: tuple[bool, ...] = ()
        self._scope = ""
        self._metadata: dict[str, str] = {}
        self._symbols: dict[str, tuple[Value, int]] = {}
        self._sizes: dict[str, Value] = {}
        self._shared: dict[str, Value] = {}
        self._numbers: dict[tuple[Any, ...], Value] = {}

    @property
    def graph(self) -> Graph:
        """The graph that nodes go to: the main one, or a body."""
        return self._graph

    @property
    def name(self) -> str:
        """What the operator that is being lowered is called in names."""
        return self._scope

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is computed inside of sizes and the like is not known outside; afterwards the same operator goes on."""
        known, operator = (self._symbols, self._sizes, self._shared), (self.wanted, self._scope, self._metadata, self.outputs)
        self._symbols, self._sizes, self._shared = dict(self._symbols), dict(self._sizes), dict(self._shared)
        try:
            yield
        finally:
            self._symbols, self._sizes, self._shared = known
            self.wanted, self._scope, self._metadata, self.outputs = operator

    @contextmanager
    def subgraph(self, name: str) -> Iterator[Graph]:
        """The graph of a body, to which nodes go inside; it may read what was computed before. Names are unique over all graphs."""
        around = self._graph
        self._graph = Graph([], [], nodes=[], name=name)
        self._graph.meta.update(self.model.graph.meta)
        try:
            with self.scope():
                yield self._graph
        finally:
            self._graph = around

    def fresh(self, name: str) -> str:
        """A name that no graph uses yet."""
        return fresh_name(self.model.graph, name)

    @property
    def opset(self) -> int:
        """The version of ai.onnx that nodes are written for."""
        return self.model.opset_imports[""]

    def enter(
        self, operator: str, module_path: str | None, source: str | None, outputs: Sequence[Any], wanted: Sequence[bool]
    ) -> None:
        """Says which traced operator the next nodes belong to."""
        self.wanted = tuple(wanted)
        self._scope = f"{module_path}.{operator}" if module_path else operator
        self._metadata = {key: text for key, text in ((MODULE_PATH, module_path), (SOURCE, source)) if text}
        self.outputs = tuple(outputs)

    def input(self, name: str, spec: Any) -> Value:
        """Adds an input of the graph. Sizes that are symbols become named dimensions."""
        value = Value(name=self.fresh(name), shape=symbolic_shape(spec.shape), type=TensorType(onnx_dtype(spec)))
        self.graph.inputs.append(value)
        self.define(value, spec)
        return value

    def define(self, value: Value, spec: Any) -> None:
        """Notes the shape and dtype of a value; symbols that nothing has defined yet are its sizes."""
        self.specs.setdefault(value, spec)
        for axis, size in enumerate(spec.shape):
            text = symbol_text(size)
            if text is not None:
                self._symbols.setdefault(text, (value, axis))

    def op(
        self,
        operator: str,
        *inputs: Value | None,
        count: int = 1,
        dtype: Any = None,
        shape: Any = None,
        domain: str = "",
        **attributes: Any,
    ) -> Any:
        """Appends a node. Returns its output, or a tuple of them when `count` is above 1. Attributes that are None are left out."""
        names = [self.fresh(self._scope if count == 1 else f"{self._scope}.{i}") for i in range(count)]
        kept = {name: value for name, value in attributes.items() if value is not None}
        node = make_node(operator, _trimmed(inputs), kept, output_names=names, domain=domain, name=names[0], notes=self._metadata)
        self.graph.append(node)
        if dtype is not None:
            node.outputs[0].type = TensorType(DataType.from_numpy(np.dtype(dtype)))
        if shape is not None:
            node.outputs[0].shape = Shape(shape)
        return node.outputs[0] if count == 1 else tuple(node.outputs)

    def weight(self, array: np.ndarray, name: str) -> Value:
        """A parameter, buffer or constant tensor of the model, under its qualified name."""
        return add_constant(self.model.graph, array, name)

    def constant(self, array: Any, dtype: Any) -> Value:
        """A small constant; equal ones are stored once."""
        array = np.asarray(array, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._numbers:
            self._numbers[key] = add_constant(self.model.graph, array, _number_name(array))
        return self._numbers[key]

    def integers(self, values: int | Sequence[int]) -> Value:
        """An int64 scalar or vector."""
        return self.constant(values, np.int64)

    def like(self, number: float, value: Value) -> Value:
        """A scalar constant in the dtype of an input of the lowering."""
        return self.constant(number, self.specs[value].dtype.numpy)

    def size(self, size: int) -> Value:
        """An int64 scalar: a constant, or computed from the shapes of inputs for a SymInt."""
        text = symbol_text(size)
        if text is None:
            return self.integers(int(size))
        if text not in self._sizes:
            names = sorted(size.expression.names)  # type: ignore[attr-defined]  # symbol_text found a SymInt
            result = size.evaluate({name: self._symbol(name) for name in names})  # type: ignore[attr-defined]  # likewise
            self._sizes[text] = result.value if isinstance(result, Size) else self.integers(int(result))
        return self._sizes[text]

    def fixed(self, size: int) -> int:
        """A size that stands in an attribute, or in a constant.

        Raises:
            UnsupportedFeatureError: it is dynamic.
        """
        text = symbol_text(size)
        if text is not None:
            place = self._metadata.get(SOURCE, "export")
            raise UnsupportedFeatureError(f"{place}: {self._scope}: ONNX wants a fixed size for {text!r}; leave it out of dynamic")
        return int(size)

    def sizes(self, sizes: Sequence[int]) -> Value:
        """An int64 vector of sizes; constant when none of them is a SymInt."""
        if all(symbol_text(size) is None for size in sizes):
            return self.integers([int(size) for size in sizes])
        parts = [
            self.integers([int(size)]) if symbol_text(size) is None else self.op("Unsqueeze", self.size(size), self.integers([0]))
            for size in sizes
        ]
        return self.op("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def shared(self, key: str, make: Callable[[], Value]) -> Value:
        """The value that `make` writes, once per graph and key."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def _symbol(self, name: str) -> Size:
        if name not in self._sizes:
            value, axis = self._symbols[name]
            shape = self.op("Shape", value, start=axis, end=axis + 1)
            self._sizes[name] = self.op("Squeeze", shape, self.integers([0]), dtype=np.int64, shape=())
        return Size(self, self._sizes[name])


def symbol_text(size: int) -> str | None:
    """The expression of a SymInt ("batch", "2*batch + 1"), None for a plain number."""
    return getattr(size, "text", None)


def symbolic_shape(shape: Sequence[int]) -> Shape:
    """A shape whose SymInts are named dimensions."""
    return shared_shape(tuple([size if type(size) is int else symbol_text(size) or int(size) for size in shape]))


def onnx_dtype(spec: Any) -> DataType:
    """The ONNX element type of a traced value."""
    return _onnx_dtype(spec.dtype)


@functools.cache
def _onnx_dtype(dtype: Any) -> DataType:
    return DataType.from_numpy(np.dtype(dtype.numpy))


def _trimmed(inputs: Sequence[Value | None]) -> list[Value | None]:
    """Without the absent optional inputs at the end."""
    kept = list(inputs)
    while kept and kept[-1] is None:
        kept.pop()
    return kept


def _number_name(array: np.ndarray) -> str:
    """'int64_2_3' for [2, 3]; long or odd ones are just 'float32_constant'."""
    text = (
        "_".join(f"{number:g}" for number in array.reshape(-1)[:6].tolist())
        if array.size <= 6 and array.dtype != bool
        else "constant"
    )
    return f"{array.dtype.name}_{text or 'empty'}".replace("-", "m").replace("+", "")
