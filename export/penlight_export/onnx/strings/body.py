# SPDX-License-Identifier: Apache-2.0
"""One node that has strings among its operands or results, while its strings become bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from penlight_export.graph import (
    FUSED_DOMAIN,
    Attr,
    AttributeType,
    DataType,
    Shape,
    TensorType,
    Value,
    constant_of,
    graph_of,
    rank_of,
)
from penlight_export.onnx.ml.body import Body

Widths = dict[Value, int]
Handler = Callable[["TextBody"], None]


class TextBody(Body):
    """A node whose operands are bytes already, where they were strings; `widths` has the bytes of each such value."""

    widths: Widths

    def is_text(self, i: int = 0) -> bool:
        """Whether an operand is there and was strings."""
        return i < len(self.node.inputs) and self.node.inputs[i] in self.widths

    def width(self, i: int = 0) -> int:
        """Bytes of the longest string that operand i can hold."""
        if not self.is_text(i):
            raise self.refusal(f"mixes strings with other types (input {i})")
        return self.widths[self.input(i)]

    def rank(self, i: int = 0) -> int | None:
        """Dimensions of an operand without its bytes."""
        rank = rank_of(self.input(i))
        return rank if rank is None or not self.is_text(i) else rank - 1

    def known_rank(self) -> int:
        """The same of the first operand, which must be known."""
        rank = self.rank()
        if rank is None:
            raise self.refusal("has strings of unknown rank")
        return rank

    def widened(self, value: Value, width: int) -> Value:
        """A value with zeros behind its strings, up to `width` bytes."""
        more = width - self.widths[value]
        if not more:
            return value
        pads, axes = self.constant([0, more], np.int64), self.constant([-1], np.int64)
        return self.add("Pad", value, pads, self.constant(0, np.uint8), axes)

    def fused(self, operator: str, *inputs: Value, **attributes: Any) -> Value:
        """A node of our own operators on strings."""
        graph_of(self.node).opset_imports.setdefault(FUSED_DOMAIN, 1)
        return self.add(operator, *inputs, domain=FUSED_DOMAIN, **attributes)

    def index(self, x: Value, keys: np.ndarray) -> Value:
        """int64 of x's shape without bytes: the place of an equal string among sorted keys, -1 without one."""
        return self.fused("StringIndex", x, self.text_constant(keys))

    def text_constant(self, texts: np.ndarray) -> Value:
        """An initializer of bytes as wide as its longest string."""
        array = encode_constant(texts)
        value = self.constant(array, np.uint8)
        self.widths[value] = array.shape[-1]
        return value

    def set_integer(self, name: str, value: int) -> None:
        """Replaces an attribute."""
        self.node.attributes[name] = Attr(name, AttributeType.INT, value)

    def shift_axis(self, default: int | None = None, name: str = "axis") -> None:
        """An axis that counts from the end steps over the bytes."""
        axis = self.attribute(name, default)
        if axis is not None and axis < 0:
            self.set_integer(name, axis - 1)

    def shift_axes(self, i: int) -> None:
        """The same for axes in an operand, if there is one."""
        value = self.node.inputs[i] if i < len(self.node.inputs) else None
        if value is None:
            return
        known = constant_of(value)
        if known is not None:
            self.node.replace_input_with(i, self.constant(np.where(known < 0, known - 1, known), known.dtype))
            return
        wide = self.cast(value, DataType.INT64)
        negative = self.add("Less", wide, self.constant(0, np.int64))
        shifted = self.add("Sub", wide, self.constant(1, np.int64))
        self.node.replace_input_with(i, self.add("Where", negative, shifted, wide))

    def append(self, i: int, size: int) -> None:
        """One more entry at the end of an operand that is a shape."""
        tail = self.constant([size], np.int64)
        self.node.replace_input_with(i, self.add("Concat", self.cast(self.input(i), DataType.INT64), tail, axis=0))

    def keep(self, *texts: int, width: int | None = None) -> None:
        """The node stays, behind those that its operands needed; the outputs at `texts` become bytes."""
        graph_of(self.node).insert_before(self.node, self.nodes)
        for k in texts:
            if k < len(self.node.outputs):
                self.become_text(self.node.outputs[k], self.node.outputs[k].shape, self.width() if width is None else width)

    def become_text(self, value: Value, shape: Shape | None, width: int) -> None:
        """Declares bytes."""
        value.type = TensorType(DataType.UINT8)
        value.shape = None if shape is None else Shape([*shape, width])
        self.widths[value] = width

    def replace_by_text(self, value: Value, width: int, *others: Value | None) -> None:
        """The first output is `value`, bytes in place of strings; the others are no strings."""
        self.become_text(value, self.node.outputs[0].shape, width)
        self.finish(value, *others)


def encode_constant(texts: np.ndarray) -> np.ndarray:
    """uint8 with one more dimension, at least 1. texts: an object array of str or bytes."""
    data = [text.encode() if isinstance(text, str) else bytes(text) for text in texts.reshape(-1).tolist()]
    width = max([1, *map(len, data)])
    return np.array(data, f"S{width}").reshape(-1).view(np.uint8).reshape(*texts.shape, width)
