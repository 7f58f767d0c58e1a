# SPDX-License-Identifier: Apache-2.0
"""In-place forms and second names of the methods of Tensor, by table."""

from __future__ import annotations

from penlight.ops import alias, bessel, blend, gamma, in_place_shape, questions, rearrange, short_time
from penlight.ops.methods import in_place
from penlight.tensor import Tensor

# `name_` writes what `name` returns.
_WRITTEN = """
abs acos acosh add addbmm addcdiv addcmul addmm addmv addr asin asinh atan atan2 atanh baddbmm bitwise_and bitwise_left_shift
bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil clamp clamp_max clamp_min copysign cos cosh cumprod cumsum deg2rad
digamma div eq erf erfc erfinv exp exp2 expm1 float_power floor floor_divide fmod frac gcd ge gt heaviside hypot i0 index_add
index_copy index_fill index_put index_reduce lcm le lerp lgamma log log10 log1p log2 logical_and logical_not logical_or
logical_xor logit lt masked_fill masked_scatter mul mvlgamma nan_to_num ne neg nextafter pow rad2deg reciprocal relu remainder
round rsqrt scatter scatter_add scatter_reduce sgn sigmoid sign sin sinc sinh sqrt square sub tan tanh tril triu true_divide
trunc xlogy
"""
# PyTorch's second name -> the first; in-place forms as well where the first has one.
_NAMES = {
    "absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan",
    "arctan2": "atan2", "arctanh": "atanh", "clip": "clamp", "divide": "div", "fix": "trunc", "ger": "outer", "greater": "gt",
    "greater_equal": "ge", "less": "lt", "less_equal": "le", "moveaxis": "movedim", "multiply": "mul", "ndimension": "dim",
    "negative": "neg", "nelement": "numel", "not_equal": "ne", "subtract": "sub", "swapaxes": "transpose", "swapdims": "transpose",
}  # fmt: skip


def element_size(self: Tensor) -> int:
    """The bytes of one element."""
    return self.itemsize


def is_nonzero(self: Tensor) -> bool:
    """Whether a tensor of one element is not 0."""
    return bool(self)


def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Whether the other has the same shape."""
    return tuple(self.shape) == tuple(other.shape)


def is_signed(self: Tensor) -> bool:
    """Whether the dtype has negative numbers."""
    return self.dtype.name not in ("bool", "uint8", "uint16", "uint32", "uint64")


def fill_diagonal_(self: Tensor, fill_value: float) -> Tensor:
    """Writes a number on the diagonal of a matrix."""
    rearrange.diagonal(self).fill_(fill_value)
    return self


def attach() -> None:
    """Sets the methods; called once, when `penlight` is imported."""
    plain = {
        "digamma": gamma.digamma, "lgamma": gamma.lgamma, "polygamma": lambda self, n: gamma.polygamma(n, self),
        "mvlgamma": gamma.multigammaln, "i0": bessel.i0, "kron": blend.kron, "stft": short_time.stft, "istft": short_time.istft,
        "equal": alias.equal, "element_size": element_size, "is_nonzero": is_nonzero, "is_same_size": is_same_size,
        "is_signed": is_signed, "fill_diagonal_": fill_diagonal_,
    }  # fmt: skip
    for name, function in (plain | questions.METHODS).items():
        setattr(Tensor, name, function)
    for name in _WRITTEN.split():
        if not hasattr(Tensor, f"{name}_"):
            setattr(Tensor, f"{name}_", in_place(name, getattr(Tensor, name)))
    for name, first in _NAMES.items():
        for ending in ("", "_"):
            if hasattr(Tensor, first + ending) and not hasattr(Tensor, name + ending):
                setattr(Tensor, name + ending, getattr(Tensor, first + ending))
    for name in in_place_shape.NAMES:
        setattr(Tensor, f"{name}_", in_place_shape.reshaping(name))


attach()
