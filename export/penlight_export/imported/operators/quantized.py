# SPDX-License-Identifier: Apache-2.0
"""Quantized numbers: computed as what they stand for; rounding has no gradient, so that fine-tuning starts behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

import penlight as pl
from penlight_export.imported.operators.convolution import conv
from penlight_export.imported.registry import operator
from penlight_export.imported.values import DTYPES

Tensor = pl.Tensor


def _spread(x: Tensor, factor: Tensor, axis: int, block_size: int) -> Tensor:
    """A scale or zero point, for each element: one for all, one along an axis, or one for each block along it."""
    if factor.ndim == 0 or (factor.numel() == 1 and not block_size):
        return factor.reshape(())
    if block_size:
        axis = axis % x.ndim
        return pl.repeat_interleave(factor, block_size, axis).narrow(axis, 0, x.shape[axis])
    return factor.reshape(*(-1 if k == axis % x.ndim else 1 for k in range(x.ndim)))


def _bounds(dtype: Any) -> tuple[int, int]:
    limits = np.iinfo(dtype.numpy)
    return int(limits.min), int(limits.max)


@operator("QuantizeLinear")
def quantize_linear(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Tensor:
    """Rounds to the nearest, ties to even, and keeps to the dtype's range."""
    if zero_point is not None:
        dtype = zero_point.dtype
    else:
        dtype = DTYPES[np.dtype(tensor_dtype_to_np_dtype(output_dtype))] if output_dtype else pl.uint8
    wide = pl.round(x.to(pl.float32) / _spread(x, scale, axis, block_size).to(pl.float32))
    if zero_point is not None:
        wide = wide + _spread(x, zero_point, axis, block_size).to(pl.float32)
    return pl.clamp(wide, *_bounds(dtype)).to(dtype)


@operator("DequantizeLinear")
def dequantize_linear(
    x: Tensor, scale: Tensor, zero_point: Tensor | None = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0
) -> Tensor:
    """(x - zero point) * scale."""
    wide = x.to(pl.float32)
    if zero_point is not None:
        wide = wide - _spread(x, zero_point, axis, block_size).to(pl.float32)
    result = wide * _spread(x, scale, axis, block_size).to(pl.float32)
    return result.to(DTYPES[np.dtype(tensor_dtype_to_np_dtype(output_dtype))] if output_dtype else scale.dtype)


def _shifted(x: Tensor, zero_point: Tensor | None, axis: int) -> Tensor:
    """Without its zero point, in numbers that hold products and sums of 8-bit ones exactly."""
    wide = x.to(pl.float64)
    if zero_point is None:
        return wide
    if zero_point.ndim == 1 and zero_point.numel() > 1:
        return wide - _spread(x, zero_point, axis, 0).to(pl.float64)
    return wide - zero_point.to(pl.float64)


@operator("MatMulInteger")
def matmul_integer(a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None) -> Tensor:
    """The product of integers, in int32."""
    return pl.matmul(_shifted(a, a_zero, -2), _shifted(b, b_zero, -1)).to(pl.int32)


@operator("ConvInteger")
def conv_integer(x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None, **attributes: Any) -> Tensor:
    """The convolution of integers, in int32."""
    return conv(_shifted(x, x_zero, 1), _shifted(w, w_zero, 0), None, **attributes).to(pl.int32)


def _requantized(total: Tensor, scale: Any, y_scale: Tensor, y_zero: Tensor) -> Tensor:
    wide = pl.round(total * scale / y_scale.to(pl.float64)) + y_zero.to(pl.float64)
    return pl.clamp(wide, *_bounds(y_zero.dtype)).to(y_zero.dtype)


@operator("QLinearMatMul")
def qlinear_matmul(
    a: Tensor, a_scale: Tensor, a_zero: Tensor, b: Tensor, b_scale: Tensor, b_zero: Tensor, y_scale: Tensor, y_zero: Tensor
) -> Tensor:
    """The product of quantized numbers, quantized again."""
    total = pl.matmul(_shifted(a, a_zero, -2), _shifted(b, b_zero, -1))
    rows = a_scale.reshape(-1, 1) if a_scale.ndim == 1 and a_scale.numel() > 1 else a_scale
    return _requantized(total, rows.to(pl.float64) * b_scale.to(pl.float64), y_scale, y_zero)


@operator("QLinearConv")
def qlinear_conv(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    bias: Tensor | None = None,
    **attributes: Any,
) -> Tensor:
    """The convolution of quantized numbers, quantized again."""
    total = conv(_shifted(x, x_zero, 1), _shifted(w, w_zero, 0), None, **attributes)
    shape = [-1, *[1] * (x.ndim - 2)]
    total = total if bias is None else total + bias.to(pl.float64).reshape(shape)
    scales = w_scale.to(pl.float64).reshape(shape) if w_scale.numel() > 1 else w_scale.to(pl.float64)
    return _requantized(total, x_scale.to(pl.float64) * scales, y_scale, y_zero)
