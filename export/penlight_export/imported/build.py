# SPDX-License-Identifier: Apache-2.0
"""From a checked graph to a module: which weights are learned, and which node is computed how."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

import penlight as pl
from penlight import nn
from penlight_export.errors import UnsupportedOperatorsError
from penlight_export.graph import (
    MODULE_PATH,
    Graph,
    Model,
    Node,
    Value,
    all_graphs,
    all_nodes,
    clone,
    describe,
    from_proto,
    infer_shapes,
    outer_values,
)
from penlight_export.imported.module import Block, ImportedModule, Part, Step, compute
from penlight_export.imported.registry import find_handler, has_handler
from penlight_export.imported.values import DTYPES
from penlight_export.imported.weights import Role, role_of
from penlight_export.onnx.functions import expand_functions
from penlight_export.onnx.importer import list_operators, load_onnx
from penlight_export.onnx.ml import lower_ml
from penlight_export.onnx.nbits import lower_nbits
from penlight_export.onnx.upgrade import TARGET, upgrade
from penlight_export.passes import LiftConstants, run_passes

NEWEST = 24  # the operator set whose forms the handlers know
_FOLDED_BYTES = 1 << 20  # results of constants that are kept; larger ones are computed at each call
_NOT_FOLDED = {"DequantizeLinear", "QuantizeLinear"}


def import_module(source: str | os.PathLike[str] | bytes | onnx.ModelProto | Model) -> ImportedModule:
    """Returns an ONNX model as a module whose operators are the framework's own, so that gradients flow through all of it.

    It can be trained further, exported again at another operator set or size, and looked at. Floating-point weights are parameters
    under their names in the file, the running statistics of BatchNormalization buffers; small constants stay constants. It is
    returned in evaluation mode; with `train()` BatchNormalization uses the statistics of the batch and updates its own, and
    Dropout, where the file has it, drops.

    If, Loop and Scan are Python's control flow, and `pl.cond`, `pl.while_loop` and `pl.scan` under a trace. What reads the data,
    such as NonMaxSuppression, has no gradient, and a trace refuses it. Weights that the file holds quantized are constants of
    their real values: they are not learned.

    Args:
        source: the path of an .onnx file of operator set 7 to 28, its bytes or its protobuf message, or a graph of `load_onnx`.

    Raises:
        UnsupportedOperatorsError: operators that no handler computes; all are listed.
        ExportError: the file is not valid, see `load_onnx`.

    Example:
        >>> model = penlight_export.import_module("resnet50.onnx")                              # doctest: +SKIP
        >>> optimizer = pl.optim.SGD(model.parameters(), lr=1e-3)                               # doctest: +SKIP
        >>> penlight_export.export(model.eval(), (x,), names=model.input_names).save("new.pen")  # doctest: +SKIP
    """
    if isinstance(source, (str, os.PathLike)):
        return module_of(load_onnx(source), os.fspath(source))
    if isinstance(source, bytes):
        source = onnx.load_from_string(source)
    return module_of(from_proto(source) if isinstance(source, onnx.ModelProto) else source)


def module_of(model: Model, where: str = "the model") -> ImportedModule:
    """The module of a graph, which stays as it is; `where` is how messages name it."""
    opset = model.opset_imports.get("", TARGET)
    model, weights = _prepared(model)
    _refuse_unknown(model, where)
    builder = _Builder(weights)
    module = ImportedModule.__new__(ImportedModule)
    block = builder.block(model.graph, module)
    module.__init__(block, opset)  # the parts go below the module, which __new__ makes ready for them
    return module.eval()


def _prepared(model: Model) -> tuple[Model, set[str]]:
    """A copy in the form that the handlers know, and the names of what may be weights: Constant nodes are none."""
    model = clone(model)
    model.graph.opset_imports.setdefault("", TARGET)
    model = expand_functions(model, lambda *_: True)  # the model's own functions
    weights = {name for graph in all_graphs(model.graph) for name in graph.initializers}
    infer_shapes(model)
    run_passes(model, (LiftConstants(),))
    if upgrade(model) + lower_ml(model) + lower_nbits(model):
        infer_shapes(model)
    model.graph.opset_imports[""] = max(NEWEST, model.opset_imports[""])
    expanded = expand_functions(model, has_handler)
    run_passes(expanded, (LiftConstants(),))
    return expanded, weights


def _refuse_unknown(model: Model, where: str) -> None:
    """One error for all operators, and attributes of operators, that nobody computes."""
    unknown: dict[str, list[str]] = {}
    for node in all_nodes(model.graph):
        handler = find_handler(node.domain, node.op_type)
        domain = f"{node.domain}." if node.domain else ""
        if handler is None:
            unknown.setdefault(f"{domain}{node.op_type}", []).append(describe(node))
            continue
        more = set(node.attributes) - handler.attributes if handler.attributes is not None else set()
        for name in sorted(more):
            unknown.setdefault(f"{domain}{node.op_type} with {name}", []).append(describe(node))
    if unknown:
        raise UnsupportedOperatorsError(
            f"{where}: the framework has no operators for {list_operators(unknown)}; replace them in the model, "
            "or run the file with onnxruntime or on the edge runtime"
        )


class _Builder:
    """Makes blocks, and puts the tensors of all of them into one module."""

    def __init__(self, weights: set[str]) -> None:
        self.weights = weights
        self.places: dict[int, tuple[nn.Module, str]] = {}

    def block(self, graph: Graph, root: nn.Module) -> Block:
        """The steps of a graph, with what its constants are."""
        inputs = [value for value in graph.inputs if not value.is_initializer()]
        block = Block(tuple(map(_name, inputs)), tuple(map(_name, graph.outputs)))
        for value in graph.initializers.values():
            self._constant(value, block, root)
        for node in graph:
            step = self._step(node, block, root)
            if not _fold(step, block):
                block.steps.append(step)
        _release(block)
        return block

    def _constant(self, value: Value, block: Block, root: nn.Module) -> None:
        assert value.const_value is not None
        array = value.const_value.numpy()
        role = role_of(value, array) if value.name in self.weights else Role.CONSTANT
        if role is Role.CONSTANT or array.dtype not in DTYPES:
            block.constants[_name(value)] = array
            return
        part, key = place_of(root, _name(value))
        t = pl.tensor(np.array(array))
        if role is Role.PARAMETER:
            part.register_parameter(key, nn.Parameter(t))
        else:
            part.register_buffer(key, t)
        block.tensors[_name(value)] = (part, key)
        self.places[id(value)] = (part, key)

    def _step(self, node: Node, block: Block, root: nn.Module) -> Step:
        handler = find_handler(node.domain, node.op_type)
        assert handler is not None
        outputs = [value.name or "" if value.uses() or value.is_graph_output() else "" for value in node.outputs]
        return Step(
            node.op_type,
            node.name or _name(node.outputs[0]),
            handler,
            tuple("" if value is None else _name(value) for value in node.inputs),
            tuple(outputs),
            {name: self._attribute(attribute, root) for name, attribute in node.attributes.items()},
            self._owner(node, root),
            node.domain,
            tuple(_read_by_bodies(node)),
        )

    def _attribute(self, attribute: Any, root: nn.Module) -> Any:
        kind = attribute.type.name
        if kind == "GRAPH":
            return self.block(attribute.value, root)
        if kind == "TENSOR":
            return attribute.value.numpy()
        return list(attribute.value) if kind.endswith("S") else attribute.value

    def _owner(self, node: Node, root: nn.Module) -> nn.Module:
        """The part that traces name: of the exporter's note, or that of the node's first parameter."""
        path = node.metadata_props.get(MODULE_PATH)
        if path:
            return part_at(root, path.split("."))
        return next((self.places[id(value)][0] for value in node.inputs if id(value) in self.places), root)


def place_of(root: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Where the tensor "layers.0.weight" goes: the part "layers.0", made when it is new, and "weight"."""
    *path, key = [word for word in name.split(".") if word] or ["_"]
    part = part_at(root, path)
    while key in part.__dict__ or key in part._modules or hasattr(type(part), key):
        key += "_"
    return part, key


def part_at(root: nn.Module, path: list[str]) -> nn.Module:
    """The part at a path, made when it is new."""
    for word in path:
        while word not in root._modules and (word in root.__dict__ or hasattr(type(root), word)):
            word += "_"
        if word not in root._modules:
            root.add_module(word, Part())
        found = root._modules[word]
        assert found is not None
        root = found
    return root


def _name(value: Value) -> str:
    return value.name or ""


def _fold(step: Step, block: Block) -> bool:
    """Computes a step now when all of its inputs are constants and it is neither random, nor large, nor quantized weights."""
    bodies = any(isinstance(value, Block) for value in step.attributes.values())
    if bodies or step.handler.random or step.operator in _NOT_FOLDED or not all(n in block.constants for n in step.inputs if n):
        return False
    result = compute(step, [block.constants[name] if name else None for name in step.inputs], {})
    results = result if isinstance(result, tuple) else (result,)
    if not all(isinstance(each, np.ndarray) for each in results) or sum(each.nbytes for each in results) > _FOLDED_BYTES:
        return False
    block.constants.update((name, each) for name, each in zip(step.outputs, results, strict=False) if name)
    return True


def _release(block: Block) -> None:
    """Notes in each step what is not read after it, so that a large model does not keep all of its values."""
    later = set(block.outputs)
    for step in reversed(block.steps):
        read = {*step.inputs, *step.captured} - {""}
        step.released = tuple(sorted((read | {*step.outputs}) - later - {""}))
        later |= read


def _read_by_bodies(node: Node) -> Iterator[str]:
    for attribute in node.attributes.values():
        if attribute.type.name == "GRAPH":
            yield from map(_name, outer_values(attribute.value))
