# SPDX-License-Identifier: Apache-2.0
"""Makes every string tensor of a model a tensor of bytes. Each value has a width of its own: constants what they need, inputs the
declared one, results what their operands make possible, so that memory can be planned and nothing is ever cut."""

from __future__ import annotations

from penlight_export.errors import ExportError, UnsupportedFeatureError
from penlight_export.graph import (
    DataType,
    Graph,
    Model,
    Node,
    Shape,
    Tensor,
    TensorType,
    Value,
    all_nodes,
    describe,
    texts_of,
)
from penlight_export.onnx.strings import moves, operators
from penlight_export.onnx.strings.body import Handler, TextBody, Widths, encode_constant
from penlight_export.onnx.strings.marks import STRINGS

DEFAULT_WIDTH, LARGEST_WIDTH = 64, 1 << 20
_HANDLERS: dict[tuple[str, str], Handler] = {**moves.HANDLERS, **operators.HANDLERS}
_MAKERS = {"Cast", "CastLike", "Constant"}  # of strings from no string


def lower_strings(model: Model, width: int = DEFAULT_WIDTH) -> int:
    """Replaces strings by bytes, in place, in a model of operator set 21 or above whose types are known.

    Args:
        model: inputs and outputs keep their names; those that were strings are noted in the graph's meta.
        width: bytes of the longest string that an input takes.

    Returns:
        The number of nodes that had strings; 0 when nothing changed.

    Raises:
        UnsupportedFeatureError: an operator on strings is unknown, or strings are in a subgraph or hold NUL.
    """
    graph = model.graph
    if not any(_has_strings(node) for node in all_nodes(graph)) and not any(_is_string(value) for value in graph.inputs):
        return 0
    _refuse_subgraphs(graph)
    ports = [value.name for value in (*graph.inputs, *graph.outputs) if _is_string(value)]
    widths: Widths = {}
    for value in graph.inputs:
        if _is_string(value):
            _retype(value, width, widths)
    for value in list(graph.initializers.values()):
        if _is_string(value):
            _encode(value, widths)
    count = sum(_lower(node, widths) for node in tuple(graph))
    _rename_inner(graph, widths)
    graph.meta[STRINGS] = ports
    return count


def _is_string(value: Value | None) -> bool:
    return value is not None and value.dtype == DataType.STRING


def _has_strings(node: Node) -> bool:
    return any(map(_is_string, node.inputs)) or any(map(_is_string, node.outputs))


def _refuse_subgraphs(graph: Graph) -> None:
    for node in all_nodes(graph):
        if node.graph is not graph and _has_strings(node):
            raise UnsupportedFeatureError(
                f"{node.op_type} node {describe(node)} has strings inside of a subgraph, where the edge runtime has none; "
                "take the strings out of If, Loop or Scan"
            )


def _retype(value: Value, width: int, widths: Widths) -> None:
    value.type = TensorType(DataType.UINT8)
    value.shape = None if value.shape is None else Shape([*value.shape, width])
    widths[value] = width


def _encode(value: Value, widths: Widths) -> None:
    texts = texts_of(value)
    if any("\0" in text for text in texts.reshape(-1).tolist()):
        raise UnsupportedFeatureError(f"constant '{value.name}' has a string with a NUL character, which ends strings on the edge")
    array = encode_constant(texts)
    value.const_value = Tensor(array, dtype=DataType.UINT8, name=value.name)
    value.type, value.shape = TensorType(DataType.UINT8), Shape(array.shape)
    widths[value] = array.shape[-1]


def _lower(node: Node, widths: Widths) -> bool:
    """Replaces or changes one node; whether it had strings."""
    if not any(value in widths for value in node.inputs) and not any(map(_is_string, node.outputs)):
        return False
    handler, body = _HANDLERS.get((node.domain, node.op_type)), TextBody(node)
    body.widths = widths
    if handler is None or not (node.op_type in _MAKERS or any(value in widths for value in node.inputs)):
        raise body.refusal("has strings, which the edge runtime has no kernel for")
    try:
        handler(body)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, ExportError):
            raise
        raise body.refusal(f"has strings and attributes that do not fit together: {error}") from error
    return True


def _rename_inner(graph: Graph, widths: Widths) -> None:
    """Values between inputs and outputs get other names, so that nobody compares them with strings."""
    for value in widths:
        if value.producer() is not None and not value.is_graph_output() and value.uses():
            value.name = f"{value.name}.utf8"
