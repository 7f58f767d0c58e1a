# SPDX-License-Identifier: Apache-2.0
"""Operators on complex numbers, which engines lack, as operators on their two parts.

In a model a complex tensor has a last dimension of size 2. Inputs and outputs of a model stay real.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Union

import numpy as np

import penlight as pl
from penlight.dtype import complex128, float32, float64
from penlight.ops.dispatch import apply
from penlight.ops.operator import Spec
from penlight.tensor import Tensor, from_array
from penlight_export.onnx.composites.registry import composite

COMPLEX = 3  # dtype.kind of complex64 and complex128


class Pair(NamedTuple):
    """A complex tensor."""

    real: Tensor
    imag: Tensor


Number = Union[Tensor, Pair]  # noqa: UP007  evaluated at run time, where class | class is no type alias
_PAIRS: dict[str, Callable[..., Any]] = {}
# Real and imaginary part of the result are the operator's results on the real and imaginary parts.
_LINEAR = ("add", "sub", "neg", "sum", "mean", "cumsum", "reshape", "permute", "transpose", "expand", "unsqueeze", "squeeze", "cat",
           "slice", "slice_write", "slice_scatter", "flip", "take", "gather", "advanced_index", "unfold_dim", "sum_to",
           "diagonal", "where", "tril", "triu", "clone", "channels_last")  # fmt: skip
_BILINEAR = ("mul", "matmul")


def is_complex(spec: Spec | None) -> bool:
    """Whether a value is complex."""
    return spec is not None and spec.dtype.kind == COMPLEX


def pair_spec(spec: Spec) -> Spec:
    """What a value is in a model."""
    return Spec((*spec.shape, 2), float64 if spec.dtype is complex128 else float32) if is_complex(spec) else spec


def find_pair(name: str) -> Callable[..., Any] | None:
    """A function of the operator and its inputs, complex ones as a Pair; None when there is none."""
    if name in _LINEAR:
        return _linear
    return _bilinear if name in _BILINEAR else _PAIRS.get(name)


def paired(operator: Any, specs: Sequence[Spec | None]) -> Callable[..., Any] | None:
    """The function for tensors as a model holds them."""
    function = find_pair(operator.name)
    if function is None:
        return None

    def run(*tensors: Tensor | None) -> Any:
        parts = [Pair(t[..., 0], t[..., 1]) if t is not None and is_complex(s) else t for t, s in zip(tensors, specs, strict=True)]
        result = function(operator, *parts)
        return pl.stack([*result], -1) if isinstance(result, Pair) else result

    return run


def _pair(*names: str) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        _PAIRS.update(dict.fromkeys(names, function))
        return function

    return add


def _parts(x: Number) -> Pair:
    return x if isinstance(x, Pair) else Pair(x, pl.zeros_like(x))


def _linear(operator: Any, *inputs: Any) -> Pair:
    shared = [x is None or (not isinstance(x, Pair) and not x.dtype.is_floating_point) for x in inputs]  # indices and masks
    parts = [(x, x) if same else _parts(x) for x, same in zip(inputs, shared, strict=True)]
    return Pair(*(apply(operator, *side) for side in zip(*parts, strict=True)))


def _bilinear(operator: Any, a: Number, b: Number) -> Pair:
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    return Pair(apply(operator, ar, br) - apply(operator, ai, bi), apply(operator, ar, bi) + apply(operator, ai, br))


@_pair("div")
def _div(operator: Any, a: Number, b: Number) -> Pair:
    if not isinstance(b, Pair):
        x = _parts(a)
        return Pair(x.real / b, x.imag / b)
    size = b.real * b.real + b.imag * b.imag
    x = _bilinear(pl.ops.operators()["mul"](), a, Pair(b.real, -b.imag))
    return Pair(x.real / size, x.imag / size)


@_pair("abs")
def _abs(operator: Any, x: Pair) -> Tensor:
    return (x.real * x.real + x.imag * x.imag).sqrt()


@_pair("to_complex")
@composite("to_complex")
def to_complex(operator: Any, x: Number) -> Pair:
    """x + 0i"""
    return _parts(x)


@_pair("to_imaginary")
@composite("to_imaginary")
def to_imaginary(operator: Any, x: Number) -> Pair:
    """i * x"""
    parts = _parts(x)
    return Pair(-parts.imag, parts.real)


@_pair("real")
@composite("real")
def real(operator: Any, x: Number) -> Tensor:
    """The first part."""
    return _parts(x).real.clone()


@_pair("imag")
@composite("imag")
def imag(operator: Any, x: Number) -> Tensor:
    """The second part."""
    return _parts(x).imag.clone()


@_pair("conj")
@composite("conj")
def conj(operator: Any, x: Number) -> Number:
    """The second part turned over."""
    return Pair(x.real, -x.imag) if isinstance(x, Pair) else x.clone()


@_pair("fft")
@composite("fft")
def fft(operator: Any, x: Number) -> Pair:
    """Products with the matrix of the transform, one dimension after the other."""
    result = _parts(x)
    for dim in operator.dims:
        result = _transformed(result, dim, operator)
    return result


def _transformed(x: Pair, dim: int, operator: Any) -> Pair:
    size = int(x.real.shape[dim])
    turns = np.outer(np.arange(size), np.arange(size)) % max(size, 1) * (2 * math.pi / max(size, 1))
    scale = {"backward": (1, size), "ortho": (math.sqrt(size),) * 2, "forward": (size, 1)}[operator.norm][operator.inverse]
    dtype = x.real.dtype.numpy
    cosine, sine = (from_array((part / scale).astype(dtype)) for part in (np.cos(turns), np.sin(turns)))
    sine = -sine if operator.inverse else sine
    re, im = x.real.movedim(dim, -1), x.imag.movedim(dim, -1)
    return Pair((re @ cosine + im @ sine).movedim(-1, dim), (im @ cosine - re @ sine).movedim(-1, dim))
