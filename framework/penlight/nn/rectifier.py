# SPDX-License-Identifier: Apache-2.0
"""The rarer activations as modules: each calls the function of the same name."""

from __future__ import annotations

from typing import Any

import penlight.nn.functional as F
import penlight.nn.init as init
from penlight.nn.activation import _Activation, _Plain
from penlight.nn.module import Module
from penlight.nn.parameter import Parameter
from penlight.tensor import Tensor


class CELU(_Activation):
    """max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)."""

    function, arguments = "celu", ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        self.alpha = alpha


class SELU(_Plain):
    """scale * elu(x, alpha) with the constants that keep mean 0 and variance 1."""

    function = "selu"


class GLU(_Activation):
    """a * sigmoid(b) for the halves a and b of the input along `dim`."""

    function, arguments = "glu", ("dim",)

    def __init__(self, dim: int = -1):
        self.dim = dim


class Hardshrink(_Activation):
    """x where |x| > lambd, else 0."""

    function, arguments = "hardshrink", ("lambd",)

    def __init__(self, lambd: float = 0.5):
        self.lambd = lambd


class Softshrink(_Activation):
    """x moved towards 0 by lambd."""

    function, arguments = "softshrink", ("lambd",)

    def __init__(self, lambd: float = 0.5):
        self.lambd = lambd


class Softsign(_Activation):
    """x / (1 + |x|)."""

    function = "softsign"


class Tanhshrink(_Activation):
    """x - tanh(x)."""

    function = "tanhshrink"


class LogSigmoid(_Activation):
    """log(1 / (1 + exp(-x)))."""

    function = "logsigmoid"


class Threshold(_Activation):
    """x where x > threshold, else value."""

    function, arguments = "threshold", ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False):
        self.threshold, self.value = threshold, value


class Hardtanh(_Activation):
    """x limited to [min_val, max_val]."""

    function, arguments = "hardtanh", ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False):
        self.min_val, self.max_val = min_val, max_val


class Softmin(_Activation):
    """softmax(-x) along `dim`."""

    function, arguments = "softmin", ("dim",)

    def __init__(self, dim: int | None = None):
        self.dim = -1 if dim is None else dim


class Softmax2d(Module):
    """softmax over the channels of (N, C, H, W) or (C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected (N, C, H, W) or (C, H, W), got {tuple(x.shape)}")
        return F.softmax(x, -3)


class RReLU(Module):
    """x where x >= 0, else a * x, with a drawn per element in training mode and fixed to the mean else (Xu et al. 2015)."""

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False):
        self.lower, self.upper = lower, upper

    def forward(self, x: Tensor) -> Tensor:
        return F.rrelu(x, self.lower, self.upper, self.training)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}"


class PReLU(Module):
    """x where x > 0, else weight * x, with a learned weight (He et al. 2015).

    Args:
        num_parameters: one weight for all, or one per channel (dimension 1).
        init: the first value.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25):
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(_full(num_parameters, init))

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


def _full(size: int, value: float) -> Any:
    return init.full((size,), value)
