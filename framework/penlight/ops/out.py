# SPDX-License-Identifier: Apache-2.0
"""`out=`: results written into tensors that are given, for all functions that have it in PyTorch, in one wrapper.

Only the names in the `penlight` namespaces take it: methods and modules call the functions behind them directly.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from penlight.backends.backend import backend_of
from penlight.errors import ArgumentError, DeviceError, DTypeError, GradientError, ShapeError
from penlight.ops.dispatch import shortcut, write
from penlight.tape import mode
from penlight.tensor import Tensor
from penlight.tree import flatten

NAMES = """
abs absolute acos acosh add addbmm addcdiv addcmul addmm addmv addr all amax amin aminmax angle any arccos arccosh arcsin
arcsinh arctan arctan2 arctanh argmax argmin asin asinh atan atan2 atanh baddbmm bernoulli bitwise_and bitwise_left_shift
bitwise_not bitwise_or bitwise_right_shift bitwise_xor bmm bucketize cat ceil cholesky clamp clamp_max clamp_min clip
column_stack complex concat concatenate conj_physical copysign cos cosh cross cummax cummin cumprod cumsum deg2rad diag diff
digamma div divide dot dstack eq erf erfc erfinv exp exp2 expm1 fix float_power floor floor_divide fmax fmin fmod frac gather
gcd ge ger greater greater_equal gt heaviside histc histogram hstack hypot i0 index_add index_copy index_reduce index_select inner
inverse isneginf isposinf kron kthvalue lcm le lerp less less_equal lgamma log log10 log1p log2 logaddexp logaddexp2 logcumsumexp
logical_and logical_not logical_or logical_xor logit logsumexp lt masked_select matmul matrix_power max maximum mean median
min minimum mm mode msort mul multinomial multiply mv mvlgamma nan_to_num nanmean nanmedian nanquantile ne neg negative
nextafter nonzero norm not_equal outer polar polygamma pow prod qr quantile rad2deg reciprocal remainder round row_stack rsqrt
scatter scatter_add scatter_reduce searchsorted sgn sigmoid sign signbit sin sinc sinh softmax sort sqrt square stack std
sub subtract sum svd take take_along_dim tan tanh tensordot topk tril triu true_divide trunc var vdot vstack where
xlogy
"""
# Their dtype is that of `out` unless another is named.
MADE = "arange empty eye full linspace logspace ones rand randint randn randperm zeros"
# They move elements: as in PyTorch, `out` may not be one of their inputs.
MOVING = """
cat column_stack concatenate dstack gather hstack index_select masked_select row_stack stack take take_along_dim vstack
"""
LINALG = """
cholesky cond cross det eig eigh eigvals eigvalsh inv lu lu_factor lu_solve matrix_norm matrix_power matrix_rank multi_dot norm
pinv qr slogdet solve solve_triangular svd svdvals tensorinv tensorsolve vecdot vector_norm
"""
SPECIAL = """
digamma entr erf erfc erfcx erfinv exp2 expit expm1 gammaln i0 i0e i1 i1e log1p log_ndtr logit logsumexp multigammaln ndtr ndtri
polygamma psi round sinc xlog1py xlogy zeta
"""
FFT = """
fft fft2 fftfreq fftn hfft hfft2 hfftn ifft ifft2 ifftn ihfft ihfft2 ihfftn irfft irfft2 irfftn rfft rfft2 rfftfreq rfftn
"""


def accept_out(namespace: dict[str, Any], names: str, made: str = "") -> None:
    """Gives the functions of these names in a module the argument `out`."""
    home = namespace["__name__"]
    for name in names.split():
        namespace[name] = taking_out(home, name, namespace[name])
    for name in made.split():
        namespace[name] = taking_out(home, name, namespace[name], is_made=True)


def taking_out(home: str, name: str, function: Callable[..., Any], is_made: bool = False) -> Callable[..., Any]:
    """The function with `out=`: a tensor, or a tuple of them where it returns several, which it fills and returns.

    The dtype of `out` may be another that holds the result; a tensor without elements takes its shape.

    Raises (the wrapped function):
        ArgumentError: `out` shares memory with an input without being that input.
        GradientError: a gradient is recorded and `out` or an argument requires one.
        ShapeError: `out` has elements and another shape than the result.
        DTypeError: the dtype of `out` is of a lower kind, such as integer for floating point.
        DeviceError: `out` is on another device.
    """

    @functools.wraps(function)
    def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is None:
            return function(*args, **kwargs)
        targets = list(out) if isinstance(out, (tuple, list)) else [out]
        _check_arguments(name, targets, (args, kwargs))
        if is_made and kwargs.get("dtype") is None:
            kwargs["dtype"] = out.dtype
        results = function(*args, **kwargs)
        values, rebuild = flatten(results)
        if len(values) != len(targets):
            raise ArgumentError(f"{name}: out needs {len(values)} tensor(s), one for each result, came {len(targets)}")
        filled = [_fill(name, target, value) for target, value in zip(targets, values, strict=True)]
        return rebuild(filled)

    call.__module__, call.__qualname__ = home, name  # by these it is pickled
    return shortcut(*call.shortcut)(call) if hasattr(call, "shortcut") else call


def _check_arguments(name: str, targets: list[Any], arguments: Any) -> None:
    for target in targets:
        if not isinstance(target, Tensor):
            raise ArgumentError(f"{name}: out must be a tensor, came {type(target).__name__}")
        if any(step == 0 and size > 1 for step, size in zip(target.stride(), target.shape, strict=True)):
            raise ArgumentError(f"{name}: out was expanded, so that several of its elements are one; pass a clone() of it")
    inputs = [t for t in flatten(arguments)[0] if isinstance(t, Tensor)]
    for target, given in itertools.product(targets, inputs):
        if _overlap(target, given) and (name in MOVING.split() or not _are_one(target, given)):
            raise ArgumentError(f"{name}: out shares memory with an input; pass a tensor of its own, or clone() the input")
    if mode.enabled and any(t.requires_grad for t in targets + inputs):
        raise GradientError(f"{name}: out= records no gradient, and a tensor here requires one; use no_grad(), or leave out away")


def _are_one(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride()


def _overlap(a: Tensor, b: Tensor) -> bool:
    if a is b or a.device != b.device or not a.numel() or not b.numel():
        return a is b
    try:
        return bool(backend_of(a._data).xp.shares_memory(a._data, b._data, max_work=1))
    except np.exceptions.TooHardError:  # gaps in gaps: results are complete before they are written, so this is no harm
        return False


def _fill(name: str, target: Tensor, value: Tensor) -> Tensor:
    if value.dtype.kind > target.dtype.kind:
        raise DTypeError(f"{name}: a result of {value.dtype} cannot be written into an out of {target.dtype}")
    if value.device != target.device:
        raise DeviceError(f"{name}: the result is on {value.device}, and out on {target.device}")
    if tuple(value.shape) != tuple(target.shape):
        if target.numel():
            raise ShapeError(
                f"{name}: the result has shape {tuple(value.shape)}, out {tuple(target.shape)}; pass one of that shape or empty(0)"
            )
        target._data = value.to(target.dtype, copy=True)._data
    return write(target, value.to(target.dtype), f"{name}(out=)")
