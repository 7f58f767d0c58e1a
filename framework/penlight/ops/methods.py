# SPDX-License-Identifier: Apache-2.0
"""Attaches the operators to Tensor as methods and as Python operators, in-place forms included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penlight import autograd, random
from penlight.dtype import as_dtype
from penlight.errors import ShapeError
from penlight.ops import (
    activation,
    arithmetic,
    bitwise,
    blend,
    compare,
    complex_parts,
    convert,
    count,
    create,
    cumulative,
    elementwise,
    factor,
    gather,
    index,
    mask,
    matmul,
    matrix,
    rearrange,
    reduction,
    rounding,
    scatter,
    shape,
    softmax,
    sort,
    special,
    statistics,
    strided,
    trigonometry,
)
from penlight.ops import dims as _dims
from penlight.ops.broadcast import operand
from penlight.ops.dispatch import write
from penlight.tape import mode
from penlight.tensor import Tensor, as_tensor

_METHODS: dict[Any, str] = {
    arithmetic: "add sub mul div floor_divide remainder pow maximum minimum clamp square",
    elementwise: "neg abs sign floor ceil exp log log1p expm1 sqrt rsqrt reciprocal sin cos erf",
    activation: "relu sigmoid tanh",
    compare: "eq ne lt le gt ge logical_and logical_or logical_xor logical_not isnan isinf isfinite",
    reduction: "sum sum_to mean var std amax amin max min prod argmax argmin any all cumsum",
    shape: "reshape view flatten unflatten permute transpose expand unsqueeze squeeze narrow split chunk unbind flip roll "
    "repeat pad",
    gather: "index_select gather take_along_dim scatter_add",
    mask: "masked_fill masked_select nonzero argwhere tril triu one_hot",
    sort: "argsort sort topk",
    matmul: "matmul bmm mm dot outer",
    softmax: "softmax log_softmax logsumexp",
    convert: "to clone contiguous cpu cuda",
    trigonometry: "tan asin acos atan sinh cosh asinh acosh atanh atan2",
    rounding: "trunc frac fmod true_divide signbit copysign round nextafter",
    bitwise: "bitwise_and bitwise_or bitwise_xor bitwise_not bitwise_left_shift bitwise_right_shift",
    special: "exp2 log2 log10 erfc erfinv xlogy sinc logit logaddexp logaddexp2",
    scatter: "scatter scatter_reduce index_add index_copy index_fill index_reduce index_put masked_scatter take",
    cumulative: "cumprod logcumsumexp cummax cummin diff",
    rearrange: "diagonal diag_embed diag diagflat trace diagonal_scatter select select_scatter slice_scatter "
    "unfold broadcast_to tile repeat_interleave movedim ravel fliplr flipud rot90 tensor_split hsplit "
    "vsplit dsplit",
    strided: "as_strided as_strided_scatter",
    statistics: "count_nonzero aminmax nansum nanmean kthvalue median nanmedian mode msort quantile nanquantile dist cov corrcoef",
    matrix: "det slogdet matrix_exp matrix_power",
    factor: "svd qr norm cholesky pinverse logdet inverse",
    complex_parts: "conj conj_physical angle is_complex resolve_conj",
    count: "unique unique_consecutive bincount histc gcd lcm",
    blend: "isclose isposinf isneginf isreal nan_to_num positive sgn deg2rad rad2deg float_power fmax fmin heaviside hypot lerp "
    "addcmul addcdiv addmm addmv addr addbmm baddbmm mv inner vdot cross clamp_min clamp_max allclose",
}
_IN_PLACE = (
    "add", "sub", "mul", "div", "pow", "clamp", "neg", "abs", "exp", "log", "sqrt", "relu", "sigmoid", "tanh", "masked_fill",
    "floor", "ceil", "round", "scatter_add",
)  # fmt: skip
_CASTS = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "bfloat16": "bfloat16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "char": "int8",
    "byte": "uint8",
    "bool": "bool",
}
_SYMBOLS = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide", "mod": "remainder", "pow": "pow",
    "matmul": "matmul",
}  # fmt: skip


def attach() -> None:
    """Sets the methods; called once, when `penlight.ops` is imported."""
    for module, names in _METHODS.items():
        for name in names.split():
            setattr(Tensor, name, getattr(module, name))
    for name in _IN_PLACE:
        setattr(Tensor, f"{name}_", in_place(name, getattr(Tensor, name)))
    for symbol, name in _SYMBOLS.items():
        function = getattr(Tensor, name)
        setattr(Tensor, f"__{symbol}__", function)
        setattr(Tensor, f"__r{symbol}__", _reflected(function))
        setattr(Tensor, f"__i{symbol}__", in_place(name, function))
    for name in ("lt", "le", "gt", "ge"):
        setattr(Tensor, f"__{name}__", getattr(Tensor, name))
    for name, dtype in _CASTS.items():
        setattr(Tensor, name, _cast(dtype))
    for name, function in _SPECIAL.items():
        setattr(Tensor, name, function)


def _cast(dtype: str) -> Callable[..., Tensor]:
    def cast(self: Tensor, memory_format: Any = None) -> Tensor:
        return convert.to(self, as_dtype(dtype), memory_format=memory_format)

    cast.__doc__ = f"Returns the tensor as {dtype}."
    return cast


def _reflected(function: Callable[..., Tensor]) -> Callable[[Tensor, Any], Tensor]:
    def reflected(self: Tensor, other: Any) -> Tensor:
        return function(operand(other), self) if not isinstance(other, (bool, int, float, complex)) else function(other, self)

    return reflected


def in_place(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method `name_`, which writes what the method `name` returns."""

    def changed(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return write(self, function(self, *args, **kwargs), f"{name}_")

    changed.__name__ = changed.__qualname__ = f"{name}_"
    changed.__doc__ = f"Does `{name}` in place and returns the tensor; a leaf with a gradient refuses."
    return changed


def copy_(self: Tensor, source: Any) -> Tensor:
    """Writes `source`, broadcast and converted, into the tensor."""
    value = operand(source).to(self.dtype).to(self.device)
    value = value if value._data.shape == self._data.shape else value.expand(tuple(self.shape))
    if self.requires_grad and not value.requires_grad and mode.enabled:
        value = arithmetic.where(as_tensor(True), value, self)  # the result stays on the tape; what it held gets a gradient of 0
    return write(self, value, "copy_")


def fill_(self: Tensor, value: float) -> Tensor:
    """Writes one number everywhere."""
    return copy_(self, value)


def zero_(self: Tensor) -> Tensor:
    """Writes 0 everywhere."""
    return copy_(self, 0)


def backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Adds the gradients of this tensor to `.grad` of the leaves it was computed from.

    Args:
        gradient: of the loss with respect to this tensor, same shape; 1 for a single element.
        retain_graph: keeps the tape for another backward; as `create_graph` by default.
        create_graph: makes the gradients themselves differentiable.
        inputs: the tensors whose `.grad` is wanted, instead of all leaves.

    Raises:
        GradientError: the tensor does not require a gradient, has several elements and no `gradient`, or its tape was freed.
    """
    autograd.backward([self], [gradient], retain_graph, create_graph, inputs)


def _equal(self: Tensor, other: Any) -> Any:
    return compare.eq(self, other) if _comparable(other) else NotImplemented


def _not_equal(self: Tensor, other: Any) -> Any:
    return compare.ne(self, other) if _comparable(other) else NotImplemented


def _comparable(other: Any) -> bool:
    return isinstance(other, (Tensor, bool, int, float, complex)) or hasattr(other, "__array__")


def _type_as(self: Tensor, other: Tensor) -> Tensor:
    return self.to(other.dtype)


def _view_as(self: Tensor, other: Tensor) -> Tensor:
    return self.view(tuple(other.shape))


def _reshape_as(self: Tensor, other: Tensor) -> Tensor:
    return self.reshape(tuple(other.shape))


def _expand_as(self: Tensor, other: Tensor) -> Tensor:
    return self.expand(tuple(other.shape))


def _transposed(self: Tensor) -> Tensor:
    if self.ndim > 2:
        raise ShapeError(f"t: expected at most two dimensions, came {tuple(self.shape)}; use .mT or .transpose")
    return self.transpose(0, 1) if self.ndim == 2 else self.view(tuple(self.shape))


def _swap_last(self: Tensor) -> Tensor:
    return self.transpose(-1, -2)


def _adjoint(self: Tensor) -> Tensor:
    return complex_parts.conj(_swap_last(self))


def _reversed(self: Tensor) -> Tensor:
    return self.permute(tuple(range(self.ndim))[::-1])


def _new_full(self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, **options: Any) -> Tensor:
    options.pop("layout", None)
    return create.full(size, fill_value, dtype=dtype or self.dtype, device=device or self.device, **options)


_SPECIAL: dict[str, Any] = {
    "__neg__": elementwise.neg,
    "__abs__": elementwise.abs,
    "__eq__": _equal,
    "__ne__": _not_equal,
    "__and__": bitwise.bitwise_and,
    "__or__": bitwise.bitwise_or,
    "__xor__": bitwise.bitwise_xor,
    "__invert__": bitwise.bitwise_not,
    "__rand__": lambda self, other: bitwise.bitwise_and(other, self),
    "__ror__": lambda self, other: bitwise.bitwise_or(other, self),
    "__rxor__": lambda self, other: bitwise.bitwise_xor(other, self),
    "__lshift__": bitwise.bitwise_left_shift,
    "__rshift__": bitwise.bitwise_right_shift,
    "__getitem__": index.getitem,
    "__setitem__": index.setitem,
    "copy_": copy_,
    "fill_": fill_,
    "zero_": zero_,
    "backward": backward,
    "retain_grad": autograd.keep_gradient,
    "where": lambda self, condition, other: arithmetic.where(condition, self, other),
    "type_as": _type_as,
    "view_as": _view_as,
    "reshape_as": _reshape_as,
    "expand_as": _expand_as,
    "new_full": _new_full,
    "new_ones": lambda self, *size, **options: _new_full(self, _dims.shape_arguments(size), 1, **options),
    "new_zeros": lambda self, *size, **options: _new_full(self, _dims.shape_arguments(size), 0, **options),
    "new_empty": lambda self, *size, **options: _new_full(self, _dims.shape_arguments(size), 0, **options),
    "new_tensor": lambda self, data, dtype=None, **options: as_tensor(data, dtype=dtype or self.dtype, **options).clone(),
    "split_with_sizes": lambda self, split_sizes, dim=0: self.split(list(split_sizes), dim),
    "sum_to_size": lambda self, *size: self.sum_to(_dims.shape_arguments(size)),
    "real": property(complex_parts.real),
    "imag": property(complex_parts.imag),
    "H": property(_adjoint),
    "mH": property(_adjoint),
    "clip": arithmetic.clamp,
    "t": _transposed,
    "T": property(_reversed),
    "mT": property(_swap_last),
    "uniform_": random.uniform_,
    "normal_": random.normal_,
}
attach()
