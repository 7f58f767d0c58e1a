# SPDX-License-Identifier: Apache-2.0
"""Operators that move strings without reading them: their bytes move along as a last dimension."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import Attr, AttributeType, Value, rank_of, static_shape
from penlight_export.onnx.strings.body import Handler, TextBody


def plain(body: TextBody) -> None:
    """Nothing to adapt: dimensions count from the front."""
    body.keep(0)


def along_axis(body: TextBody) -> None:
    """Gather: the axis may count from the end."""
    body.shift_axis()
    body.keep(0)


def split(body: TextBody) -> None:
    """Every part is strings."""
    body.shift_axis()
    body.keep(*range(len(body.node.outputs)))


def reshape(body: TextBody) -> None:
    """The new shape gets the bytes as its last size."""
    body.append(1, body.width())
    body.keep(0)


def expand(body: TextBody) -> None:
    """A last size of 1 broadcasts to the bytes; a Tile repeats them once."""
    body.append(1, 1)
    body.keep(0)


def flatten(body: TextBody) -> None:
    """As a Reshape to two dimensions."""
    rank, axis = body.known_rank(), body.attribute("axis", 1)
    axis = axis + rank if axis < 0 else axis
    before = body.add("ReduceProd", body.add("Shape", body.input(), start=0, end=axis), body.constant([0], np.int64), keepdims=1)
    after = body.add("ReduceProd", body.add("Shape", body.input(), start=axis, end=rank), body.constant([0], np.int64), keepdims=1)
    shape = body.add("Concat", before, after, body.constant([body.width()], np.int64), axis=0)
    body.replace_by_text(body.add("Reshape", body.input(), shape, allowzero=1), body.width())


def squeeze(body: TextBody) -> None:
    """Without axes all sizes of 1 go, but not that of the bytes."""
    if len(body.node.inputs) > 1 and body.node.inputs[1] is not None:
        body.shift_axes(1)
        body.keep(0)
        return
    shape = static_shape(body.input())
    if shape is None:
        raise body.refusal("squeezes strings of unknown sizes; name the axes")
    axes = body.constant([i for i, size in enumerate(shape[:-1]) if size == 1], np.int64)
    body.replace_by_text(body.add("Squeeze", body.input(), axes), body.width())


def unsqueeze(body: TextBody) -> None:
    """Axes may count from the end."""
    body.shift_axes(1)
    body.keep(0)


def slice_(body: TextBody) -> None:
    """The same; without axes the first dimensions are meant."""
    body.shift_axes(3)
    body.keep(0)


def transpose(body: TextBody) -> None:
    """The bytes stay last."""
    rank = body.known_rank()
    order = list(body.attribute("perm") or range(rank)[::-1])
    body.node.attributes["perm"] = Attr("perm", AttributeType.INTS, [*order, rank])
    body.keep(0)


def concat(body: TextBody) -> None:
    """Parts of different widths get the largest one."""
    width = max(body.width(i) for i in range(len(body.node.inputs)))
    for i in range(len(body.node.inputs)):
        body.node.replace_input_with(i, body.widened(body.input(i), width))
    body.shift_axis()
    body.keep(0, width=width)


def where(body: TextBody) -> None:
    """The condition holds for all bytes of a string."""
    width = max(body.width(1), body.width(2))
    sides = [body.widened(body.input(i), width) for i in (1, 2)]
    condition = body.add("Unsqueeze", body.input(), body.constant([-1], np.int64))
    body.replace_by_text(body.add("Where", condition, *sides), width)


def shape(body: TextBody) -> None:
    """Without the size of the bytes."""
    rank, start, end = body.rank(), body.attribute("start", 0), body.attribute("end")
    if rank is None:
        body.set_integer("start", start - (start < 0))
        body.set_integer("end", -1 if end is None else end - 1 if end < 0 else end)
    else:
        for name, place in (("start", start), ("end", rank if end is None else end)):
            body.set_integer(name, min(max(place + rank if place < 0 else place, 0), rank))
    body.keep()


def size(body: TextBody) -> None:
    """The product of the sizes without that of the bytes."""
    sizes = body.add("Shape", body.input(), start=0, end=-1)
    body.finish(body.add("ReduceProd", sizes, body.constant([0], np.int64), keepdims=0))


def compress(body: TextBody) -> None:
    """Of all strings in a row when there is no axis."""
    _along_axis_or_flat(body)
    body.keep(0)


def unique(body: TextBody) -> None:
    """Rows of bytes are in the order of strings; places and counts are no strings."""
    _along_axis_or_flat(body)
    body.keep(0)


def _along_axis_or_flat(body: TextBody) -> None:
    if body.attribute("axis") is not None:
        body.shift_axis()
        return
    width = body.width()
    body.node.replace_input_with(0, body.add("Reshape", body.input(), body.constant([-1, width], np.int64)))
    body.widths[body.input()] = width
    body.set_integer("axis", 0)


def gather_elements(body: TextBody) -> None:
    """The index of a string is that of each of its bytes."""
    body.node.replace_input_with(1, _per_byte(body, body.input(1), body.width()))
    body.shift_axis()
    body.keep(0)


def scatter_elements(body: TextBody) -> None:
    """The same; the new strings may be wider."""
    width = _same_width(body, 2)
    body.node.replace_input_with(1, _per_byte(body, body.input(1), width))
    body.shift_axis()
    body.keep(0, width=width)


def scatter_nd(body: TextBody) -> None:
    """Whole strings are written anyway."""
    body.keep(0, width=_same_width(body, 2))


def _same_width(body: TextBody, i: int) -> int:
    width = max(body.width(), body.width(i))
    for place in (0, i):
        body.node.replace_input_with(place, body.widened(body.input(place), width))
    return width


def _per_byte(body: TextBody, indices: Value, width: int) -> Value:
    wide = body.add("Unsqueeze", indices, body.constant([-1], np.int64))
    assert rank_of(wide) is None  # only a shape rule tells
    return body.add("Expand", wide, body.constant([width], np.int64))


def constant(body: TextBody) -> None:
    """A Constant node of strings."""
    texts = body.texts("value_strings", "value", "value_string")
    value = body.text_constant(texts)
    body.finish(value)


_TABLE: dict[str, Handler] = {
    "Compress": compress,
    "Concat": concat,
    "Constant": constant,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": along_axis,
    "GatherElements": gather_elements,
    "GatherND": plain,
    "Identity": plain,
    "Reshape": reshape,
    "ReverseSequence": plain,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Shape": shape,
    "Size": size,
    "Slice": slice_,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": expand,
    "Transpose": transpose,
    "Unique": unique,
    "Unsqueeze": unsqueeze,
    "Where": where,
}
HANDLERS = {("", name): handler for name, handler in _TABLE.items()}
