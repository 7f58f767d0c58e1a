# SPDX-License-Identifier: Apache-2.0
"""Computes layers between DequantizeLinear and QuantizeLinear in 8 bits, the way onnxruntime reads such models."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from penlight_export.graph import (
    FUSED_DOMAIN,
    Graph,
    Model,
    Node,
    Value,
    add_constant,
    all_nodes,
    constant_of,
    find_attribute,
    graph_of,
    make_node,
    rank_of,
    replace_node,
    single_consumer,
    static_shape,
)
from penlight_export.passes.base import Pass

_KINDS = {"INT8": np.dtype(np.int8), "UINT8": np.dtype(np.uint8)}
_CONV_RANKS = (3, 4, 5)
_LARGEST_BIAS = 2**31 - 1


class QuantizedLayers(Pass):
    """Conv, Gemm and MatMul become QLinearConv and QLinearMatMul: sums are whole numbers that are rounded once.

    A float layer rounds while it adds, so that a result may differ by one step where it lies between two.
    """

    name = "layers in 8 bits"
    operators = frozenset({"QuantizeLinear"})
    edge_only = True

    def run(self, model: Model) -> int:
        """Returns the number of layers."""
        return _rewrite(model, {"Conv": _convolution, "Gemm": _linear, "MatMul": _product})


class QuantizedSums(Pass):
    """Add of two quantized tensors of one shape becomes QuantizedAdd of domain ai.penlight, which has the same bits."""

    name = "sums of 8 bits"
    operators = frozenset({"QuantizeLinear"})
    edge_only = True
    kernels = ("QuantizedAdd",)

    def run(self, model: Model) -> int:
        """Returns the number of sums."""
        changes = _rewrite(model, {"Add": _sum})
        if changes:
            model.graph.opset_imports[FUSED_DOMAIN] = 1
        return changes


class _Bytes(NamedTuple):
    """A tensor of 8 bits with its scale and zero point, as a DequantizeLinear reads it or a QuantizeLinear writes it."""

    value: Value
    kind: np.dtype
    scale: Value
    scales: np.ndarray  # of `scale`, without dimensions of a single number
    zero: Value
    zeros: np.ndarray

    @property
    def inputs(self) -> tuple[Value, Value, Value]:
        return self.value, self.scale, self.zero


_Layer = Callable[[Node, _Bytes], "list[Node] | None"]


def _rewrite(model: Model, layers: dict[str, _Layer]) -> int:
    nodes = tuple(all_nodes(model.graph))
    return sum(_replace(node, layers) for node in nodes if node.op_type == "QuantizeLinear" and node.domain == "")


def _replace(quantize: Node, layers: dict[str, _Layer]) -> bool:
    """Puts one layer in the place of QuantizeLinear, the activation before it, if there is one, and the layer before that."""
    y, last = _described(quantize, quantize.outputs[0]), _before(quantize)
    activation = last if last is not None and last.op_type in ("Relu", "Clip") else None
    layer = _before(activation) if activation is not None else last
    if y is None or layer is None or layer.op_type not in layers:
        return False
    bounds = _bounds(activation, y)
    nodes = layers[layer.op_type](layer, y) if bounds is not None else None
    if nodes is None or bounds is None:
        return False
    info = np.iinfo(y.kind)
    if bounds != (info.min, info.max):
        limits = [add_constant(graph_of(quantize), np.array(bound, y.kind), "limit") for bound in bounds]
        nodes.append(make_node("Clip", [nodes[-1].outputs[0], *limits], like=quantize))
    replace_node(quantize, nodes, nodes[-1].outputs)
    for old in (activation, layer):
        if old is not None:
            graph_of(old).remove(old, safe=True)
    return True


def _before(node: Node) -> Node | None:
    """The standard node whose one result feeds this node alone."""
    x = node.inputs[0]
    producer = x.producer() if x is not None else None
    if x is None or producer is None or producer.domain != "" or single_consumer(x) is not node:
        return None
    return producer


def _bounds(activation: Node | None, y: _Bytes) -> tuple[int, int] | None:
    """What the activation leaves of the type's numbers: rounding keeps the order, so that its limits can be rounded instead."""
    info = np.iinfo(y.kind)
    limits: list[float | None] = [0.0 if activation is not None and activation.op_type == "Relu" else None, None]
    if activation is not None and activation.op_type == "Clip":
        for index in (1, 2):
            value = activation.inputs[index] if len(activation.inputs) > index else None
            array = constant_of(value)
            if value is not None and array is None:
                return None
            limits[index - 1] = None if array is None else float(array.reshape(-1)[0])
    if any(limit is not None and not np.isfinite(limit) for limit in limits):
        return None
    with np.errstate(over="ignore"):  # an infinite number of steps is cut to the type's numbers below
        low, high = (None if limit is None else np.rint(np.float32(limit) / y.scales.reshape(-1)[0]) for limit in limits)
    zero = int(y.zeros.reshape(-1)[0])
    first = info.min if low is None else int(np.clip(low + zero, info.min, info.max))
    return first, info.max if high is None else int(np.clip(high + zero, info.min, info.max))


def _described(node: Node, value: Value | None, axis: int | None = None) -> _Bytes | None:
    """What a node says of its 8-bit side; None unless all is constant, and of one scale or of scales along `axis`."""
    kind = _KINDS.get(value.dtype.name) if value is not None and value.dtype is not None else None
    scale, given = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    scales, zeros = constant_of(scale), constant_of(given)
    if value is None or kind is None or scale is None or scales is None or scales.dtype != np.float32:
        return None
    if (given is not None and zeros is None) or not (np.isfinite(scales).all() and (scales > 0).all()):
        return None
    if find_attribute(node, "block_size", 0) or (scales.size > 1 and (axis is None or _axis(node, value) != axis)):
        return None
    if zeros is None:
        zeros = np.zeros(scales.shape, kind)
    zero = given if given is not None else add_constant(graph_of(node), zeros, "zero_point")
    return _Bytes(value, kind, scale, scales, zero, zeros)


def _axis(node: Node, value: Value) -> int | None:
    rank, axis = rank_of(value), int(find_attribute(node, "axis", 1))
    return None if rank is None else axis % rank


def _operand(value: Value | None, axis: int | None = None) -> _Bytes | None:
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "DequantizeLinear" or node.domain != "":
        return None
    return _described(node, node.inputs[0], axis)


def _convolution(conv: Node, y: _Bytes) -> list[Node] | None:
    x, w = _operand(conv.inputs[0]), _operand(conv.inputs[1], axis=0)
    if x is None or w is None or rank_of(w.value) not in _CONV_RANKS or constant_of(w.value) is None:
        return None
    return _with_bias(conv, x, w, y, {name: attribute.value for name, attribute in conv.attributes.items()})


def _with_bias(layer: Node, x: _Bytes, w: _Bytes, y: _Bytes, attributes: dict[str, object]) -> list[Node] | None:
    inputs: list[Value | None] = [*x.inputs, *w.inputs, y.scale, y.zero]
    bias = layer.inputs[2] if len(layer.inputs) > 2 else None
    if bias is not None:
        whole, filters = _whole_bias(bias, x.scales.reshape(-1)[0] * w.scales, graph_of(layer)), static_shape(w.value)
        if whole is None or filters is None or static_shape(whole) != filters[:1]:  # Gemm takes one number for all
            return None
        inputs.append(whole)
    return [make_node("QLinearConv", inputs, attributes, like=layer)]


def _whole_bias(bias: Value, steps: np.ndarray, graph: Graph) -> Value | None:
    """The bias in steps of the sums: as it was stored, or rounded."""
    node, numbers = bias.producer(), constant_of(bias)
    stored = None
    if node is not None and node.op_type == "DequantizeLinear" and node.domain == "":
        stored, scales = constant_of(node.inputs[0]), constant_of(node.inputs[1])
        zeros = constant_of(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1)
        if stored is None or scales is None or zeros is None or zeros.any() or stored.dtype != np.int32:
            return None
        numbers = stored * scales.astype(np.float64)
        if stored.ndim == 1 and np.allclose(scales, steps.reshape(-1), rtol=1e-6, atol=0):
            return node.inputs[0]
    if numbers is None or numbers.ndim != 1 or not (steps > 0).all():
        return None
    whole = np.rint(numbers.astype(np.float64) / steps.reshape(-1))
    if not np.isfinite(whole).all() or np.abs(whole).max(initial=0) > _LARGEST_BIAS:
        return None
    return add_constant(graph, whole.astype(np.int32), f"{bias.name}.whole")


def _linear(gemm: Node, y: _Bytes) -> list[Node] | None:
    """x W + b is a convolution of images of one pixel."""
    transposed = bool(find_attribute(gemm, "transB", 0))
    x, w = _operand(gemm.inputs[0]), _operand(gemm.inputs[1], axis=0 if transposed else 1)
    weights = constant_of(w.value) if w is not None else None
    if x is None or w is None or weights is None or find_attribute(gemm, "transA", 0):
        return None
    if find_attribute(gemm, "alpha", 1.0) != 1 or (len(gemm.inputs) > 2 and find_attribute(gemm, "beta", 1.0) != 1):
        return None
    graph = graph_of(gemm)
    filters = weights if transposed else weights.T
    kernel = add_constant(graph, np.ascontiguousarray(filters)[:, :, None, None], f"{w.value.name}.filters")
    axes = add_constant(graph, np.array([2, 3], np.int64), "axes")
    image = make_node("Unsqueeze", [x.value, axes], like=gemm)
    layer = _with_bias(gemm, x._replace(value=image.outputs[0]), w._replace(value=kernel), y, {})
    return None if layer is None else [image, *layer, make_node("Squeeze", [layer[0].outputs[0], axes], like=gemm)]


def _product(product: Node, y: _Bytes) -> list[Node] | None:
    b = product.inputs[1]
    rank = rank_of(b)
    x, w = _operand(product.inputs[0]), _operand(b, axis=1 if rank == 2 else None)
    if x is None or w is None or (rank or 0) < 2 or (rank_of(x.value) or 0) < 2:
        return None
    return [make_node("QLinearMatMul", [*x.inputs, *w.inputs, y.scale, y.zero], like=product)]


def _sum(add: Node, y: _Bytes) -> list[Node] | None:
    a, b = (_operand(value) for value in add.inputs)
    shape = static_shape(a.value) if a is not None else None
    if a is None or b is None or shape is None or shape != static_shape(b.value) or len({a.kind, b.kind, y.kind}) > 1:
        return None
    node = make_node("QuantizedAdd", [*a.inputs, *b.inputs, y.scale, y.zero], domain=FUSED_DOMAIN, like=add)
    return [node]
