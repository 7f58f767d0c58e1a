# SPDX-License-Identifier: Apache-2.0
"""Versions of ONNX operators, from the tables of the onnx package."""

from __future__ import annotations

import functools

import onnx
from onnx.defs import OpSchema, SchemaError

from penlight_export.graph import Model, Node

MINIMUM_IMPORT = 7
MAXIMUM_IMPORT = 28
MINIMUM_EXPORT = 17
MAXIMUM_EXPORT = 24
DEFAULT_EXPORT = 21


def ir_version(opset: int) -> int:
    """The oldest version of the file format that has an operator set, so that older engines read the file."""
    return onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])


@functools.cache
def find_schema(domain: str, name: str, opset: int) -> OpSchema | None:
    """The declaration of an operator as of an operator set version; None when there is none (or it was withdrawn)."""
    try:
        schema = onnx.defs.get_schema(name, opset, domain)
    except (SchemaError, TypeError):  # TypeError: a name that is no text, or a version that is no int32
        return None
    return None if schema.deprecated else schema


def since_version(model: Model, node: Node) -> int:
    """The version of the node's operator that the model's operator set selects; the set's own version for other domains."""
    opset = model.opset_imports.get(node.domain, 1)
    schema = find_schema(node.domain, node.op_type, opset)
    return opset if schema is None else schema.since_version
