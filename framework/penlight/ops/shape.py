# SPDX-License-Identifier: Apache-2.0
"""Operators that move elements: views, joining, padding, flipping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penlight.errors import ArgumentError, ShapeError
from penlight.ops import dims as _dims
from penlight.ops.broadcast import broadcast_shapes, promoted_type, reduced, same_dtype
from penlight.ops.dispatch import apply, shortcut
from penlight.ops.operator import NotExported, NotSampled, Operator, Shape, Spec
from penlight.ops.registry import register
from penlight.ops.samples import of, sample, shapes
from penlight.tape import mode
from penlight.tensor import Tensor


@register
class Reshape(Operator):
    """The same elements in row-major order in another shape"""

    name = "reshape"
    complex_gradient = True
    saves_inputs = False
    is_view, may_copy = True, True
    samples = (
        shapes(3, 4, shape=(2, 6)),
        shapes(0, 3, shape=(3, 0)),
        sample(of(5, 3, strided=True), shape=(15,)),
        shapes(shape=(1, 1)),
    )

    shape: Shape

    def infer(self, x: Spec) -> Spec:
        if count(self.shape) != count(x.shape):
            raise ShapeError(
                f"reshape: {tuple(map(int, x.shape))} has {int(count(x.shape))} elements, "
                f"{tuple(map(int, self.shape))} wants {int(count(self.shape))}"
            )
        return Spec(self.shape, x.dtype)

    def forward(self, xp, x):
        return x.reshape(self.shape)

    def vjp(self, grad, output, x):
        return (apply(Reshape(tuple(x.shape)), grad),)

    def backward(self, xp, needs, grad, output, x):
        return (grad.reshape(x.shape),)


def count(shape: Shape) -> int:
    """The number of elements of a shape."""
    total = 1
    for size in shape:
        total = total * size
    return total


@register
class Permute(Operator):
    """The dimensions in another order"""

    name = "permute"
    complex_gradient = True
    onnx = "Transpose(perm=dims)"
    saves_inputs = False
    is_view = True
    samples = (shapes(3, 4, dims=(1, 0)), shapes(2, 3, 4, dims=(2, 0, 1)), shapes(0, 3, dims=(1, 0)))

    dims: tuple[int, ...]

    def infer(self, x: Spec) -> Spec:
        return Spec(tuple(x.shape[d] for d in self.dims), x.dtype)

    def forward(self, xp, x):
        return x.transpose(self.dims)

    def vjp(self, grad, output, x):
        return (apply(Permute(tuple(self.dims.index(d) for d in range(len(self.dims)))), grad),)

    def backward(self, xp, needs, grad, output, x):
        return (grad.transpose(tuple(self.dims.index(d) for d in range(len(self.dims)))),)


@register
class Expand(Operator):
    """Size-1 dimensions repeated without a copy"""

    name = "expand"
    complex_gradient = True
    saves_inputs = False
    is_view = True
    samples = (shapes(3, 1, shape=(2, 3, 4)), shapes(shape=(2, 3)), shapes(1, 3, shape=(0, 3)))

    shape: Shape

    def infer(self, x: Spec) -> Spec:
        if tuple(broadcast_shapes("expand", x.shape, self.shape)) != tuple(self.shape):
            raise ShapeError(f"expand: {tuple(map(int, x.shape))} does not expand to {tuple(map(int, self.shape))}")
        return Spec(self.shape, x.dtype)

    def forward(self, xp, x):
        return xp.broadcast_to(x, self.shape)

    def vjp(self, grad, output, x):
        return (grad.sum_to(x.shape),)

    def backward(self, xp, needs, grad, output, x):
        return (reduced(grad, x),)


@register
class Unsqueeze(Operator):
    """New dimensions of size 1 at the places `dims` of the result"""

    name = "unsqueeze"
    complex_gradient = True
    saves_inputs = False
    is_view = True
    samples = (shapes(3, 4, dims=(0,)), shapes(3, dims=(0, 2)), shapes(0, dims=(1,)))

    dims: tuple[int, ...]

    def infer(self, x: Spec) -> Spec:
        rest = iter(x.shape)
        return Spec(tuple(1 if d in self.dims else next(rest) for d in range(len(x.shape) + len(self.dims))), x.dtype)

    def forward(self, xp, x):
        return xp.expand_dims(x, self.dims)

    def vjp(self, grad, output, x):
        return (apply(Squeeze(self.dims), grad),)


@register
class Squeeze(Operator):
    """Without the dimensions `dims`, whose size is 1"""

    name = "squeeze"
    complex_gradient = True
    saves_inputs = False
    is_view = True
    samples = (shapes(1, 3, dims=(0,)), shapes(1, 3, 1, dims=(0, 2)), shapes(0, 1, dims=(1,)))

    dims: tuple[int, ...]

    def infer(self, x: Spec) -> Spec:
        return Spec(tuple(size for d, size in enumerate(x.shape) if d not in self.dims), x.dtype)

    def forward(self, xp, x):
        return xp.squeeze(x, self.dims)

    def vjp(self, grad, output, x):
        return (apply(Unsqueeze(self.dims), grad),)


@register
class ViewScatter(Operator):
    """The base with the region that a chain of view operators shows replaced; the tape of in-place writes to views"""

    name = "view_scatter"
    saves_inputs = False
    onnx = NotExported("writing into a view under a trace is refused; write x[i] = v instead")
    samples = NotSampled("its operators come from a view; tested in test_inplace.py")

    views: tuple[Operator, ...]

    def infer(self, base: Spec, value: Spec) -> Spec:
        return base

    def forward(self, xp, base, value):
        result = base.copy()
        self._region(xp, result)[...] = value
        return result

    def _region(self, xp: Any, array: Any) -> Any:
        for operator in self.views:
            array = operator.forward(xp, array)
        return array

    def vjp(self, grad, output, base, value):
        region = grad.contiguous()  # as_strided reads memory
        for operator in self.views:
            region = apply(operator, region)
        return apply(self, grad, region * 0.0), region.clone()


@register
class Cat(Operator):
    """Tensors joined along `dim`"""

    name = "cat"
    complex_gradient = True
    onnx = "Concat(axis=dim)"
    saves_inputs = False
    samples = (
        sample(of(3, 4), of(2, 4), dim=0),
        sample(of(3, 1), of(3, 2), of(3, 3), dim=1),
        sample(of(0, 2), of(3, 2), dim=0),
    )

    dim: int

    def infer(self, *xs: Spec) -> Spec:
        total = xs[0].shape[self.dim]
        for x in xs[1:]:
            if len(x.shape) != len(xs[0].shape) or _without(x.shape, self.dim) != _without(xs[0].shape, self.dim):
                given = ", ".join(str(tuple(map(int, s.shape))) for s in xs)
                raise ShapeError(f"cat: shapes {given} differ outside dim {self.dim}")
            total = total + x.shape[self.dim]
        shape = xs[0].shape
        return Spec((*shape[: self.dim], total, *shape[self.dim + 1 :]), same_dtype("cat", *xs))

    def forward(self, xp, *xs):
        return xp.concatenate(xs, axis=self.dim)

    def vjp(self, grad, output, *xs):
        start, grads = 0, []
        for x in xs:
            stop = start + x.shape[self.dim]
            grads.append(grad.narrow(self.dim, start, stop - start) if x.requires_grad else None)
            start = stop
        return grads


def _without(shape: Shape, dim: int) -> Shape:
    return tuple(size for d, size in enumerate(shape) if d != dim)


@register
class Flip(Operator):
    """Reversed along `dims`"""

    name = "flip"
    complex_gradient = True
    saves_inputs = False
    samples = (shapes(3, 4, dims=(1,)), shapes(2, 3, dims=(0, 1)), shapes(0, 3, dims=(0,)))

    dims: tuple[int, ...]

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, xp, x):
        return xp.ascontiguousarray(xp.flip(x, self.dims)) if x.ndim else x.copy()

    def vjp(self, grad, output, x):
        return (apply(self, grad),)


@register
class Pad(Operator):
    """`value` around the elements: `pads` holds (before, after) per dimension; negative ones crop"""

    name = "pad"
    saves_inputs = False
    samples = (
        shapes(3, 4, pads=((0, 0), (1, 2))),
        shapes(3, 4, pads=((1, 1), (-1, 0)), value=0.5),
        shapes(0, 3, pads=((2, 0), (0, 0))),
    )

    pads: tuple[tuple[int, int], ...]
    value: float = 0.0

    def infer(self, x: Spec) -> Spec:
        return Spec(tuple(size + before + after for size, (before, after) in zip(x.shape, self.pads, strict=True)), x.dtype)

    def forward(self, xp, x):
        inner = x[tuple(slice(max(-b, 0), n + min(a, 0)) for n, (b, a) in zip(x.shape, self.pads, strict=True))]
        sizes = [n + b + a for n, (b, a) in zip(x.shape, self.pads, strict=True)]
        result = xp.full(sizes, self.value, dtype=x.dtype)
        place = tuple(slice(max(b, 0), max(b, 0) + n) for n, (b, _) in zip(inner.shape, self.pads, strict=True))
        result[place] = inner
        return result

    def vjp(self, grad, output, x):
        return (apply(Pad(tuple((-b, -a) for b, a in self.pads)), grad),)


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """Returns the elements in another shape: a view where possible; one size may be -1.

    Raises:
        ShapeError: the number of elements differs.
    """
    target = _dims.shape_arguments(shape)
    if any(size == -1 for size in target):
        target = _resolve(input, target)
    return apply(Reshape(target), input)


def _resolve(input: Tensor, target: Shape) -> Shape:
    known: Any = 1
    for size in target:
        known = known * (1 if size == -1 else size)
    total = input.numel()
    if sum(size == -1 for size in target) > 1 or known == 0 or total % known:
        raise ShapeError(f"reshape: {tuple(map(int, input.shape))} does not fit {tuple(map(int, target))}; one size may be -1")
    return tuple(total // known if size == -1 else size for size in target)


def view(input: Tensor, *shape: Any) -> Tensor:
    """Returns the same memory in another shape.

    Raises:
        ShapeError: the number of elements differs, or the memory layout would need a copy (use `reshape`).
    """
    result = reshape(input, *shape)
    if result._data.size and not _shares(result, input):
        raise ShapeError(f"view: {tuple(input.shape)} is not laid out so that {tuple(result.shape)} is a view; use .reshape()")
    return result


def _shares(a: Tensor, b: Tensor) -> bool:
    first = a._data.__array_interface__ if hasattr(a._data, "__array_interface__") else a._data.__cuda_array_interface__
    second = b._data.__array_interface__ if hasattr(b._data, "__array_interface__") else b._data.__cuda_array_interface__
    return first["data"][0] == second["data"][0]


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Returns the input with the dimensions `start_dim` to `end_dim` merged into one."""
    if input.ndim == 0:
        return reshape(input, (1,))
    first, last = _dims.one("flatten", start_dim, input.ndim), _dims.one("flatten", end_dim, input.ndim)
    if first > last:
        raise ArgumentError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    shape = input.shape
    return reshape(input, (*shape[:first], count(shape[first : last + 1]), *shape[last + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Returns the input with the dimension `dim` split into `sizes`, of which one may be -1."""
    d = _dims.one("unflatten", dim, input.ndim)
    known: Any = 1
    for size in sizes:
        known = known * (1 if size == -1 else size)
    split_sizes = tuple(input.shape[d] // known if size == -1 else size for size in sizes)
    return reshape(input, (*input.shape[:d], *split_sizes, *input.shape[d + 1 :]))


def permute(input: Tensor, *dims: Any) -> Tensor:
    """Returns a view with the dimensions in the order `dims`.

    Raises:
        ArgumentError: `dims` is not a permutation of all dimensions.
    """
    order = tuple(_dims.one("permute", d, input.ndim) for d in _dims.shape_arguments(dims))
    if sorted(order) != list(range(input.ndim)):
        raise ArgumentError(f"permute: expected each of the {input.ndim} dimensions once, came {order}")
    return apply(Permute(order), input)


@shortcut("exchange", Permute)
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Returns a view with two dimensions exchanged."""
    ndim = input._data.ndim
    a, b = _dims.one("transpose", dim0, ndim), _dims.one("transpose", dim1, ndim)
    order = list(range(ndim))
    if ndim:
        order[a], order[b] = b, a
    return apply(Permute(tuple(order)), input)


def expand(input: Tensor, *shape: Any) -> Tensor:
    """Returns a view with size-1 dimensions repeated; -1 keeps a size; new dimensions come first.

    Raises:
        ShapeError: a size is neither 1 nor the wanted one.
    """
    target = _dims.shape_arguments(shape)
    lead = len(target) - input.ndim
    target = tuple(input.shape[d - lead] if size == -1 and d >= lead else size for d, size in enumerate(target))
    return input if input._traced is None and target == input._data.shape else apply(Expand(target), input)


def unsqueeze(input: Tensor, dim: int | Sequence[int]) -> Tensor:
    """Returns a view with a new dimension of size 1 at `dim`."""
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    return apply(Unsqueeze(_dims.many("unsqueeze", dims, input.ndim + len(dims))), input)


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Returns a view without the dimensions of size 1, or without those of `dim` that have size 1."""
    dims = _dims.many("squeeze", dim, input.ndim)
    return apply(Squeeze(tuple(d for d in dims if input.shape[d] == 1)), input)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Returns the tensors joined along `dim`; their other sizes agree, their dtypes are promoted.

    Raises:
        ArgumentError: there are none.
        ShapeError: they differ outside `dim`.
    """
    if not tensors:
        raise ArgumentError("cat: expected at least one tensor, came none")
    if any(t._data.ndim == 1 and not t._data.size for t in tensors):  # PyTorch skips them whatever the other ranks are
        tensors = [t for t in tensors if t._data.ndim != 1 or t._data.size] or tensors[:1]
    return apply(Cat(_dims.one("cat", dim, tensors[0].ndim)), *promote_all(tensors))


def promote_all(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors in their common dtype."""
    if all(t._data.dtype == tensors[0]._data.dtype for t in tensors):
        return list(tensors)
    first = tensors[0]
    for t in tensors[1:]:
        common = promoted_type(first, t)
        first = first.to(common)
    return [t.to(first.dtype) for t in tensors]


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Returns tensors of one shape joined along a new dimension."""
    if not tensors:
        raise ArgumentError("stack: expected at least one tensor, came none")
    return cat([unsqueeze(t, dim) for t in tensors], dim if dim >= 0 else dim + tensors[0].ndim + 1)


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Returns the view of `length` elements from `start` on along `dim`."""
    d = _dims.one("narrow", dim, input.ndim)
    if mode.tracer is None:
        size = input.shape[d]
        start = start + size if start < 0 else start
        if not 0 <= start <= size or length < 0 or start + length > size:
            raise ShapeError(f"narrow: start {start} and length {length} leave dimension {dim} of {tuple(input.shape)}")
    return input[(slice(None),) * d + (slice(start, start + length),)]


def split(input: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Returns views of `split_size` elements along `dim` (the last may be shorter), or of the listed sizes.

    Raises:
        ShapeError: the listed sizes do not add up to the size of `dim`.
    """
    d = _dims.one("split", dim, input.ndim)
    total = input.shape[d]
    if isinstance(split_size, int):
        sizes: list[int] = [split_size] * (total // split_size) + ([total % split_size] if total % split_size else [])
    else:
        sizes = list(split_size)
    if sum(sizes) != total:
        raise ShapeError(f"split: sizes {sizes} add up to {sum(sizes)}, dim {dim} has {total}")
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    return tuple(narrow(input, d, start, size) for start, size in zip(starts, sizes, strict=True))


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Returns at most `chunks` views of equal size along `dim`; the last may be shorter."""
    size = input.shape[_dims.one("chunk", dim, input.ndim)]
    return split(input, (size + chunks - 1) // chunks or 1, dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Returns the slices along `dim`, without it."""
    d = _dims.one("unbind", dim, input.ndim)
    return tuple(input[(slice(None),) * d + (k,)] for k in range(input.shape[d]))


def flip(input: Tensor, *args: Any, dims: Any = None) -> Tensor:
    """Returns a copy reversed along `dims`."""
    return apply(Flip(_dims.many("flip", _dims.shape_arguments(args) if dims is None else dims, input.ndim)), input)


def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Returns the elements moved by `shifts` along `dims` (of the flattened input for None); what leaves enters again."""
    if dims is None or dims == ():
        return roll(input.reshape(-1), shifts, 0).reshape(tuple(input.shape))
    if not input.ndim:
        raise ShapeError(f"roll: a 0-dim tensor has no dimensions to name, came dims {dims}")
    many = 1 if isinstance(shifts, int) else len(shifts), 1 if isinstance(dims, int) else len(dims)
    if many[0] != many[1]:
        raise ArgumentError(f"roll: expected as many shifts as dims, came {shifts} and {dims}")
    pairs = [(shifts, dims)] if isinstance(dims, int) else list(zip(shifts, dims, strict=True))  # type: ignore[arg-type]  # both are sequences
    for shift, dim in pairs:
        input = _roll_one(input, shift if isinstance(shift, int) else shift[0], dim)
    return input


def _roll_one(input: Tensor, shift: int, dim: int) -> Tensor:
    if not input.ndim:
        return input.clone()
    size = input.shape[dim]
    shift = shift % size if size else 0
    return cat([narrow(input, dim, size - shift, shift), narrow(input, dim, 0, size - shift)], dim) if shift else input.clone()


def repeat(input: Tensor, *sizes: Any) -> Tensor:
    """Returns the input repeated `sizes` times along each dimension; new dimensions come first."""
    times = _dims.shape_arguments(sizes)
    shape = (1,) * (len(times) - input.ndim) + tuple(input.shape)
    pairs = [size for pair in zip(times, shape, strict=True) for size in pair]
    single = reshape(input, tuple(size for s in shape for size in (1, s)))
    return reshape(expand(single, tuple(pairs)), tuple(t * s for t, s in zip(times, shape, strict=True)))


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Returns the input padded, or cropped where negative; `pad` holds (before, after), last dimension first.

    Raises:
        ArgumentError: an odd number of pads, more than the dimensions, or a mode other than "constant".
    """
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ArgumentError(f"pad: expected (before, after) for at most {input.ndim} dimensions, came {tuple(pad)}")
    if mode != "constant":
        raise ArgumentError(f'pad: mode {mode!r} is not supported; use "constant"')
    pairs = tuple((pad[k], pad[k + 1]) for k in range(0, len(pad), 2))[::-1]
    return apply(Pad(((0, 0),) * (input.ndim - len(pairs)) + pairs, value), input)
