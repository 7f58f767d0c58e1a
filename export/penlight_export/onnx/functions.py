# SPDX-License-Identifier: Apache-2.0
"""Replaces operators by their function bodies: the model's own functions, and ONNX operators that ONNX itself defines by others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx.inliner

from penlight_export.errors import InvalidModelError, UnsupportedOpsetError
from penlight_export.graph import (
    Model,
    Node,
    Shape,
    Value,
    all_nodes,
    attribute_from_proto,
    bodies_of,
    clone,
    from_proto,
    inline_functions,
    may_have_bodies,
    to_proto,
)
from penlight_export.onnx.opsets import find_schema, since_version

_DEEPEST = 8  # ONNX's own bodies nest three deep

HasKernel = Callable[[str, str, int], bool]


def expand_functions(model: Model, has_kernel: HasKernel) -> Model:
    """Inlines the model's functions, then ONNX's bodies of operators for which `has_kernel(domain, name, version)` is false.

    Operators without a body stay; the caller lists them.

    Raises:
        InvalidModelError: the model's functions call each other in a circle.
        UnsupportedOpsetError: a function uses another operator set version than the model.
    """
    if model.functions:
        _check_function_opsets(model)
        try:
            inline_functions(model)
        except (ValueError, RuntimeError) as error:
            raise InvalidModelError(f"the model's functions cannot be expanded: {error}") from error
    for _ in range(_DEEPEST):
        names = _expandable(model, has_kernel)
        if not names:
            break
        expanded = _inline_what_works(model, names)
        if expanded is None:
            break
        model = expanded
    return model


def _inline_what_works(model: Model, names: list[tuple[str, str]]) -> Model | None:
    """All bodies at once, or one by one where ONNX's inliner gives up on some. None when it gives up on all."""
    try:
        return _inline_schema_functions(model, names)
    except RuntimeError:  # the C++ inliner: "Type unknown" for absent optional inputs, for example
        parts = [names[k::2] for k in range(2)] if len(names) > 1 else []
    changed = None
    for part in parts:
        changed = _inline_what_works(changed or model, part) or changed
    return changed


def _check_function_opsets(model: Model) -> None:
    for function in model.functions.values():
        for domain, version in function.opset_imports.items():
            if version != model.opset_imports.setdefault(domain, version):
                raise UnsupportedOpsetError(
                    f"function {function.domain}.{function.name} uses operator set {version} of '{domain or 'ai.onnx'}', the model "
                    f"{model.opset_imports[domain]}; export the model with one version"
                )


def _expandable(model: Model, has_kernel: HasKernel) -> list[tuple[str, str]]:
    """Domains and names of ONNX operators that have no kernel but a body."""
    found: dict[tuple[str, str], None] = {}
    runs: dict[tuple[str, str], bool] = {}
    for node in all_nodes(model.graph):
        name, opset = (node.domain, node.op_type), model.opset_imports.get(node.domain)
        if name not in runs:
            runs[name] = has_kernel(*name, since_version(model, node))
        if opset is None or (runs[name] and not _has_subgraph(node)):
            continue
        schema = find_schema(node.domain, node.op_type, opset)
        if schema is not None and _has_usable_body(schema):
            found[node.domain, node.op_type] = None
    return list(found)


def _has_subgraph(node: Node) -> bool:
    """A kernel does not see the subgraphs of operators that ONNX defines by others, such as FlexAttention's."""
    return may_have_bodies(node) and bool(bodies_of(node))


def _has_usable_body(schema: Any) -> bool:
    """Sequences in a body would trade one missing operator for another."""
    if schema.name.startswith("Sequence"):
        return False
    if schema.has_function:
        return not any(node.op_type.startswith("Sequence") for node in schema.function_body.node)
    return bool(schema.has_context_dependent_function)


def _inline_schema_functions(model: Model, names: list[tuple[str, str]]) -> Model:
    """ONNX's C++ inliner, on a copy of the graph whose weights are inputs: they need not travel through protobuf."""
    model = clone(model)  # so that a failure leaves the caller's graph whole
    for node in model.graph.all_nodes():
        if (node.domain, node.op_type) in names:
            _spell_out_defaults(node, model.opset_imports[node.domain])
    weights = {value.name: value for value in model.graph.initializers.values() if not value.is_graph_input()}
    kept = len(model.graph.inputs)
    for value in weights.values():
        tensor = value.const_value
        assert tensor is not None
        value.shape, value.dtype = Shape(tensor.shape.numpy()), tensor.dtype
        model.graph.initializers.pop(value.name or "")
        model.graph.inputs.append(value)
    proto = onnx.inliner.inline_selected_functions(to_proto(model), names, inline_schema_functions=True)
    expanded = from_proto(proto)
    while len(expanded.graph.inputs) > kept:
        _back_to_initializer(expanded, expanded.graph.inputs.pop(), weights)
    expanded.graph.sort()
    return expanded


def _spell_out_defaults(node: Node, opset: int) -> None:
    """Writes default attributes down: the inliner drops what a body refers to and the node does not have."""
    schema = find_schema(node.domain, node.op_type, opset)
    assert schema is not None
    for name, attribute in schema.attributes.items():
        if name not in node.attributes and attribute.default_value.type:
            node.attributes.add(attribute_from_proto(attribute.default_value))


def _back_to_initializer(model: Model, value: Value, weights: dict[str | None, Value]) -> None:
    value.const_value = weights[value.name].const_value
    model.graph.register_initializer(value)
