# SPDX-License-Identifier: Apache-2.0
"""Parameters as one vector, and batch norms folded into the layer before."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from penlight.autograd import no_grad
from penlight.backends.backend import visiting
from penlight.nn.module import Module
from penlight.nn.parameter import Parameter
from penlight.ops.shape import cat
from penlight.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Returns all elements of the parameters in one vector."""
    return cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Writes a vector into the parameters, in the order of `parameters_to_vector`.

    Raises:
        ValueError: the vector has another length than the parameters together.
    """
    chosen = list(parameters)
    total = sum(parameter.numel() for parameter in chosen)
    if vec.ndim != 1 or vec.shape[0] != total:
        raise ValueError(f"vector_to_parameters: expected ({total},), got {tuple(vec.shape)}")
    start = 0
    for parameter in chosen:
        size = parameter.numel()
        with visiting(parameter._data, vec._data):
            parameter.detach()._data[...] = vec._data[start : start + size].reshape(parameter._data.shape)
        parameter.bump_version()
        start += size


def _fuse(layer: Any, bn: Any, out_dim: int) -> Any:
    if layer.training or bn.training:
        raise ValueError("fuse: both modules must be in evaluation mode; call .eval() first")
    fused = copy.deepcopy(layer)
    running = (bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias)
    fused.weight, fused.bias = _fused_weights(layer.weight, layer.bias, *running, out_dim)
    return fused


def _fused_weights(
    weight: Tensor, bias: Any, mean: Tensor, var: Tensor, eps: float, scale: Any, shift: Any, out_dim: int
) -> tuple[Parameter, Parameter]:
    with no_grad():
        factor = (var + eps).rsqrt()
        factor = factor if scale is None else factor * scale
        shape = [1] * weight.ndim
        shape[out_dim] = -1
        moved = (-mean if bias is None else bias - mean) * factor
        moved = moved if shift is None else moved + shift
        return Parameter((weight * factor.reshape(shape)).detach()), Parameter(moved.detach())


def fuse_conv_bn_weights(
    conv_w: Tensor, conv_b: Any, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Any, bn_b: Any, transpose: bool = False
) -> tuple[Parameter, Parameter]:
    """Returns weight and bias of a convolution that contains the batch norm after it; `bn_rm`, `bn_rv` are its statistics."""
    return _fused_weights(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 1 if transpose else 0)


def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Any, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Any, bn_b: Any
) -> tuple[Parameter, Parameter]:
    """Returns weight and bias of a linear layer that contains the batch norm after it; `bn_rm`, `bn_rv` are its statistics."""
    return _fused_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 0)


def fuse_conv_bn_eval(conv: Module, bn: Module, transpose: bool = False) -> Any:
    """Returns a copy of a convolution in which the batch norm after it is contained; both in evaluation mode."""
    return _fuse(conv, bn, 1 if transpose else 0)


def fuse_linear_bn_eval(linear: Module, bn: Module) -> Any:
    """Returns a copy of a linear layer in which the batch norm after it is contained; both in evaluation mode."""
    return _fuse(linear, bn, 0)
