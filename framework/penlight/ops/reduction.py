# SPDX-License-Identifier: Apache-2.0
"""Reductions over dimensions, and cumulative sums."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

from penlight.backends.backend import backend_of
from penlight.dtype import as_dtype, bool_, int64
from penlight.errors import ArgumentError
from penlight.ops import dims as _dims
from penlight.ops.arithmetic import where
from penlight.ops.broadcast import floating
from penlight.ops.complex_parts import conj, real
from penlight.ops.dispatch import apply
from penlight.ops.operator import NotDifferentiable, Operator, Shape, Spec
from penlight.ops.registry import register
from penlight.ops.results import named
from penlight.ops.samples import boolean, of, sample, shapes
from penlight.tape import mode
from penlight.tensor import Tensor, from_array

Dims = int | Iterable[int] | None

_SAMPLES = (
    shapes(3, 4, dims=(1,)),
    shapes(2, 3, 4, dims=(0, 2), keepdim=True),
    shapes(2, 3, dims=(0, 1)),
    sample(of(5, 3, strided=True), dims=(0,)),
)
_EMPTY = (shapes(0, 3, dims=(0,)), shapes(0, 3, dims=(1,)))
_DISTINCT = tuple(sample(of(*s.inputs[0].shape, distinct=True), **s.fields) for s in _SAMPLES[:3] if s.inputs[0])


class Reduction(Operator):
    """Collapses `dims`; they stay as size 1 if `keepdim`."""

    dims: tuple[int, ...]
    keepdim: bool

    def infer(self, x: Spec) -> Spec:
        return Spec(reduced_shape(x.shape, self.dims, self.keepdim), x.dtype)

    def expanded(self, t: Tensor) -> Tensor:
        """A tensor of the output's shape, with the reduced dimensions back as size 1."""
        return t if self.keepdim or not self.dims else t.unsqueeze(self.dims)

    def spread(self, xp: Any, grad: Any, shape: Shape) -> Any:
        """The same for arrays, repeated to the shape of the input."""
        if not self.keepdim and self.dims:
            grad = xp.expand_dims(grad, self.dims)
        return xp.broadcast_to(grad, shape)


def reduced_shape(shape: Shape, dims: tuple[int, ...], keepdim: bool) -> Shape:
    """The shape after a reduction."""
    return tuple(1 if d in dims else size for d, size in enumerate(shape) if keepdim or d not in dims)


@register
class Sum(Reduction):
    """The sum over `dims`"""

    name = "sum"
    complex_gradient = True
    saves_inputs = False
    samples = (*_SAMPLES, *_EMPTY)

    dims: tuple[int, ...]
    keepdim: bool = False

    def forward(self, xp, x):
        return x.sum(axis=self.dims, keepdims=self.keepdim, dtype=x.dtype)

    def vjp(self, grad, output, x):
        return (self.expanded(grad).expand(x.shape),)

    def backward(self, xp, needs, grad, output, x):
        return (self.spread(xp, grad, x.shape),)


@register
class SumTo(Operator):
    """The sum over what broadcasting repeated: x back in `shape`"""

    name = "sum_to"
    complex_gradient = True
    saves_inputs = False
    samples = (shapes(2, 3, 4, shape=(3, 1)), shapes(3, 4, shape=()), shapes(0, 3, shape=(3,)))

    shape: Shape

    def infer(self, x: Spec) -> Spec:
        return Spec(self.shape, x.dtype)

    def forward(self, xp, x):
        lead = x.ndim - len(self.shape)
        ones = tuple(lead + i for i, s in enumerate(self.shape) if s == 1 and x.shape[lead + i] != 1)
        return x.sum(axis=(*range(lead), *ones), keepdims=True, dtype=x.dtype).reshape(self.shape)

    def vjp(self, grad, output, x):
        return (grad.expand(x.shape),)


@register
class Mean(Reduction):
    """The mean over `dims`; NaN over nothing"""

    name = "mean"
    saves_inputs = False
    samples = (*_SAMPLES, shapes(0, 3, dims=(1,)))

    dims: tuple[int, ...]
    keepdim: bool = False

    def forward(self, xp, x):
        count = 1
        for d in self.dims:
            count *= x.shape[d]
        total = x.sum(axis=self.dims, keepdims=self.keepdim, dtype=x.dtype)
        return total / x.dtype.type(count)

    def vjp(self, grad, output, x):
        count = 1
        for d in self.dims:
            count *= x.shape[d]
        return (self.expanded(grad * (1.0 / (count or 1))).expand(x.shape),)

    def backward(self, xp, needs, grad, output, x):
        count = 1
        for d in self.dims:
            count *= x.shape[d]
        return (self.spread(xp, grad / grad.dtype.type(count), x.shape),)


class _Extreme(Reduction):
    saves_output = True
    samples: ClassVar[tuple[Any, ...]] = _DISTINCT

    def vjp(self, grad, output, x):
        chosen = (x == self.expanded(output)).to(x.dtype)  # ties share evenly, as in PyTorch
        return (chosen * self.expanded(grad) / chosen.sum(self.dims, keepdim=True),)


@register
class Amax(_Extreme):
    """The largest element over `dims`"""

    name = "amax"

    dims: tuple[int, ...]
    keepdim: bool = False

    def forward(self, xp, x):
        return x.max(axis=self.dims, keepdims=self.keepdim)


@register
class Amin(_Extreme):
    """The smallest element over `dims`"""

    name = "amin"

    dims: tuple[int, ...]
    keepdim: bool = False

    def forward(self, xp, x):
        return x.min(axis=self.dims, keepdims=self.keepdim)


@register
class Prod(Reduction):
    """The product over `dims`"""

    name = "prod"
    saves_output = True
    samples = (*_SAMPLES, *_EMPTY)

    dims: tuple[int, ...]
    keepdim: bool = False

    def forward(self, xp, x):
        return x.prod(axis=self.dims, keepdims=self.keepdim, dtype=x.dtype)

    def vjp(self, grad, output, x):
        # The product of the others, without dividing by an element that is 0.
        zero = x == 0
        if mode.enabled and zero._data.any():
            return (self.expanded(grad) * self._others(x),)
        safe = where(zero, 1.0, x)
        zeros = zero.to(x.dtype).sum(self.dims, keepdim=True)
        product = apply(Prod(self.dims, True), safe)
        others = where(zero, where(zeros == 1, product, 0.0), where(zeros == 0, product / safe, 0.0))
        return (self.expanded(grad) * others,)

    def _others(self, x):
        """The same in a form that can be differentiated again where x is 0: quadratic in the size of `dims`."""
        order = (*(d for d in range(x.ndim) if d not in self.dims), *self.dims)
        moved = x.permute(order)
        kept = moved.shape[: x.ndim - len(self.dims)]
        flat = moved.reshape((*kept, math.prod(moved.shape[len(kept) :])))
        others = apply(Prod((len(kept) + 1,)), where(diagonal_mask(flat), 1.0, flat.unsqueeze(-2)))
        return others.reshape(moved.shape).permute(tuple(order.index(d) for d in range(x.ndim)))


def diagonal_mask(x: Tensor) -> Tensor:
    """(n, n), bool, true on the diagonal, with n the last size of x."""
    return from_array(backend_of(x._data).xp.eye(x._data.shape[-1], dtype=bool))


class _Position(Operator):
    """The index of an extreme element along `dim`, int64; the first one on a tie."""

    gradient = NotDifferentiable("the result is an index")
    samples: ClassVar[tuple[Any, ...]] = (
        sample(of(3, 4, distinct=True), dim=1),
        sample(of(2, 3, 4, distinct=True), dim=0, keepdim=True),
        shapes(0, 3, dim=1),
    )
    dim: int
    keepdim: bool

    def infer(self, x: Spec) -> Spec:
        return Spec(reduced_shape(x.shape, (self.dim,), self.keepdim), int64)


@register
class Argmax(_Position):
    """The index of the largest element along `dim`"""

    name = "argmax"
    onnx = "ArgMax(axis=dim, keepdims=keepdim)"

    dim: int
    keepdim: bool = False

    def forward(self, xp, x):
        index = x.argmax(axis=self.dim)
        return xp.expand_dims(index, self.dim) if self.keepdim else index


@register
class Argmin(_Position):
    """The index of the smallest element along `dim`"""

    name = "argmin"
    onnx = "ArgMin(axis=dim, keepdims=keepdim)"

    dim: int
    keepdim: bool = False

    def forward(self, xp, x):
        index = x.argmin(axis=self.dim)
        return xp.expand_dims(index, self.dim) if self.keepdim else index


class _Truth(Reduction):
    gradient = NotDifferentiable("the result is a truth value")
    samples: ClassVar[tuple[Any, ...]] = (
        sample(boolean(3, 4), dims=(1,)),
        sample(boolean(2, 3), dims=(0, 1), keepdim=True),
        sample(boolean(0, 3), dims=(0,)),
    )

    def infer(self, x: Spec) -> Spec:
        return Spec(reduced_shape(x.shape, self.dims, self.keepdim), bool_)


@register
class Any_(_Truth):
    """Whether any element over `dims` is true"""

    name = "any"

    dims: tuple[int, ...]
    keepdim: bool = False

    def forward(self, xp, x):
        return x.any(axis=self.dims, keepdims=self.keepdim)


@register
class All(_Truth):
    """Whether all elements over `dims` are true"""

    name = "all"

    dims: tuple[int, ...]
    keepdim: bool = False

    def forward(self, xp, x):
        return x.all(axis=self.dims, keepdims=self.keepdim)


@register
class Cumsum(Operator):
    """The running sum along `dim`"""

    name = "cumsum"
    saves_inputs = False
    samples = (shapes(3, 4, dim=1), shapes(2, 3, 4, dim=0), shapes(0, 3, dim=0), sample(of(5, 3, strided=True), dim=0))

    dim: int

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, xp, x):
        return xp.cumsum(x, axis=self.dim, dtype=x.dtype)

    def vjp(self, grad, output, x):
        return (apply(Cumsum(self.dim), grad.flip(self.dim)).flip(self.dim),)


def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Returns the sum over `dim` (all dimensions for None); bool and small integers become int64; 0 over nothing."""
    if dtype is not None:
        input = input.to(as_dtype(dtype))
    elif input.dtype.kind < 2 and input.dtype is not int64:
        input = input.to(int64)
    return apply(Sum(_dims.many("sum", dim, input.ndim), keepdim), input)


def sum_to(input: Tensor, shape: Shape) -> Tensor:
    """Returns the sum over the dimensions along which `shape` was broadcast to the shape of `input`."""
    return apply(SumTo(tuple(shape)), input)


def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Returns the mean over `dim` (all dimensions for None); floating point; NaN over nothing."""
    input = floating(input) if dtype is None else input.to(as_dtype(dtype))
    return apply(Mean(_dims.many("mean", dim, input.ndim), keepdim), input)


def var(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    """Returns the variance over `dim`, divided by N - correction (1 unless `unbiased=False`); `var(x, True)` names `unbiased`."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    dims = _dims.many("var", dim, input.ndim)
    correction = (0 if unbiased is False else 1) if correction is None else correction
    count: Any = 1
    for d in dims:
        count = count * input.shape[d]
    centred = input - mean(input, dims, keepdim=True)
    squares = centred * centred if input.dtype.kind < 3 else real(centred * conj(centred))
    if correction == 0:
        return mean(squares, dims, keepdim)
    return sum(squares, dims, keepdim) / (count - correction if count > correction else 0)


def std(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: float | None = None
) -> Tensor:
    """Returns the standard deviation over `dim`; see `var`."""
    return var(input, dim, unbiased, keepdim, correction=correction).sqrt()


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Returns the largest elements over `dim`; ties share the gradient evenly.

    Raises:
        ArgumentError: a reduced dimension has size 0.
    """
    return apply(Amax(_nonempty("amax", input, _dims.many("amax", dim, input.ndim)), keepdim), input)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Returns the smallest elements over `dim`; ties share the gradient evenly.

    Raises:
        ArgumentError: a reduced dimension has size 0.
    """
    return apply(Amin(_nonempty("amin", input, _dims.many("amin", dim, input.ndim)), keepdim), input)


@named("values", "indices")
def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Returns the largest element; with a `dim` (values, indices) along it; with a tensor the elementwise maximum."""
    if isinstance(dim, Tensor):
        return input.maximum(dim)
    return amax(input) if dim is None else _with_index(input, argmax(input, dim, True), dim, keepdim)


@named("values", "indices")
def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Returns the smallest element; with a `dim` (values, indices) along it; with a tensor the elementwise minimum."""
    if isinstance(dim, Tensor):
        return input.minimum(dim)
    return amin(input) if dim is None else _with_index(input, argmin(input, dim, True), dim, keepdim)


def _with_index(input: Tensor, index: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    if not input.ndim:
        return input.clone(), index.reshape(())
    values = input.take_along_dim(index, dim)
    return (values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))


def prod(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Returns the product over `dim`; 1 over nothing."""
    if dtype is not None:
        input = input.to(as_dtype(dtype))
    elif input.dtype.kind < 2:
        input = input.to(int64)
    return apply(Prod(_dims.many("prod", dim, input.ndim), keepdim), input)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Returns the index of the largest element along `dim` (of the flattened input for None), int64."""
    if dim is None:
        flat = apply(Argmax(0), input.reshape(-1))
        return flat.reshape((1,) * input.ndim) if keepdim else flat
    if not input.ndim:
        return apply(Argmax(0), input.reshape(1))
    return apply(Argmax(_nonempty("argmax", input, (_dims.one("argmax", dim, input.ndim),))[0], keepdim), input)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Returns the index of the smallest element along `dim` (of the flattened input for None), int64."""
    if dim is None:
        flat = apply(Argmin(0), input.reshape(-1))
        return flat.reshape((1,) * input.ndim) if keepdim else flat
    if not input.ndim:
        return apply(Argmin(0), input.reshape(1))
    return apply(Argmin(_nonempty("argmin", input, (_dims.one("argmin", dim, input.ndim),))[0], keepdim), input)


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Returns whether any element over `dim` is not 0, bool."""
    return apply(Any_(_dims.many("any", dim, input.ndim), keepdim), input if input.dtype is bool_ else input != 0)


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Returns whether all elements over `dim` are not 0, bool."""
    return apply(All(_dims.many("all", dim, input.ndim), keepdim), input if input.dtype is bool_ else input != 0)


def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Returns the running sum along `dim`, same shape; bool and small integers become int64."""
    if dtype is not None:
        input = input.to(as_dtype(dtype))
    elif input.dtype.kind < 2:
        input = input.to(int64)
    return apply(Cumsum(_dims.one("cumsum", dim, input.ndim)), input) if input.ndim else input.clone()


def _nonempty(operator: str, input: Tensor, dims: tuple[int, ...]) -> tuple[int, ...]:
    for d in dims:
        if input._data.ndim and input._data.shape[d] == 0:
            raise ArgumentError(f"{operator}: dimension {d} of shape {tuple(input.shape)} is empty and has no extreme element")
    return dims
