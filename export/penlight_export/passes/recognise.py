# SPDX-License-Identifier: Apache-2.0
"""Puts one operator in the place of what older operator sets wrote out: LayerNorm, RMSNorm, GELU, SiLU, HardSwish and others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penlight_export.graph import (
    Graph,
    Model,
    Node,
    Value,
    add_constant,
    all_graphs,
    constant_size,
    graph_of,
    make_node,
    rank_of,
    replace_node,
    static_shape,
)
from penlight_export.passes.base import Pass
from penlight_export.passes.dead_code import is_dead
from penlight_export.passes.formula import Bindings, Formula, is_close, parse

Inputs = list[Value | None]
Build = Callable[[Node, Bindings], tuple[Inputs, dict[str, Any]] | None]


@dataclass(frozen=True)
class Recognition:
    """A formula, and the operator that says the same, valid from an operator set version on."""

    formula: Formula
    operator: str
    opset: int
    build: Build = field(default=lambda node, found: ([found.values["x"]], {}))


class RecogniseOperators(Pass):
    """Looks from the outputs to the inputs, so that the largest formula is found first; what it leaves unread goes at once.

    What onnxruntime runs faster written out is recognised for .pen files only, by a pass of its own that is `edge_only`.
    """

    name = "recognise"
    finds_newer = True

    def __init__(self, opset: int | None = None, edge_only: bool = False) -> None:
        self.opset, self.edge_only = opset, edge_only

    def run(self, model: Model) -> int:
        """Returns the number of formulas that became one operator."""
        opset = self.opset or model.opset_imports.get("", 1)
        table = _by_root(opset, self.edge_only)
        return sum(_recognise_in(graph, table) for graph in all_graphs(model.graph))


def _recognise_in(graph: Graph, table: dict[str, list[Recognition]]) -> int:
    changes = 0
    for node in reversed(tuple(graph)):
        rules = table.get(node.op_type) if node.domain == "" else None
        if rules is None:
            continue
        if changes and is_dead(node):
            graph.remove(node, safe=True)
        elif any(_replace(node, rule) for rule in rules):
            changes += 1
    return changes


def _replace(node: Node, rule: Recognition) -> bool:
    for found in rule.formula.matches(node):
        built = rule.build(node, found) if _keeps_form(node, found) else None
        if built is not None:
            inputs, attributes = built
            new = make_node(rule.operator, inputs, attributes, like=node)
            replace_node(node, [new], new.outputs)
            return True
    return False


def _keeps_form(node: Node, found: Bindings) -> bool:
    """Constants have not widened x by broadcasting, and the arithmetic is that of real numbers."""
    x, y = found.values["x"], node.outputs[0]
    floating = x.dtype is not None and x.dtype.is_floating_point() and (y.dtype is None or y.dtype == x.dtype)
    return floating and rank_of(x) is not None and (y.shape is None or y.shape == x.shape or rank_of(y) == rank_of(x))


def _with(**attributes: Any) -> Build:
    return lambda node, found: ([found.values["x"]], attributes)


def _swish(node: Node, found: Bindings) -> tuple[Inputs, dict[str, Any]]:
    return [found.values["x"]], {"alpha": found.numbers["alpha"]}


def _hard_swish(node: Node, found: Bindings) -> tuple[Inputs, dict[str, Any]] | None:
    """x * HardSigmoid(x) only where that has the slope 1/6 and the offset 1/2."""
    x = found.values["x"]
    gate = next((use.node for use in x.uses() if use.node.op_type == "HardSigmoid"), None)
    if gate is None:
        return None
    alpha, beta = (gate.attributes[name].value if name in gate.attributes else default for name, default in _HARD_SIGMOID)
    return ([x], {}) if is_close(alpha, 1 / 6, x) and is_close(beta, 0.5, x) else None


_HARD_SIGMOID = (("alpha", 0.2), ("beta", 0.5))


def _norm(node: Node, found: Bindings) -> tuple[Inputs, dict[str, Any]] | None:
    """A normalisation over the last axes, whose weight and bias are constants of their shape."""
    x, axes = found.values["x"], found.axes
    shape, rank = x.shape, rank_of(x)
    if axes is None or rank is None or shape is None or axes != tuple(range(rank - len(axes), rank)):
        return None
    sizes = [size for size in list(shape)[axes[0] :] if isinstance(size, int)]
    if len(sizes) != len(axes) or any(not _fits(found.values.get(name), sizes) for name in ("weight", "bias")):
        return None
    weight = found.values.get("weight") or _ones(node, x, sizes)
    inputs: Inputs = [x, weight, *([found.values["bias"]] if "bias" in found.values else [])]
    return inputs, {"axis": axes[0] - rank, "epsilon": found.numbers.get("eps", 0.0)}


def _fits(value: Value | None, sizes: Sequence[int]) -> bool:
    return value is None or (constant_size(value) is not None and list(static_shape(value) or ()) == list(sizes))


def _ones(node: Node, x: Value, sizes: Sequence[int]) -> Value:
    assert x.dtype is not None
    return add_constant(graph_of(node), np.ones(sizes, x.dtype.numpy()), f"{node.outputs[0].name}.ones")


_CENTRED = "(x - ReduceMean(x))"
_LAYER_NORM = f"{_CENTRED} / Sqrt(ReduceMean({_CENTRED} ** 2) + eps)"
_RMS_NORM = "x / Sqrt(ReduceMean(x ** 2) + eps)"

# Formulas with one root are tried in this order: the larger before its parts.
_FORMULAS: tuple[tuple[str, str, int, Build], ...] = (
    (f"{_LAYER_NORM} * weight + bias", "LayerNormalization", 17, _norm),
    (f"{_LAYER_NORM} * weight", "LayerNormalization", 17, _norm),
    (_LAYER_NORM, "LayerNormalization", 17, _norm),
    (f"{_RMS_NORM} * weight", "RMSNormalization", 23, _norm),
    (_RMS_NORM, "RMSNormalization", 23, _norm),
    ("0.5 * x * (1 + Erf(x * 0.7071067811865476))", "Gelu", 20, _with(approximate="none")),
    ("x * (0.5 + 0.5 * Erf(x * 0.7071067811865476))", "Gelu", 20, _with(approximate="none")),
    ("0.5 * x * (1 + Tanh(0.7978845608 * (x + 0.044715 * x ** 3)))", "Gelu", 20, _with(approximate="tanh")),
    ("0.5 * x * (1 + Tanh(0.7978845608 * x * (1 + 0.044715 * x ** 2)))", "Gelu", 20, _with(approximate="tanh")),
    ("x * Sigmoid(x)", "Swish", 24, _with(alpha=1.0)),
    ("x * Sigmoid(alpha * x)", "Swish", 24, _swish),
    ("x * HardSigmoid(x)", "HardSwish", 14, _hard_swish),
    ("x * Clip(x + 3, 0, 6) * 0.16666666666666667", "HardSwish", 14, _with()),
    ("Clip(x + 3, 0, 6) * 0.16666666666666667", "HardSigmoid", 6, _with(alpha=1 / 6, beta=0.5)),
    ("x * Tanh(Softplus(x))", "Mish", 18, _with()),
    ("1 / (1 + Exp(-x))", "Sigmoid", 6, _with()),
)


@functools.lru_cache(maxsize=1)
def recognitions() -> tuple[Recognition, ...]:
    """The table, parsed."""
    return tuple(Recognition(parse(text, ("eps", "alpha")), operator, opset, build) for text, operator, opset, build in _FORMULAS)


# onnxruntime 1.31 expands Swish into four nodes, and makes one of the written-out form.
_EDGE_ONLY = frozenset({"Swish"})


def _by_root(opset: int, edge: bool) -> dict[str, list[Recognition]]:
    table: dict[str, list[Recognition]] = {}
    for rule in recognitions():
        if rule.opset <= opset and (rule.operator in _EDGE_ONLY) == edge:
            for root in rule.formula.roots:
                table.setdefault(root, []).append(rule)
    return table
