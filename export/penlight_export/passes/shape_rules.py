# SPDX-License-Identifier: Apache-2.0
"""Shapes of results in names, by operator: more than ONNX's own inference tells, which gives up where two names meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penlight_export.graph import Node, constant_of, find_attribute, rank_of
from penlight_export.passes.known_sizes import Entry, KnownSizes, Size, add, broadcast, divide, multiply, product, subtract

Sizes = list[Entry]
Rule = Callable[[Node, KnownSizes], "Sizes | None"]

_WHOLE = 1 << 30  # what exporters write for "to the end" is above


def shape_of_node(node: Node, known: KnownSizes) -> Sizes | None:
    """The shape of a node's first output, None where nothing is known."""
    rule = _RULES.get(node.op_type)
    return None if rule is None else rule(node, known)


def _same(node: Node, known: KnownSizes) -> Sizes | None:
    sizes = known.shape_of(node.inputs[0])
    return None if sizes is None else list(sizes)


def _broadcast(node: Node, known: KnownSizes) -> Sizes | None:
    result: Sizes = []
    for value in node.inputs:
        sizes = known.shape_of(value)
        if sizes is None:
            return None
        result = broadcast(result, sizes)
    return result


def _matmul(node: Node, known: KnownSizes) -> Sizes | None:
    a, b = known.shape_of(node.inputs[0]), known.shape_of(node.inputs[1])
    if a is None or b is None or min(len(a), len(b)) < 2:
        return None
    return [*broadcast(a[:-2], b[:-2]), a[-2], b[-1]]


def _gemm(node: Node, known: KnownSizes) -> Sizes | None:
    a, b = known.shape_of(node.inputs[0]), known.shape_of(node.inputs[1])
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return None
    return [a[find_attribute(node, "transA", 0)], b[1 - find_attribute(node, "transB", 0)]]


def _transpose(node: Node, known: KnownSizes) -> Sizes | None:
    sizes = known.shape_of(node.inputs[0])
    if sizes is None:
        return None
    order = find_attribute(node, "perm", range(len(sizes))[::-1])
    return [sizes[axis] for axis in order] if sorted(order) == list(range(len(sizes))) else None


def _reshape(node: Node, known: KnownSizes) -> Sizes | None:
    before, wanted = known.shape_of(node.inputs[0]), known.entries_of(node.inputs[1])
    if before is None or wanted is None or find_attribute(node, "allowzero", 0):
        return None
    copied = [axis for axis, size in enumerate(wanted) if size == 0]
    if any(axis >= len(before) for axis in copied):
        return None
    sizes: Sizes = [before[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    left = [size for axis, size in enumerate(before) if axis not in copied]
    given = [size for axis, size in enumerate(wanted) if axis not in copied and size != -1]
    rest = _quotient(left, given) if len(wanted) - len(given) - len(copied) == 1 else None
    return [rest if size == -1 else size for size in sizes]


def _quotient(above: Sequence[Size], below: Sequence[Entry]) -> Entry:
    """A product divided by another, without what stands in both."""
    rest, divisors = list(above), []
    for size in below:
        if size is None:
            return None
        if size in rest:
            rest.remove(size)
        else:
            divisors.append(size)
    divisor = product(divisors)
    return product(rest) if divisor == 1 else divide(product(rest), divisor)


def _axes_of(node: Node, rank: int) -> list[int] | None:
    axes = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if axes is None else [int(axis) % rank for axis in axes.reshape(-1)]


def _unsqueeze(node: Node, known: KnownSizes) -> Sizes | None:
    sizes, given = known.shape_of(node.inputs[0]), constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    if sizes is None or given is None:
        return None
    rank = len(sizes) + given.size
    axes, rest = {int(axis) % rank for axis in given.reshape(-1)}, iter(sizes)
    return [1 if axis in axes else next(rest) for axis in range(rank)] if len(axes) == given.size else None


def _squeeze(node: Node, known: KnownSizes) -> Sizes | None:
    sizes = known.shape_of(node.inputs[0])
    axes = _axes_of(node, len(sizes)) if sizes else None
    return None if sizes is None or axes is None else [size for axis, size in enumerate(sizes) if axis not in axes]


def _concat(node: Node, known: KnownSizes) -> Sizes | None:
    parts = [known.shape_of(value) for value in node.inputs]
    ranks = {None if part is None else len(part) for part in parts}
    if None in ranks or len(ranks) != 1 or not parts[0]:
        return None
    place = find_attribute(node, "axis", 0) % len(parts[0])
    total: Size = 0
    result: Sizes = list(parts[0])
    for part in parts:
        assert part is not None
        total = add(total, part[place])
        # Sizes besides the axis are equal: a number says more than a name.
        result = [a if isinstance(a, int) or not isinstance(b, int) else b for a, b in zip(result, part, strict=True)]
    result[place] = total
    return result


def _gather(node: Node, known: KnownSizes) -> Sizes | None:
    data, indices = known.shape_of(node.inputs[0]), known.shape_of(node.inputs[1])
    if not data or indices is None:
        return None
    axis = find_attribute(node, "axis", 0) % len(data)
    return [*data[:axis], *indices, *data[axis + 1 :]]


def _slice(node: Node, known: KnownSizes) -> Sizes | None:
    sizes = known.shape_of(node.inputs[0])
    bounds = [known.entries_of(value) if value is not None else None for value in node.inputs[1:]]
    if sizes is None or len(bounds) < 2 or bounds[0] is None or bounds[1] is None:
        return None
    starts, ends = bounds[0], bounds[1]
    axes = bounds[2] if len(bounds) > 2 and bounds[2] is not None else list(range(len(starts)))
    steps = bounds[3] if len(bounds) > 3 and bounds[3] is not None else [1] * len(starts)
    result: Sizes = list(sizes)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=False):
        if not isinstance(axis, int) or not -len(sizes) <= axis < len(sizes):
            return None
        result[axis] = _sliced(sizes[axis], start, end, step)
    return result


def _sliced(size: Size, start: Entry, end: Entry, step: Entry) -> Entry:
    """What is left of an axis. A bound beyond the end is cut, which names do not tell."""
    if start == 0 and step == 1 and (end == size or (isinstance(end, int) and end > _WHOLE)):
        return size
    if not isinstance(size, int) or not isinstance(start, int) or not isinstance(end, int) or not isinstance(step, int):
        return None
    return len(range(size)[start:end:step]) if step else None


def _expand(node: Node, known: KnownSizes) -> Sizes | None:
    sizes, wanted = known.shape_of(node.inputs[0]), known.entries_of(node.inputs[1])
    return None if sizes is None or wanted is None else broadcast(sizes, wanted)


def _range(node: Node, known: KnownSizes) -> Sizes | None:
    start, limit, step = (known.entries_of(value) for value in node.inputs)
    if not start or not limit or step != [1] or start[0] is None or limit[0] is None:
        return None
    length = subtract(limit[0], start[0])
    # A difference of names may be negative, and the range then empty.
    positive = isinstance(length, int) or all(factor > 0 for factor in length.terms.values())
    return [max(length, 0) if isinstance(length, int) else length] if positive else None


def _reduce(node: Node, known: KnownSizes) -> Sizes | None:
    sizes = known.shape_of(node.inputs[0])
    axes = find_attribute(node, "axes") or (_axes_of(node, len(sizes)) if sizes else None)
    if not sizes or not axes:
        return None
    places = {int(axis) % len(sizes) for axis in axes}
    keep = find_attribute(node, "keepdims", 1)
    return [1 if axis in places else size for axis, size in enumerate(sizes) if keep or axis not in places]


def _filled(node: Node, known: KnownSizes) -> Sizes | None:
    return known.entries_of(node.inputs[0])


def _image(node: Node, known: KnownSizes) -> Sizes | None:
    """Windows keep the batch; ONNX's inference knows the other sizes."""
    sizes, rank = known.shape_of(node.inputs[0]), rank_of(node.outputs[0])
    return [sizes[0], *[None] * (rank - 1)] if sizes and rank else None


def _attention(node: Node, known: KnownSizes) -> Sizes | None:
    """(B, H, T, D), or (B, T, H * D) with the numbers of heads as attributes."""
    q, v = known.shape_of(node.inputs[0]), known.shape_of(node.inputs[2])
    if q is None or v is None or len(q) != len(v):
        return None
    if len(q) == 4:
        return [*q[:3], v[3]]
    heads, groups = find_attribute(node, "q_num_heads"), find_attribute(node, "kv_num_heads")
    width = divide(v[2], groups) if groups else None
    return None if width is None or not heads else [q[0], q[1], multiply(width, heads)]


_SAME = (
    "Abs BatchNormalization Cast Ceil Clip Cos CumSum Dropout Elu Erf Exp Floor Gelu GroupNormalization HardSigmoid HardSwish "
    "Identity InstanceNormalization IsNaN LayerNormalization LeakyRelu Log LogSoftmax Mish Neg Not RMSNormalization Reciprocal "
    "Relu RotaryEmbedding Round ScatterElements ScatterND Selu Sigmoid Sign Sin Softmax Softplus Sqrt Swish Tanh Trilu"
)
_BROADCAST = "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Or PRelu Pow Sub Sum Where"

_RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME.split(), _same),
    **dict.fromkeys(_BROADCAST.split(), _broadcast),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), _reduce),
    **dict.fromkeys(("AveragePool", "Conv", "ConvTranspose", "GlobalAveragePool", "MaxPool"), _image),
    "Attention": _attention,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Expand": _expand,
    "Range": _range,
    "ConstantOfShape": _filled,
}
