# SPDX-License-Identifier: Apache-2.0
"""Lifts a model to operator set 21 or above, so that passes and kernels see one form of each operator.

Most versions of an operator only add element types, optional inputs or attributes with a neutral default: nothing to do. The table
`_CHANGES` holds the others, by the operator set that brought the new form. Models above 21 stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from penlight_export.errors import UnsupportedFeatureError
from penlight_export.graph import (
    Model,
    Node,
    Value,
    add_constant,
    constant_of,
    describe,
    find_attribute,
    graph_of,
    make_node,
    rank_of,
    replace_node,
)

TARGET = 21
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")


def upgrade(model: Model) -> int:
    """Rewrites nodes in place until the model stands at operator set 21 or above. Returns the number of changed nodes.

    Shapes must have been inferred: Softmax before version 13 flattens its input and needs the rank.

    Raises:
        UnsupportedFeatureError: a node uses a form that later versions took away.
    """
    opset = model.opset_imports[""]
    if opset >= TARGET:
        return 0
    changed = 0
    for node in tuple(model.graph.all_nodes()):
        for version in sorted(_CHANGES):
            change = _CHANGES[version].get(node.op_type)
            if version > opset and change is not None and node.domain == "":
                node = change(node)  # a replacement goes through the later changes as well
                changed += 1
    model.graph.opset_imports[""] = TARGET
    return changed


def _refuse(node: Node, why: str) -> UnsupportedFeatureError:
    return UnsupportedFeatureError(f"{node.op_type} node {describe(node)} {why}; export the model at operator set 13 or above")


def _rebuild(
    node: Node, operator: str, inputs: list[Value | None], drop: tuple[str, ...] = (), outputs: int | None = None, **more: object
) -> Node:
    """The same node with other inputs and attributes, standing in its place."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items() if name not in drop} | more
    kept = node.outputs[: outputs or len(node.outputs)]
    new = make_node(operator, inputs, attributes, output_names=[""] * len(kept), like=node)
    for value in new.outputs:
        value.name = None
    replace_node(node, [new], [*new.outputs, *([None] * (len(node.outputs) - len(kept)))])
    return new


def _integers(node: Node, values: object, name: str) -> Value:
    base = node.outputs[0].name or node.op_type
    return add_constant(graph_of(node), np.asarray(values, np.int64), f"{base}.{name}")


def _axes_to_input(node: Node) -> Node:
    axes = find_attribute(node, "axes")
    inputs = [node.inputs[0], *([] if axes is None else [_integers(node, axes, "axes")])]
    return _rebuild(node, node.op_type, inputs, drop=("axes",))


def _split_to_input(node: Node) -> Node:
    split = find_attribute(node, "split")
    inputs = [node.inputs[0], *([] if split is None else [_integers(node, split, "split")])]
    return _rebuild(node, "Split", inputs, drop=("split",))


def _name_split_count(node: Node) -> Node:
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        return node
    return _rebuild(node, "Split", [node.inputs[0]], num_outputs=len(node.outputs))


def _slice_to_inputs(node: Node) -> Node:
    names = ("starts", "ends", "axes")
    inputs = [_integers(node, node.attributes[name].value, name) for name in names if name in node.attributes]
    return _rebuild(node, "Slice", [node.inputs[0], *inputs], drop=names)


def _top_k_to_input(node: Node) -> Node:
    return _rebuild(node, "TopK", [node.inputs[0], _integers(node, [find_attribute(node, "k")], "k")], drop=("k",))


def _float_like(node: Node, number: float, name: str) -> Value:
    x = node.inputs[0]
    dtype = np.float32 if x is None or x.dtype is None else x.dtype.numpy()
    return add_constant(graph_of(node), np.asarray(number, dtype), f"{node.outputs[0].name}.{name}")


def _clip_to_inputs(node: Node) -> Node:
    bounds = [_float_like(node, node.attributes[n].value, n) if n in node.attributes else None for n in ("min", "max")]
    return _rebuild(node, "Clip", [node.inputs[0], *bounds], drop=("min", "max"))


def _pad_to_inputs(node: Node) -> Node:
    pads = _integers(node, find_attribute(node, "pads"), "pads")
    value = _float_like(node, find_attribute(node, "value", 0.0), "value")
    return _rebuild(node, "Pad", [node.inputs[0], pads, value], drop=("pads", "value"))


def _upsample_to_resize(node: Node) -> Node:
    scales = node.inputs[1] if len(node.inputs) > 1 else None
    if scales is None:
        numbers = np.asarray(find_attribute(node, "scales"), np.float32)
        scales = add_constant(graph_of(node), numbers, f"{node.outputs[0].name}.scales")
    return _rebuild(node, "Resize", [node.inputs[0], scales], drop=("scales",))


def _resize_to_modern(node: Node) -> Node:
    """Operator set 10 rounds coordinates down from `output / scale`; later ones call this asymmetric and floor."""
    return _rebuild(
        node, "Resize", [node.inputs[0], None, node.inputs[1]], coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def _resize_without_empty_inputs(node: Node) -> Node:
    if find_attribute(node, "coordinate_transformation_mode") == "tf_half_pixel_for_nn":
        raise _refuse(node, "has the coordinate mode tf_half_pixel_for_nn, which was withdrawn")
    inputs = [None if i and (array := constant_of(v)) is not None and array.size == 0 else v for i, v in enumerate(node.inputs)]
    return _rebuild(node, "Resize", inputs)


def _batch_norm_without_spatial(node: Node) -> Node:
    if find_attribute(node, "spatial", 1) != 1:
        raise _refuse(node, "normalises per activation (spatial=0), which was withdrawn")
    return _rebuild(node, "BatchNormalization", list(node.inputs), drop=("spatial",))


def _batch_norm_for_inference(node: Node) -> Node:
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        raise _refuse(node, "updates running statistics, which belongs to training")
    return _rebuild(node, "BatchNormalization", list(node.inputs), outputs=1)


def _scan_without_batch(node: Node) -> Node:
    raise _refuse(node, "has the batch dimension of operator set 8, which was withdrawn")


def _dropout_to_identity(node: Node) -> Node:
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        raise _refuse(node, "has a mask that something reads, which belongs to training")
    return _rebuild(node, "Identity", [node.inputs[0]], drop=("ratio", "seed"), outputs=1)


def _softmax_last_axis(node: Node) -> Node:
    """Before version 13 the axis flattened the input to two dimensions, and the second was normalised."""
    x = node.inputs[0]
    axis, rank = find_attribute(node, "axis", 1), rank_of(x)
    if axis in (-1, None if rank is None else rank - 1):
        return _rebuild(node, node.op_type, [x], axis=-1)
    base = node.outputs[0].name
    shape = make_node("Shape", [x], output_names=[f"{base}.shape"], like=node)
    flat = make_node("Flatten", [x], {"axis": axis}, output_names=[f"{base}.flat"], like=node)
    soft = make_node(node.op_type, flat.outputs, {"axis": -1}, output_names=[f"{base}.rows"], like=node)
    back = make_node("Reshape", [soft.outputs[0], shape.outputs[0]], like=node)
    replace_node(node, [shape, flat, soft, back], back.outputs)
    return back


def _scatter_to_elements(node: Node) -> Node:
    return _rebuild(node, "ScatterElements", list(node.inputs))


def _roi_align_without_offset(node: Node) -> Node:
    if "coordinate_transformation_mode" in node.attributes:
        return node
    return _rebuild(node, "RoiAlign", list(node.inputs), coordinate_transformation_mode="output_half_pixel")


def _grid_sample_modes(node: Node) -> Node:
    modes = {"bilinear": "linear", "bicubic": "cubic"}
    mode = find_attribute(node, "mode", "bilinear")
    return _rebuild(node, "GridSample", list(node.inputs), mode=modes.get(mode, mode))


def _dft_axis_to_input(node: Node) -> Node:
    length = node.inputs[1] if len(node.inputs) > 1 else None
    inputs = [node.inputs[0], length, _integers(node, find_attribute(node, "axis", 1), "axis")]
    return _rebuild(node, "DFT", inputs, drop=("axis",))


def _group_norm_per_channel(node: Node) -> Node:
    x, *factors = node.inputs
    arrays = [constant_of(value) for value in factors]
    channels = x.shape[1] if x is not None and x.shape is not None and len(x.shape) > 1 else None
    if not isinstance(channels, int) or any(array is None for array in arrays):
        raise _refuse(node, "has a scale per group that is not constant")
    groups = find_attribute(node, "num_groups")
    wide = [np.repeat(array, channels // groups) for array in arrays if array is not None]
    names = (f"{value.name}.per_channel" for value in factors if value is not None)
    return _rebuild(node, node.op_type, [x, *(add_constant(graph_of(node), a, n) for a, n in zip(wide, names, strict=True))])


_CHANGES: dict[int, dict[str, Callable[[Node], Node]]] = {
    9: {"BatchNormalization": _batch_norm_without_spatial, "Scan": _scan_without_batch},
    10: {"Slice": _slice_to_inputs, "TopK": _top_k_to_input, "Upsample": _upsample_to_resize},
    11: {"Clip": _clip_to_inputs, "Pad": _pad_to_inputs, "Resize": _resize_to_modern, "Scatter": _scatter_to_elements},
    12: {"Dropout": _dropout_to_identity},
    13: {
        **dict.fromkeys(("Squeeze", "Unsqueeze", "ReduceSum"), _axes_to_input),
        **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _softmax_last_axis),
        "Split": _split_to_input,
        "Resize": _resize_without_empty_inputs,
    },
    14: {"BatchNormalization": _batch_norm_for_inference},
    16: {"RoiAlign": _roi_align_without_offset},
    18: {**dict.fromkeys((f"Reduce{name}" for name in _REDUCTIONS), _axes_to_input), "Split": _name_split_count},
    20: {"DFT": _dft_axis_to_input, "GridSample": _grid_sample_modes},
    21: {"GroupNormalization": _group_norm_per_channel},
}
