# SPDX-License-Identifier: Apache-2.0
"""Activations that change their input: `relu_(x)` writes relu(x) into x and returns it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penlight.ops.activation import elu, hardtanh, leaky_relu, relu
from penlight.ops.convert import clone
from penlight.ops.methods import in_place
from penlight.ops.rectifier import celu, rrelu, selu, threshold
from penlight.tensor import Tensor


def _in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def of_copy(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return function(clone(input), *args, **kwargs)  # the gradient may need the old value

    return in_place(function.__name__, of_copy)


celu_ = _in_place(celu)
elu_ = _in_place(elu)
hardtanh_ = _in_place(hardtanh)
leaky_relu_ = _in_place(leaky_relu)
relu_ = _in_place(relu)
rrelu_ = _in_place(rrelu)
selu_ = _in_place(selu)
threshold_ = _in_place(threshold)
