# SPDX-License-Identifier: Apache-2.0
"""Normalisation over features (layer norm, group norm) and over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penlight.backends.backend import visiting
from penlight.dtype import dtype as DType
from penlight.dtype import float32
from penlight.errors import ArgumentError, ShapeError
from penlight.ops.convert import keeps_channels_last
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import of, sample
from penlight.tape import mode
from penlight.tensor import Tensor


@register
class LayerNorm(Operator):
    """(x - mean) / sqrt(var + eps) over the last `dims` dimensions, times weight plus bias if given (Ba et al. 2016).

    Outputs: the result, and per row 1 / sqrt(var + eps) and the mean, which the gradient reads.
    """

    name = "layer_norm"
    outputs = 3
    saves_output = True
    samples = (
        sample(of(3, 4), of(4), of(4)),
        sample(of(2, 3, 4), of(3, 4), None, dims=2),
        sample(of(3, 5), None, None),
        sample(of(0, 4), of(4), of(4)),
        sample(of(5, 3, strided=True), of(3), of(3)),
    )

    dims: int = 1
    eps: float = 1e-5

    def infer(self, x: Spec, weight: Spec | None = None, bias: Spec | None = None) -> tuple[Spec, Spec, Spec]:
        tail = tuple(x.shape[len(x.shape) - self.dims :])
        for label, parameter in (("weight", weight), ("bias", bias)):
            if parameter is not None and tuple(parameter.shape) != tail:
                raise ShapeError(
                    f"layer_norm: {label} {tuple(parameter.shape)} must be the last sizes of {tuple(map(int, x.shape))}"
                )
        rows = Spec((*x.shape[: len(x.shape) - self.dims], *(1,) * self.dims), statistics_type(x.dtype))
        return x, rows, rows

    def _axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(range(ndim - self.dims, ndim))

    def forward(self, xp, x, weight, bias):
        axes = self._axes(x.ndim)
        size = _count(x.shape, axes)
        mean = x.sum(axis=axes, keepdims=True, dtype=x.dtype) / x.dtype.type(size)
        result = x - mean
        variance = xp.square(result).sum(axis=axes, keepdims=True, dtype=x.dtype) / x.dtype.type(size)
        rstd = 1 / xp.sqrt(variance + x.dtype.type(self.eps))
        result *= rstd
        for parameter in (weight, bias):
            if parameter is not None and parameter.shape != x.shape[x.ndim - self.dims :]:
                raise ValueError("a parameter does not fit")
        if weight is not None:
            result *= weight
        if bias is not None:
            result += bias
        return result, rstd, mean

    def backward(self, xp, needs, grad, output, x, weight, bias):
        if grad[0] is None or grad[1] is not None or grad[2] is not None:
            return NotImplemented  # the row statistics have a gradient in a second derivative only
        axes, rest = self._axes(x.ndim), tuple(range(x.ndim - self.dims))
        normal = (x - output[2]) * output[1]
        gx = self._input_gradient(xp, grad[0], normal, output[1], weight, axes) if needs[0] else None
        gw = (grad[0] * normal).sum(axis=rest) if needs[1] else None
        return gx, gw, grad[0].sum(axis=rest) if needs[2] else None

    def _input_gradient(self, xp, grad, normal, rstd, weight, axes):
        scaled = grad if weight is None else grad * weight
        size = scaled.dtype.type(_count(scaled.shape, axes))
        result = scaled - scaled.sum(axis=axes, keepdims=True) / size
        result -= normal * ((scaled * normal).sum(axis=axes, keepdims=True) / size)
        result *= rstd
        return result

    def vjp(self, grad, output, x, weight, bias):
        axes, rest = self._axes(x.ndim), tuple(range(x.ndim - self.dims))
        rstd, size = output[1], _count(x.shape, self._axes(x.ndim))
        centred = x - output[2]
        g = grad[0] if grad[0] is not None else x * 0.0
        scaled = g if weight is None else g * weight
        g_rstd = (scaled * centred).sum(axes, keepdim=True)
        if grad[1] is not None:
            g_rstd = g_rstd + grad[1]
        g_variance = g_rstd * (rstd * rstd * rstd) * (-1.0 / size)  # half of it, times the 2 of the square
        g_centred = scaled * rstd + centred * g_variance
        g_mean = -g_centred.sum(axes, keepdim=True)
        if grad[2] is not None:
            g_mean = g_mean + grad[2]
        gw = (g * (centred * rstd)).sum(rest) if weight is not None and weight.requires_grad else None
        return g_centred + g_mean * (1.0 / size), gw, g.sum(rest) if bias is not None and bias.requires_grad else None


def statistics_type(dtype: DType) -> DType:
    """The dtype of means and variances: those of 16-bit inputs are not rounded, since the gradient reads them."""
    return float32 if dtype.itemsize == 2 else dtype


def _channels(x: Spec | Tensor) -> int:
    """The size of dimension 1; the shape (0,) counts as no elements of no channels, as in PyTorch."""
    if x.ndim < 2 and tuple(x.shape) != (0,):
        raise ShapeError(f"batch_norm: expected (N, C, ...), came {tuple(map(int, x.shape))}; did you mean x.unsqueeze(0)?")
    return x.shape[1] if x.ndim > 1 else 0


def _count(shape: Any, axes: Sequence[int]) -> int:
    total = 1
    for axis in axes:
        total *= shape[axis]
    return total


@register
class BatchNorm(Operator):
    """(x - mean) / sqrt(var + eps) * weight + bias with given statistics per channel (dimension 1)"""

    name = "batch_norm"
    samples = (
        sample(of(2, 3, 4, 4), of(3), of(3), of(3), of(3, low=0.5, high=2)),
        sample(of(4, 3), None, None, of(3), of(3, low=0.5, high=2)),
        sample(of(0, 3, 2, 2), of(3), of(3), of(3), of(3, low=0.5, high=2)),
    )

    eps: float = 1e-5

    def infer(self, x: Spec, weight: Spec | None, bias: Spec | None, mean: Spec, var: Spec) -> Spec:
        channels = _channels(x)
        for label, parameter in (("weight", weight), ("bias", bias), ("running_mean", mean), ("running_var", var)):
            if parameter is not None and tuple(parameter.shape) != (channels,):
                raise ShapeError(f"batch_norm: {label} {tuple(parameter.shape)} must have shape ({channels},), the channels of x")
        return x

    def forward(self, xp, x, weight, bias, mean, var):
        scale = 1 / xp.sqrt(var + x.dtype.type(self.eps))
        if weight is not None:
            scale = scale * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        shape = (-1, *(1,) * (x.ndim - 2))
        result = x * scale.reshape(shape)
        result += shift.reshape(shape)
        return result

    def vjp(self, grad, output, x, weight, bias, mean, var):
        shape, rest = (-1, *(1,) * (x.ndim - 2)), (0, *range(2, x.ndim))
        rstd = (var + self.eps).rsqrt()
        scale = rstd if weight is None else rstd * weight
        total = grad.sum(rest)
        weighted = (grad * (x - mean.reshape(shape))).sum(rest)
        gw = weighted * rstd if weight is not None and weight.requires_grad else None
        factor = weighted if weight is None else weighted * weight
        g_var = factor * (rstd * rstd * rstd) * -0.5 if var.requires_grad else None
        g_mean = -total * scale if mean.requires_grad else None
        return grad * scale.reshape(shape), gw, total if bias is not None and bias.requires_grad else None, g_mean, g_var


@register
class BatchNormTraining(Operator):
    """Batch norm with the statistics of the batch itself (Ioffe, Szegedy 2015).

    Outputs: the result, and per channel the mean and the variance (divided by the count) of the batch.
    """

    name = "batch_norm_training"
    outputs = 3
    saves_output = True
    samples = (
        sample(of(2, 3, 4, 4), of(3), of(3)),
        sample(of(5, 3), None, None),
        sample(of(2, 2, 3), of(2), of(2)),
    )

    eps: float = 1e-5

    def infer(self, x: Spec, weight: Spec | None, bias: Spec | None) -> tuple[Spec, Spec, Spec]:
        channel = Spec((_channels(x),), statistics_type(x.dtype))
        BatchNorm(self.eps).infer(x, weight, bias, channel, channel)
        return x, channel, channel

    def forward(self, xp, x, weight, bias):
        axes, shape = (0, *range(2, x.ndim)), (-1, *(1,) * (x.ndim - 2))
        size = x.dtype.type(max(_count(x.shape, axes), 1))
        mean = x.sum(axis=axes, dtype=x.dtype) / size
        centred = x - mean.reshape(shape)
        variance = xp.square(centred).sum(axis=axes, dtype=x.dtype) / size
        scale = 1 / xp.sqrt(variance + x.dtype.type(self.eps))
        if weight is not None:
            scale = scale * weight
        centred *= scale.reshape(shape)
        if bias is not None:
            centred += bias.reshape(shape)
        return centred, mean, variance

    def backward(self, xp, needs, grad, output, x, weight, bias):
        if grad[0] is None or grad[1] is not None or grad[2] is not None:
            return NotImplemented  # the batch statistics have a gradient in a second derivative only
        axes, shape = (0, *range(2, x.ndim)), (-1, *(1,) * (x.ndim - 2))
        size = x.dtype.type(_count(x.shape, axes))
        rstd = 1 / xp.sqrt(output[2] + x.dtype.type(self.eps))
        normal = (x - output[1].reshape(shape)) * rstd.reshape(shape)
        gw, gb = (grad[0] * normal).sum(axis=axes), grad[0].sum(axis=axes)
        if needs[0]:
            scale = rstd if weight is None else rstd * weight
            normal *= (gw / size).reshape(shape)
            normal += (gb / size).reshape(shape)
            normal = xp.subtract(grad[0], normal, out=normal)
            normal *= scale.reshape(shape)
        return normal if needs[0] else None, gw if needs[1] else None, gb if needs[2] else None

    def vjp(self, grad, output, x, weight, bias):
        axes, shape = (0, *range(2, x.ndim)), (-1, *(1,) * (x.ndim - 2))
        size = _count(x.shape, axes)
        g = grad[0] if grad[0] is not None else x * 0.0
        centred, rstd = x - output[1].reshape(shape), (output[2] + self.eps).rsqrt()
        weighted = (g * centred).sum(axes)
        scale = rstd if weight is None else rstd * weight
        g_variance = (weighted if weight is None else weighted * weight) * (rstd * rstd * rstd) * -0.5
        if grad[2] is not None:
            g_variance = g_variance + grad[2]
        g_centred = g * scale.reshape(shape) + centred * (g_variance * (2.0 / max(size, 1))).reshape(shape)
        g_mean = -g_centred.sum(axes)
        if grad[1] is not None:
            g_mean = g_mean + grad[1]
        gw = weighted * rstd if weight is not None and weight.requires_grad else None
        return (
            g_centred + (g_mean * (1.0 / max(size, 1))).reshape(shape),
            gw,
            g.sum(axes) if bias is not None and bias.requires_grad else None,
        )


def tail_shape(operator: str, input: Tensor, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    """`normalized_shape` as a tuple, if the input ends in it."""
    tail = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not tail or tuple(input.shape[input.ndim - len(tail) :]) != tail:
        raise ShapeError(f"{operator}: input {tuple(map(int, input.shape))} must end in normalized_shape {tail}, one size or more")
    return tail


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Returns the input normalised to mean 0 and variance 1 over its last dimensions, scaled and shifted.

    Args:
        input: (..., *normalized_shape), floating point.
        weight, bias: normalized_shape, or None.

    Raises:
        ShapeError: the input does not end in `normalized_shape`, or that is empty.
    """
    tail = tail_shape("layer_norm", input, normalized_shape)
    return apply(LayerNorm(len(tail), float(eps)), input, weight, bias)[0]


@keeps_channels_last
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Returns the input (N, C, ...) normalised over groups of C / num_groups channels, scaled and shifted per channel.

    Raises:
        ArgumentError: the channels do not divide into the groups.
    """
    channels = input.shape[1]
    if channels % num_groups:
        raise ArgumentError(f"group_norm: {channels} channels do not divide into {num_groups} groups")
    grouped = input.reshape(input.shape[0], num_groups, _count(input.shape, range(1, input.ndim)) // num_groups)
    result = apply(LayerNorm(1, float(eps)), grouped, None, None)[0].reshape(input.shape)
    shape = (channels, *(1,) * (input.ndim - 2))
    if weight is not None:
        result = result * weight.reshape(shape)
    return result if bias is None else result + bias.reshape(shape)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Returns the input (N, C, ...) normalised per channel, scaled and shifted.

    In training the statistics are those of the batch, and `running_mean` and `running_var` (C,) move towards them by
    `momentum` in place (the variance with N - 1 in the divisor); otherwise the running statistics are used.

    Raises:
        ShapeError: there is no dimension C, a parameter is not (C,), or one value per channel is to be normalised in
            training.
    """
    _channels(input)
    if not training:
        if running_mean is None or running_var is None:
            raise ArgumentError("batch_norm: without training, running_mean and running_var are needed")
        return apply(BatchNorm(float(eps)), input, weight, bias, running_mean, running_var)
    size = _count(input.shape, (0, *range(2, input.ndim)))
    if size == 1:
        raise ShapeError(f"batch_norm: training needs more than one value per channel, came {tuple(map(int, input.shape))}")
    result, mean, var = apply(BatchNormTraining(float(eps)), input, weight, bias)
    if running_mean is not None and running_var is not None and size:  # an empty batch says nothing
        with visiting(mean._data):
            update_running(running_mean, mean._data, momentum)
            update_running(running_var, var._data * (size / max(size - 1, 1)), momentum)
    return result


def update_running(running: Tensor, batch: Any, momentum: float) -> None:
    """Moves a running statistic towards that of a batch, an array, in place."""
    if mode.tracer is not None:
        mode.tracer.refuse_write(running, "batch_norm in training mode updates its running statistics; call model.eval() first")
    data = running._data
    data *= 1 - momentum
    data += batch * data.dtype.type(momentum)
    running.bump_version()
