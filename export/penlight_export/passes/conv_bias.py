# SPDX-License-Identifier: Apache-2.0
"""Makes a constant for each channel that is added to a convolution its bias; converters of TensorFlow write the two apart."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import (
    Model,
    Node,
    Value,
    add_constant,
    all_nodes,
    bypass_node,
    constant_of,
    constant_size,
    graph_of,
    rank_of,
    single_consumer,
    static_shape,
)
from penlight_export.passes.base import Pass

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


class FoldConvBias(Pass):
    """Conv(x, w, b) + c = Conv(x, w, b + c), floating point."""

    name = "conv + bias"
    operators = _CONVOLUTIONS

    def run(self, model: Model) -> int:
        """Returns the number of additions that went."""
        return sum(_fold(node) for node in tuple(all_nodes(model.graph)) if node.op_type in _CONVOLUTIONS and node.domain == "")


def _fold(conv: Node) -> bool:
    add, output, known = single_consumer(conv.outputs[0]), conv.outputs[0], conv.inputs[2] if len(conv.inputs) > 2 else None
    if add is None or add.op_type != "Add" or add.domain != "" or (known is not None and constant_size(known) is None):
        return False
    addend = add.inputs[1] if add.inputs[0] is output else add.inputs[0]
    rank, size = rank_of(conv.inputs[1]), _filters(conv)
    if rank is None or size is None or addend is None or not _is_by_channel(addend, rank, size):
        return False
    array, before = constant_of(addend), constant_of(known)
    assert array is not None
    total = np.broadcast_to(array.reshape(-1), (size,)).astype(np.float64) + (0 if before is None else before)
    if not bypass_node(add, output):
        return False
    bias = add_constant(graph_of(conv), total.astype(array.dtype), f"{output.name}.bias")
    conv.resize_inputs(3)
    conv.replace_input_with(2, bias)
    return True


def _filters(conv: Node) -> int | None:
    """The channels of the result; of a transposed convolution with groups they are not in the weight's shape alone."""
    shape = conv.outputs[0].shape
    size = shape[1] if shape is not None and len(shape) > 1 else None
    sizes = static_shape(conv.inputs[1])
    if conv.op_type == "Conv" and sizes is not None:
        return sizes[0]
    return size if isinstance(size, int) else None


def _is_by_channel(value: Value, rank: int, size: int) -> bool:
    """A constant that has one number for each channel, or one for all."""
    shape = static_shape(value)
    floating = value.dtype is not None and value.dtype.is_floating_point()
    if shape is None or constant_size(value) is None or not floating or len(shape) > rank:
        return False
    full = (1,) * (rank - len(shape)) + shape
    return full[1] in (1, size) and all(each == 1 for axis, each in enumerate(full) if axis != 1)
