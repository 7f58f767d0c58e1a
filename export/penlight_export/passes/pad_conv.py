# SPDX-License-Identifier: Apache-2.0
"""Lets a convolution pad by itself where a Pad with zeros stands in front of it."""

from __future__ import annotations

from penlight_export.graph import Attr, AttributeType, Model, Node, all_nodes, constant_of, find_attribute, rank_of
from penlight_export.passes.base import Pass, require_opset
from penlight_export.passes.formula import scalar_of


class FoldPad(Pass):
    """Conv(Pad(x), W) = Conv with larger pads, for zeros around the image alone."""

    name = "pad into conv"
    operators = frozenset({"Pad"})

    def requires(self, model: Model) -> None:
        """Pads and axes are inputs, not attributes."""
        require_opset(model, 13, self.name)

    def run(self, model: Model) -> int:
        """Returns the number of convolutions that pad now."""
        return sum(_fold(node) for node in tuple(all_nodes(model.graph)) if node.op_type == "Conv" and node.domain == "")


def _fold(conv: Node) -> bool:
    x = conv.inputs[0]
    pad = x.producer() if x is not None else None
    if pad is None or pad.op_type != "Pad" or pad.domain != "" or find_attribute(conv, "auto_pad", "NOTSET") != "NOTSET":
        return False
    more = _image_pads(pad)
    if more is None:
        return False
    own = find_attribute(conv, "pads") or [0] * len(more)
    if len(own) != len(more):
        return False
    pads = [int(a) + b for a, b in zip(own, more, strict=True)]
    conv.attributes.add(Attr("pads", AttributeType.INTS, pads))
    conv.replace_input_with(0, pad.inputs[0])
    return True


def _image_pads(pad: Node) -> list[int] | None:
    """What a Pad adds before and after the spatial axes; None when it does more than that."""
    inputs = [*pad.inputs, None, None, None]
    pads, rank = constant_of(inputs[1]), rank_of(pad.inputs[0])
    if pads is None or rank is None or rank < 3 or find_attribute(pad, "mode", "constant") != "constant":
        return None
    if inputs[2] is not None and scalar_of(inputs[2]) != 0:
        return None
    axes = list(range(rank)) if inputs[3] is None else constant_of(inputs[3])
    if axes is None:
        return None
    begin, end = [0] * rank, [0] * rank
    half = len(pads) // 2
    if len(pads) != 2 * len(axes):
        return None
    for number, axis in enumerate(axes):
        begin[int(axis) % rank], end[int(axis) % rank] = int(pads[number]), int(pads[half + number])
    if any(begin[:2]) or any(end[:2]) or min(begin + end) < 0:
        return None
    return begin[2:] + end[2:]
