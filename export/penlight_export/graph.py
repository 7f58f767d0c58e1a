# SPDX-License-Identifier: Apache-2.0
"""The graph that everything here works on: a small facade over onnx_ir, the only module that imports it.

Deliberately absent: pattern matching and versions of operators; passes look at nodes directly, `onnx.opsets` holds the versions.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.convenience import convert_attribute
from onnx_ir.passes.common import InlinePass, ShapeInferencePass

from penlight_export.errors import InvalidModelError

Attr = ir.Attr
AttributeType = ir.AttributeType
DataType = ir.DataType
ExternalTensor = ir.ExternalTensor
Function = ir.Function
Graph = ir.Graph
Model = ir.Model
Node = ir.Node
RefAttr = ir.RefAttr
Shape = ir.Shape
SymbolicDim = ir.SymbolicDim
Tensor = ir.Tensor
TensorType = ir.TensorType
Value = ir.Value

FUSED_DOMAIN = "ai.penlight"
BODY_OPERATORS = frozenset({"If", "Loop", "Scan", "SequenceMap"})  # of ai.onnx; nodes of other domains are asked one by one
SOURCE = "penlight.source"
MODULE_PATH = "penlight.module_path"
NO_BODIES = "penlight.no_bodies"  # in a graph's meta while passes run over it: none of its nodes has any
BUILT = "penlight.built"  # in the meta of a model that was built here, so that it has nothing that only files have
STATES = "penlight.states"  # in a graph's meta: what its last inputs and its last outputs are, before and after a run


class State(NamedTuple):
    """A tensor that a session keeps from run to run, and its first content."""

    name: str
    initial: np.ndarray


def states_of(model: Model) -> list[State]:
    """The states of a model; none for most."""
    return model.graph.meta.get(STATES, [])


def from_proto(proto: onnx.ModelProto) -> Model:
    """Builds the graph of a parsed .onnx file; weights keep pointing into the proto or, when external, to their file."""
    return ir.from_proto(proto)


def function_from_proto(proto: onnx.FunctionProto) -> Function:
    """A function of a model, for example one that `onnx.parser` has read."""
    return ir.serde.deserialize_function(proto)


def attribute_from_proto(proto: onnx.AttributeProto) -> Attr:
    """One attribute, for example a default of an operator's declaration."""
    return ir.serde.deserialize_attribute(proto)


def to_proto(model: Model) -> onnx.ModelProto:
    """Builds the protobuf message that an .onnx file holds.

    Raises:
        InvalidModelError: something in a foreign graph cannot be written.
    """
    try:
        return ir.to_proto(model)
    except Exception as error:  # onnx_ir wraps many kinds
        raise InvalidModelError(
            f"the graph cannot be written as ONNX: {' '.join(str(error.__cause__ or error).split())[:400]}"
        ) from error


def attribute_to_proto(attribute: Attr) -> bytes:
    """One attribute alone, serialized."""
    write = ir.serde.serialize_reference_attribute if attribute.is_ref() else ir.serde.serialize_attribute
    return bytes(write(attribute).SerializeToString(deterministic=True))


def value_to_proto(value: Value) -> bytes:
    """The declaration of one value, serialized."""
    return bytes(ir.serde.serialize_value(value).SerializeToString(deterministic=True))


def tensor_to_proto(tensor: ir.TensorProtocol) -> bytes:
    """One tensor, serialized."""
    return bytes(ir.serde.serialize_tensor(tensor).SerializeToString(deterministic=True))


def function_to_proto(function: Function) -> bytes:
    """One function of a model, serialized."""
    return bytes(ir.serde.serialize_function(function).SerializeToString(deterministic=True))


def is_annotated(model: Model) -> bool:
    """Whether a model says on which devices it runs, or has ONNX's annotations of quantization."""
    if BUILT in model.meta:
        return False  # to ask a value for its meta makes one
    values = (value for graph in all_graphs(model.graph) for value in all_values(graph))
    return bool(model.device_configurations) or any("quant_parameter_tensor_names" in value.meta for value in values if value.meta)


def node_to_proto(node: Node) -> onnx.NodeProto:
    """One node alone as protobuf, for ONNX's single-node functions."""
    return ir.to_proto(node)


def clone(model: Model) -> Model:
    """Copies nodes and values; tensors are shared, since nobody changes them in place."""
    return model.clone()


def find_attribute(node: Node, name: str, default: Any = None) -> Any:
    """The value of an attribute, or the default when it is absent."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.value


def constant_of(value: Value | None) -> np.ndarray | None:
    """The array behind an initializer; None for everything that is known only when the model runs."""
    if value is None or value.const_value is None or not value.is_initializer() or value.is_graph_input():
        return None
    return value.const_value.numpy()


def constant_size(value: Value | None) -> int | None:
    """Number of elements of an initializer without reading it, None when the value is no initializer."""
    if value is None or value.const_value is None or not value.is_initializer() or value.is_graph_input():
        return None
    return elements_of(value.const_value)


def elements_of(tensor: ir.TensorProtocol) -> int:
    """The number of elements; of an ordinary tensor by its array, which is ten times as fast as by its shape."""
    return tensor.raw.size if type(tensor) is Tensor and type(tensor.raw) is np.ndarray else tensor.size


def add_constant(graph: Graph, array: np.ndarray, name: str) -> Value:
    """Adds an initializer under a name derived from `name`, unique in the graph."""
    unique = fresh_name(graph, name)
    dense = np.asarray(array, order="C")  # ascontiguousarray would give scalars a dimension
    tensor = ir.Tensor(dense, dtype=_element_type(dense.dtype), shape=shared_shape(dense.shape), name=unique)
    value = Value(name=unique, shape=tensor.shape, type=TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


_element_type = functools.cache(DataType.from_numpy)


@functools.lru_cache(maxsize=4096)
def shared_shape(sizes: tuple[int | str, ...]) -> Shape:
    """A shape that nobody can change, so that all values of these sizes can have it; texts are names of dimensions."""
    return Shape(sizes, frozen=True)


def texts_of(value: Value) -> np.ndarray:
    """The strings of an initializer: an object array of str."""
    assert value.const_value is not None
    return text_array(value.const_value)


def text_array(tensor: Any) -> np.ndarray:
    """The strings of a tensor: an object array of str."""
    array = np.asarray(tensor.numpy(), object)
    texts = np.empty(array.shape, object)
    texts.reshape(-1)[:] = [text.decode(errors="replace") if isinstance(text, bytes) else str(text) for text in array.reshape(-1)]
    return texts


def add_texts(graph: Graph, texts: np.ndarray, name: str) -> Value:
    """Adds an initializer of strings; texts: an object array of str."""
    unique = fresh_name(graph, name)
    data = np.empty(texts.shape, object)
    data.reshape(-1)[:] = [str(text).encode() for text in texts.reshape(-1)]
    tensor = ir.StringTensor(data, shape=Shape(texts.shape), name=unique)
    value = Value(name=unique, shape=Shape(texts.shape), type=TensorType(DataType.STRING), const_value=tensor)
    graph.register_initializer(value)
    return value


def fresh_name(graph: Graph, name: str) -> str:
    """A value name that the graph does not use yet: `name`, or `name` with a number behind it."""
    taken: dict[str, int] | None = graph.meta.get("taken_names")  # with the last number that was tried behind each
    if taken is None:
        taken = graph.meta["taken_names"] = {value.name: 1 for value in all_values(graph)}
    unique, number = name, taken.get(name, 1)
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    taken[name] = number
    taken[unique] = 1
    return unique


def make_node(
    operator: str,
    inputs: Sequence[Value | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    domain: str = "",
    output_names: Sequence[str] = (),
    like: Node | None = None,
    name: str | None = None,
    notes: Mapping[str, str] | None = None,
) -> Node:
    """A node that stands in no graph yet. `like` hands on name, source line and module path of the node that it replaces.

    `name` and `notes` (its metadata) are those of a node that replaces none.
    """
    given = [_attribute(key, value) for key, value in attributes.items()] if attributes else ()
    if like is not None:
        name, notes = like.name, like.metadata_props
    outputs = [Value(name=each) for each in output_names] or None
    return Node(domain, operator, inputs, given, outputs=outputs, name=name, metadata_props=dict(notes) if notes else None)


def _attribute(name: str, value: Any) -> Attr:
    if type(value) not in _PLAIN_ATTRIBUTES:
        return convert_attribute(name, value)
    return _shared_attribute(name, value) if value else _PLAIN_ATTRIBUTES[type(value)](name, value)  # 0.0 equals -0.0


@functools.lru_cache(maxsize=4096, typed=True)
def _shared_attribute(name: str, value: float | str) -> Attr:
    """Nobody changes an attribute in place, so that many nodes can have it."""
    return _PLAIN_ATTRIBUTES[type(value)](name, value)


def set_attributes(node: Node, attributes: Mapping[str, Any]) -> None:
    """Gives a node attributes beside those that it has."""
    for name, value in attributes.items():
        node.attributes.add(_attribute(name, value))


_PLAIN_ATTRIBUTES: dict[type, Any] = {int: ir.AttrInt64, float: ir.AttrFloat32, str: ir.AttrString}


def separate_names(model: Model) -> None:
    """Gives nodes that took over the name of one node names of their own: onnxruntime refuses two of one name."""
    nodes = [node for node in all_nodes(model.graph) if node.name]
    taken = {node.name for node in nodes}
    if len(taken) == len(nodes):
        return
    seen: set[str | None] = set()
    for node in nodes:
        if node.name in seen:
            number = 2
            while f"{node.name}.{number}" in taken:
                number += 1
            node.name = f"{node.name}.{number}"
            taken.add(node.name)
        seen.add(node.name)


def replace_node(old: Node, new: Sequence[Node], outputs: Sequence[Value | None]) -> None:
    """Puts `new` in the place of `old`; every use of an output of `old` now reads the value at the same place of `outputs`.

    Names, types and shapes of the old outputs live on, so that graph outputs keep their names. None: the output has no use.
    """
    graph = graph_of(old)
    if new:
        graph.insert_before(old, new)
    for before, after in zip(old.outputs, outputs, strict=True):
        if after is not None:
            _take_over(before, after)
    graph.remove(old, safe=True)


def _take_over(before: Value, after: Value) -> None:
    name = before.name
    after.shape = after.shape if after.shape is not None else before.shape
    after.type = after.type if after.type is not None else before.type
    before.replace_all_uses_with(after, replace_graph_outputs=True)
    if after.producer() is not None:
        before.name = f"{name}__replaced"
        after.name = name


def bypass_node(node: Node, source: Value) -> bool:
    """Removes a node whose output equals `source`. False, without a change, when an input or output would lose its name."""
    output = node.outputs[0]
    if output.is_graph_output() and not _may_be_output(source, node):
        return False
    name, graph = output.name, graph_of(node)
    renamed = output.is_graph_output()
    output.replace_all_uses_with(source, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if renamed:
        output.name = f"{name}__bypassed"
        source.name = name
    return True


def _may_be_output(value: Value, node: Node) -> bool:
    """A value can take an output's name when a node of the same graph computes it and when it is not an output already."""
    producer = value.producer()
    return producer is not None and producer.graph is node.graph and not value.is_graph_output()


def graph_of(node: Node) -> Graph:
    """The graph that holds a node; a node outside of every graph is a defect of the caller."""
    graph = node.graph
    assert graph is not None, f"node {node.name} stands in no graph"
    return graph


def single_consumer(value: Value) -> Node | None:
    """The one node that reads a value once, None when there are none or several uses or when it is a graph output.

    None, too, when the node that computes it is not in the same graph: what a body joins with it would run in every iteration.
    """
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    reader, producer = next(iter(uses)).node, value.producer()
    return reader if producer is None or producer.graph is reader.graph else None


def all_values(graph: Graph) -> Iterable[Value]:
    """Inputs, initializers and every node's outputs, in a fixed order; subgraphs are not entered."""
    yield from graph.inputs
    yield from (value for value in graph.initializers.values() if not value.is_graph_input())
    for node in graph:
        yield from node.outputs


def outer_values(graph: Graph) -> list[Value]:
    """Values that a subgraph, or one inside of it, reads from the graphs around it, in the order of their first use."""
    inside = set(graph.inputs) | set(graph.initializers.values())
    for node in graph.all_nodes():
        inside.update(node.outputs)
        for attribute in node.attributes.values():
            if attribute.type.name == "GRAPH":
                inside |= set(attribute.value.inputs) | set(attribute.value.initializers.values())
    read = [value for node in graph.all_nodes() for value in node.inputs] + list(graph.outputs)
    return list(dict.fromkeys(value for value in read if value is not None and value not in inside))


def all_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph and of the bodies of its nodes, in order."""
    return iter(graph) if NO_BODIES in graph.meta else _nodes_and_bodies(graph)


def _nodes_and_bodies(graph: Graph) -> Iterator[Node]:
    for node in graph:
        yield node
        if may_have_bodies(node):
            for body in bodies_of(node):
                yield from all_nodes(body)


def all_graphs(graph: Graph) -> Iterator[Graph]:
    """A graph and the bodies of its nodes, those inside of bodies too."""
    yield graph
    for node in () if NO_BODIES in graph.meta else graph:
        if may_have_bodies(node):
            for body in bodies_of(node):
                yield from all_graphs(body)


def may_have_bodies(node: Node) -> bool:
    """False where the operator tells that the node has none, which costs less than a look at its attributes."""
    return node.op_type in BODY_OPERATORS or node.domain not in ("", FUSED_DOMAIN)


def bodies_of(node: Node) -> list[Graph]:
    """The graphs among a node's attributes."""
    bodies: list[Graph] = []
    if not node.attributes:
        return bodies
    for attribute in node.attributes.values():
        if attribute.type == AttributeType.GRAPH:
            bodies.append(attribute.value)
        elif attribute.type == AttributeType.GRAPHS:
            bodies.extend(attribute.value)
    return bodies


def remove_unused_constants(graph: Graph) -> int:
    """Drops initializers that no node reads and that are no output. Returns their number."""
    unused = [name for name, value in graph.initializers.items() if not value.uses() and not value.is_graph_output()]
    for name in unused:
        del graph.initializers[name]
    return len(unused)


def static_shape(value: Value | None) -> tuple[int, ...] | None:
    """The shape when every size is a number, else None."""
    if value is None or value.shape is None or not all(isinstance(dim, int) for dim in value.shape):
        return None
    return tuple(int(dim) for dim in value.shape)  # type: ignore[arg-type]  # all are ints, see above


def rank_of(value: Value | None) -> int | None:
    """Number of dimensions, None when unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def _is_known(value: Value) -> bool:
    shape = value.shape
    if shape is None or value.dtype is None:
        return False
    for dim in shape:  # noqa: SIM110  all(...) would make a generator for each value of the graph
        if not isinstance(dim, int) and not dim.value:
            return False
    return True


def infer_shapes(model: Model) -> None:
    """Fills shapes and dtypes of values in place, as far as ONNX's rules can tell. What is known stays."""
    if all(_is_known(value) for node in all_nodes(model.graph) for value in node.outputs if value.name):
        return  # the pass writes and reads the whole graph as protobuf
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.ERROR)  # a value that cannot be inferred is no news: the runtime infers it with data
    try:
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    finally:
        logger.setLevel(level)


def inline_functions(model: Model) -> None:
    """Replaces every call of a function defined in the model by its body."""
    InlinePass()(model)


def describe(node: Node) -> str:
    """How a message names a node: its name, or its first output, with module path and source line when they are known."""
    name = node.name or (node.outputs[0].name if node.outputs else "") or "?"
    place = [node.metadata_props[key] for key in (MODULE_PATH, SOURCE) if node.metadata_props.get(key)]
    return f"'{name}'" + (f" ({', '.join(place)})" if place else "")
