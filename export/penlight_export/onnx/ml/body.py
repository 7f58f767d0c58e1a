# SPDX-License-Identifier: Apache-2.0
"""The nodes that stand in for one node of ai.onnx.ml, and the operations that several of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight_export.errors import UnsupportedFeatureError
from penlight_export.graph import (
    FUSED_DOMAIN,
    DataType,
    Node,
    TensorType,
    Value,
    add_constant,
    add_texts,
    describe,
    find_attribute,
    fresh_name,
    graph_of,
    make_node,
    rank_of,
    replace_node,
    text_array,
)


class Body:
    """Collects nodes of operator set 21, which then take the place of `node`."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.nodes: list[Node] = []
        self._base = node.name or node.outputs[0].name or node.op_type

    def input(self, i: int = 0) -> Value:
        """An operand that must be there."""
        value = self.node.inputs[i] if i < len(self.node.inputs) else None
        if value is None:
            raise self.refusal(f"lacks input {i}")
        return value

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute."""
        return find_attribute(self.node, name, default)

    def numbers(self, *names: str) -> np.ndarray:
        """The first of these attributes that is there, a list or a tensor, as an array; of size 0 when there is none."""
        for name in names:
            value = self.attribute(name)
            if value is not None and len(getattr(value, "shape", value)):
                return np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        return np.zeros(0, np.float32)

    def entries(self, *names: str) -> np.ndarray:
        """As `numbers`, where strings may be as well: those are an object array."""
        texts = self.texts(*names)
        return texts if texts.size else self.numbers(*names)

    def texts(self, *names: str) -> np.ndarray:
        """The first of these attributes that holds strings, a list or a tensor, as an object array of str; else of size 0."""
        for name in names:
            value = self.attribute(name)
            if isinstance(value, str):
                return np.array(value, object)
            if getattr(value, "dtype", None) == DataType.STRING:
                return text_array(value)
            if isinstance(value, Sequence) and len(value) and isinstance(value[0], str):
                return np.array(list(value), object)
        return np.zeros(0, object)

    def add(self, operator: str, *inputs: Value, domain: str = "", outputs: int = 1, **attributes: Any) -> Value:
        """One more node; returns its first output."""
        names = [fresh_name(graph_of(self.node), f"{self._base}.{operator}") for _ in range(outputs)]
        node = make_node(operator, inputs, attributes, domain=domain, output_names=names, like=self.node)
        self.nodes.append(node)
        return node.outputs[0]

    def constant(self, array: Any, dtype: Any = np.float32) -> Value:
        """An initializer; of strings where `array` holds them."""
        if isinstance(array, np.ndarray) and array.dtype.kind == "O":
            return add_texts(graph_of(self.node), array, f"{self._base}.constant")
        return add_constant(graph_of(self.node), np.asarray(array, dtype), f"{self._base}.constant")

    def cast(self, value: Value, dtype: DataType) -> Value:
        """`value` itself when it has the type already."""
        return value if value.dtype == dtype else self.add("Cast", value, to=dtype.value)

    def rows(self) -> Value:
        """The first operand as (N, F) float32; a vector is one row."""
        x = self.cast(self.input(), DataType.FLOAT)
        return self.add("Unsqueeze", x, self.constant([0], np.int64)) if rank_of(self.input()) == 1 else x

    def finish(self, *outputs: Value | None) -> None:
        """Puts the nodes in."""
        wanted = [
            value if old.uses() or old.is_graph_output() else None for old, value in zip(self.node.outputs, outputs, strict=False)
        ]
        replace_node(self.node, self.nodes, wanted)

    def refusal(self, why: str) -> UnsupportedFeatureError:
        """An error that names the node."""
        return UnsupportedFeatureError(f"{self.node.op_type} node {describe(self.node)} {why}")

    def labels(self, *names: str) -> np.ndarray:
        """Labels of classes: int64, or an object array of str."""
        texts = self.texts("classlabels_strings")
        return texts if texts.size else self.numbers(*names).astype(np.int64)

    def index(self, x: Value, keys: np.ndarray) -> Value:
        """Where strings stand among sorted keys, -1 for those that do not; int64 of x's shape."""
        graph_of(self.node).opset_imports.setdefault(FUSED_DOMAIN, 1)
        places = self.add("StringIndex", x, self.constant(keys), domain=FUSED_DOMAIN)
        places.type, places.shape = TensorType(DataType.INT64), x.shape
        return places


def pick_label(body: Body, index: Value, labels: np.ndarray) -> Value:
    """index: (N,) int64 of a class. Returns its label."""
    label = body.add("Gather", body.constant(labels, np.int64), index)
    if labels.dtype.kind == "O":
        label.type = TensorType(DataType.STRING)
    return label


def transform(body: Body, scores: Value, kind: str) -> Value:
    """The attribute post_transform on scores (N, C)."""
    if kind == "NONE":
        return scores
    if kind == "LOGISTIC":
        return body.add("Sigmoid", scores)
    if kind == "SOFTMAX":
        return body.add("Softmax", scores, axis=-1)
    raise body.refusal(f"has post_transform {kind}, expected NONE, LOGISTIC or SOFTMAX")


def both_classes(body: Body, score: Value, kind: str, complement: bool) -> Value:
    """Scores (N, 2) from that of the second class (N, 1): the first has 1 - s for a probability, else -s."""
    if kind == "LOGISTIC" or not complement:
        pair = body.add("Concat", body.add("Neg", score), score, axis=1)
        return transform(body, pair, kind if kind == "LOGISTIC" else "NONE")
    return body.add("Concat", body.add("Sub", body.constant(1), score), score, axis=1)
