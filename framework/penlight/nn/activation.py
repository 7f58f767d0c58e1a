# SPDX-License-Identifier: Apache-2.0
"""Activations as modules, and Dropout: each calls the function of the same name."""

from __future__ import annotations

from typing import Any

import penlight.nn.functional as F
from penlight.nn.module import Module
from penlight.tensor import Tensor


class _Activation(Module):
    """Calls `function` of functional.py with the values of `arguments`, which are attributes too."""

    function: str
    arguments: tuple[str, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        return getattr(F, self.function)(x, **{name: getattr(self, name) for name in self.arguments})

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.arguments)


class _Plain(_Activation):
    def __init__(self, inplace: bool = False):
        # `inplace` is taken so that code written for PyTorch runs; the result is always a new tensor.
        pass


class ReLU(_Plain):
    """max(x, 0)."""

    function = "relu"


class ReLU6(_Plain):
    """min(max(x, 0), 6)."""

    function = "relu6"


class SiLU(_Plain):
    """x * sigmoid(x)."""

    function = "silu"


class Mish(_Plain):
    """x * tanh(softplus(x))."""

    function = "mish"


class Hardswish(_Plain):
    """x * relu6(x + 3) / 6 (Howard et al. 2019)."""

    function = "hardswish"


class Hardsigmoid(_Plain):
    """relu6(x + 3) / 6."""

    function = "hardsigmoid"


class Sigmoid(_Plain):
    """1 / (1 + exp(-x))."""

    function = "sigmoid"


class Tanh(_Plain):
    """Hyperbolic tangent."""

    function = "tanh"


class GELU(_Activation):
    """x * Phi(x); `approximate="tanh"` takes the formula with tanh."""

    function, arguments = "gelu", ("approximate",)

    def __init__(self, approximate: str = "none"):
        self.approximate = approximate


class LeakyReLU(_Activation):
    """x where x > 0, else negative_slope * x."""

    function, arguments = "leaky_relu", ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        self.negative_slope = negative_slope


class ELU(_Activation):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    function, arguments = "elu", ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        self.alpha = alpha


class Softplus(_Activation):
    """log(1 + exp(beta * x)) / beta; linear above `threshold`."""

    function, arguments = "softplus", ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        self.beta, self.threshold = beta, threshold


class Softmax(_Activation):
    """exp(x) / sum(exp(x)) along `dim`."""

    function, arguments = "softmax", ("dim",)

    def __init__(self, dim: int):
        self.dim = dim


class LogSoftmax(_Activation):
    """x - log(sum(exp(x))) along `dim`."""

    function, arguments = "log_softmax", ("dim",)

    def __init__(self, dim: int):
        self.dim = dim


class Dropout(Module):
    """In training mode sets elements to zero with probability p and divides the others by 1 - p; else the identity."""

    def __init__(self, p: float = 0.5, inplace: bool = False):
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be a probability between 0 and 1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Any:
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"
