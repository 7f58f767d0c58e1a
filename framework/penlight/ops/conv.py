# SPDX-License-Identifier: Apache-2.0
"""Convolution over images, and its two gradients as operators of their own, so that any derivative exists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penlight.errors import ArgumentError, ShapeError
from penlight.ops import dims as _dims
from penlight.ops.broadcast import same_dtype
from penlight.ops.convert import keeps_channels_last
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import of, sample
from penlight.tensor import Tensor

Pair = tuple[int, int]
_CHUNK = 1 << 18  # elements of unfolded input at a time: 1 MB of float32 stays in the L2 cache


class _Conv(Operator):
    """The arguments that a convolution and its gradients share, and the geometry."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def arguments(self) -> tuple[Pair, Pair, Pair, int]:
        return self.stride, self.padding, self.dilation, self.groups

    def output_size(self, size: Any, kernel: Any) -> Pair:
        """(OH, OW) for an input of `size`."""
        return tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(size, kernel, self.stride, self.padding, self.dilation, strict=True)
        )

    def is_pointwise(self, kernel: Pair) -> bool:
        return kernel == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0)

    def padded(self, xp: Any, x: Any) -> Any:
        (ph, pw) = self.padding
        if not ph and not pw:
            return x
        n, c, h, w = x.shape
        result = xp.zeros((n, c, h + 2 * ph, w + 2 * pw), dtype=x.dtype)
        result[:, :, ph : ph + h, pw : pw + w] = x
        return result

    def cropped(self, x: Any) -> Any:
        (ph, pw) = self.padding
        return x[:, :, ph : x.shape[2] - ph, pw : x.shape[3] - pw] if ph or pw else x

    def taps(self, kernel: Pair, out: Pair) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
        """(ky, kx, index): where tap (ky, kx) reads in the padded input for all outputs."""
        (sh, sw), (dh, dw) = self.stride, self.dilation
        for ky in range(kernel[0]):
            for kx in range(kernel[1]):
                rows = slice(ky * dh, ky * dh + (out[0] - 1) * sh + 1, sh)
                yield ky, kx, (slice(None), slice(None), rows, slice(kx * dw, kx * dw + (out[1] - 1) * sw + 1, sw))

    def unfolded(self, xp: Any, x: Any, kernel: Pair, out: Pair) -> Any:
        """(N, G, C/G * KH * KW, OH * OW), copied from the padded x: the right-hand side of the product."""
        n, c = x.shape[:2]
        sn, sc, sy, sx = x.strides
        (sh, sw), (dh, dw) = self.stride, self.dilation
        view = xp.lib.stride_tricks.as_strided(x, (n, c, *kernel, *out), (sn, sc, sy * dh, sx * dw, sy * sh, sx * sw))
        return view.reshape(n, self.groups, c // self.groups * kernel[0] * kernel[1], out[0] * out[1])


def _chunks(batch: int, elements: int) -> Iterator[slice]:
    step = max(1, _CHUNK // max(elements, 1))
    for start in range(0, batch, step):
        yield slice(start, min(start + step, batch))


_SAMPLES = (
    sample(of(2, 3, 5, 6), of(4, 3, 3, 3), of(4), padding=(1, 1)),
    sample(of(1, 4, 7, 5), of(6, 2, 3, 2), None, stride=(2, 1), padding=(0, 1), dilation=(2, 1), groups=2),
    sample(of(2, 3, 4, 4), of(3, 1, 3, 3), of(3), padding=(1, 1), groups=3),
    sample(of(2, 3, 4, 4), of(5, 3, 1, 1), of(5)),
    sample(of(0, 3, 4, 4), of(2, 3, 3, 3), of(2)),
)


def _channel_hint(x: Any, wanted: Any) -> str:
    if x[3] == wanted:
        return "; did you mean input.permute(0, 3, 1, 2)?"
    return f"; make the layer with in_channels={int(x[1])}"


@register
class Conv2d(_Conv):
    """Cross-correlation of x (N, C, H, W) with weight (O, C / groups, KH, KW), plus bias (O) if given"""

    name = "conv2d"
    saves_inputs = "others"
    samples = _SAMPLES

    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def infer(self, x: Spec, weight: Spec, bias: Spec | None = None) -> Spec:
        self._check(x, weight, bias)
        out = self.output_size(x.shape[2:], weight.shape[2:])
        if any(isinstance(n, int) and n < 1 for n in out):
            raise ShapeError(
                f"conv2d: kernel {tuple(weight.shape[2:])} with dilation {self.dilation} is larger than the padded input "
                f"{tuple(map(int, x.shape))}"
            )
        return Spec((x.shape[0], weight.shape[0], *out), same_dtype("conv2d", x, weight))

    def _check(self, x: Spec, weight: Spec, bias: Spec | None) -> None:
        if len(x.shape) != 4 or len(weight.shape) != 4:
            raise ShapeError(
                f"conv2d: expected input (N, C, H, W) and weight (O, C/groups, KH, KW), came {tuple(map(int, x.shape))} "
                f"and {tuple(map(int, weight.shape))}"
            )
        if x.shape[1] != weight.shape[1] * self.groups or weight.shape[0] % self.groups:
            raise ShapeError(
                f"conv2d: input has {x.shape[1]} channels, weight {tuple(map(int, weight.shape))} with groups={self.groups} "
                f"wants {weight.shape[1] * self.groups}{_channel_hint(x.shape, weight.shape[1] * self.groups)}"
            )
        if bias is not None and tuple(bias.shape) != (weight.shape[0],):
            raise ShapeError(f"conv2d: bias {tuple(bias.shape)} must have shape ({weight.shape[0]},)")

    def forward(self, xp, x, weight, bias):
        kernel, groups = weight.shape[2:], self.groups
        out = self.output_size(x.shape[2:], kernel)
        if x.shape[1] != weight.shape[1] * groups or min(out) < 1 or x.dtype != weight.dtype:
            raise ValueError("the shapes or dtypes do not fit")
        if weight.shape[1] == 1 and groups > 1:
            result = self._depthwise(xp, self.padded(xp, x), weight, out)
        else:
            result = self._product(xp, x, weight, out)
        if bias is not None:
            result += bias.reshape(-1, 1, 1)
        return result

    def _product(self, xp, x, weight, out):
        n, rows = x.shape[0], weight.shape[0] // self.groups
        matrix = weight.reshape(self.groups, rows, -1)
        result = xp.empty((n, self.groups, rows, out[0] * out[1]), dtype=x.dtype)
        if self.is_pointwise(weight.shape[2:]):
            xp.matmul(matrix, xp.ascontiguousarray(x).reshape(n, self.groups, -1, out[0] * out[1]), out=result)
        else:
            padded = self.padded(xp, x)
            for part in _chunks(n, matrix.shape[2] * self.groups * out[0] * out[1]):
                xp.matmul(matrix, self.unfolded(xp, padded[part], weight.shape[2:], out), out=result[part])
        return result.reshape(n, weight.shape[0], *out)

    def _depthwise(self, xp, padded, weight, out):
        """One multiply-add over the image per tap; a matrix product would have a single row per group."""
        many = weight.shape[0] // self.groups
        wide = xp.repeat(padded, many, axis=1) if many > 1 else padded
        result = xp.zeros((padded.shape[0], weight.shape[0], *out), dtype=padded.dtype)
        for ky, kx, place in self.taps(weight.shape[2:], out):
            result += wide[place] * weight[:, 0, ky, kx].reshape(-1, 1, 1)
        return result

    def vjp(self, grad, output, x, weight, bias):
        gx = apply(Conv2dInputGrad(*self.arguments(), tuple(x.shape[2:])), grad, weight) if x.requires_grad else None
        gw = apply(Conv2dWeightGrad(*self.arguments(), tuple(weight.shape[2:])), x, grad) if weight.requires_grad else None
        return gx, gw, grad.sum((0, 2, 3)) if bias is not None and bias.requires_grad else None


@register
class Conv2dInputGrad(_Conv):
    """The gradient of Conv2d for its input: a transposed convolution of grad (N, O, OH, OW) with weight, to (N, C, *size)"""

    name = "conv2d_input_grad"
    saves_inputs = "others"
    samples = (
        sample(of(2, 4, 5, 6), of(4, 3, 3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1, size=(5, 6)),
        sample(of(1, 6, 2, 6), of(6, 2, 3, 2), stride=(2, 1), padding=(0, 1), dilation=(2, 1), groups=2, size=(7, 5)),
        sample(of(2, 3, 4, 4), of(3, 1, 3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=3, size=(4, 4)),
        sample(of(2, 3, 4, 4), of(3, 2, 1, 1), stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, size=(4, 4)),
        sample(of(0, 4, 2, 2), of(4, 3, 3, 3), stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, size=(4, 4)),
    )

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    size: Pair

    def infer(self, grad: Spec, weight: Spec) -> Spec:
        if grad.shape[1] != weight.shape[0]:
            raise ShapeError(
                f"conv2d_input_grad: grad has {grad.shape[1]} channels, "
                f"weight {tuple(map(int, weight.shape))} has {weight.shape[0]}"
            )
        return Spec((grad.shape[0], weight.shape[1] * self.groups, *self.size), same_dtype(self.name, grad, weight))

    def forward(self, xp, grad, weight):
        n, out, kernel = grad.shape[0], grad.shape[2:], weight.shape[2:]
        channels = weight.shape[1] * self.groups
        matrix = weight.reshape(self.groups, weight.shape[0] // self.groups, -1).swapaxes(1, 2)
        columns = xp.ascontiguousarray(grad).reshape(n, self.groups, weight.shape[0] // self.groups, out[0] * out[1])
        if self.is_pointwise(kernel):
            return xp.matmul(matrix, columns).reshape(n, channels, *self.size)
        (ph, pw), (h, w) = self.padding, self.size
        result = xp.zeros((n, channels, h + 2 * ph, w + 2 * pw), dtype=grad.dtype)
        for part in _chunks(n, channels * kernel[0] * kernel[1] * out[0] * out[1]):
            folded = xp.matmul(matrix, columns[part]).reshape(-1, channels, *kernel, *out)
            target = result[part]
            for ky, kx, place in self.taps(kernel, out):
                target[place] += folded[:, :, ky, kx]
        return xp.ascontiguousarray(self.cropped(result))

    def vjp(self, grad, output, g, weight):
        gg = apply(Conv2d(*self.arguments()), grad, weight, None) if g.requires_grad else None
        if gg is not None and gg.shape != g.shape:  # output_padding of a stride or more: no input reaches the rest
            gg = gg[:, :, : g.shape[2], : g.shape[3]]
        kernel = tuple(weight.shape[2:])
        return gg, apply(Conv2dWeightGrad(*self.arguments(), kernel), grad, g) if weight.requires_grad else None


@register
class Conv2dWeightGrad(_Conv):
    """The gradient of Conv2d for its weight, from x (N, C, H, W) and grad (N, O, OH, OW)"""

    name = "conv2d_weight_grad"
    saves_inputs = "others"
    samples = (
        sample(of(2, 3, 5, 6), of(2, 4, 5, 6), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1, kernel=(3, 3)),
        sample(of(1, 4, 7, 5), of(1, 6, 2, 6), stride=(2, 1), padding=(0, 1), dilation=(2, 1), groups=2, kernel=(3, 2)),
        sample(of(2, 3, 4, 4), of(2, 3, 4, 4), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=3, kernel=(3, 3)),
        sample(of(0, 3, 4, 4), of(0, 2, 2, 2), stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, kernel=(3, 3)),
    )

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    kernel: Pair

    def infer(self, x: Spec, grad: Spec) -> Spec:
        return Spec((grad.shape[1], x.shape[1] // self.groups, *self.kernel), same_dtype(self.name, x, grad))

    def forward(self, xp, x, grad):
        n, out, rows = x.shape[0], grad.shape[2:], grad.shape[1] // self.groups
        padded = self.padded(xp, x)
        if x.shape[1] == self.groups and self.groups > 1:
            return self._depthwise(xp, padded, grad)
        columns = xp.ascontiguousarray(grad).reshape(n, self.groups, rows, out[0] * out[1])
        depth = x.shape[1] // self.groups * self.kernel[0] * self.kernel[1]
        result = xp.zeros((self.groups, rows, depth), dtype=x.dtype)
        for part in _chunks(n, depth * self.groups * out[0] * out[1]):
            unfolded = self.unfolded(xp, padded[part], self.kernel, out)
            result += xp.matmul(columns[part], unfolded.swapaxes(2, 3)).sum(axis=0)
        return result.reshape(grad.shape[1], x.shape[1] // self.groups, *self.kernel)

    def _depthwise(self, xp, padded, grad):
        many = grad.shape[1] // self.groups
        wide = xp.repeat(padded, many, axis=1) if many > 1 else padded
        result = xp.empty((grad.shape[1], 1, *self.kernel), dtype=grad.dtype)
        for ky, kx, place in self.taps(self.kernel, grad.shape[2:]):
            result[:, 0, ky, kx] = (wide[place] * grad).sum(axis=(0, 2, 3))
        return result

    def vjp(self, grad, output, x, g):
        size = tuple(x.shape[2:])
        gx = apply(Conv2dInputGrad(*self.arguments(), size), g, grad) if x.requires_grad else None
        gg = apply(Conv2d(*self.arguments()), x, grad, None) if g.requires_grad else None
        if gg is not None and gg.shape != g.shape:  # as in Conv2dInputGrad
            gg = gg[:, :, : g.shape[2], : g.shape[3]]
        return gx, gg


@keeps_channels_last
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Returns the cross-correlation of images with filters.

    Args:
        input: (N, C, H, W) or (C, H, W), floating point.
        weight: (O, C / groups, KH, KW).
        bias: (O,) or None.
        stride, dilation: one number or (vertical, horizontal).
        padding: zeros on both sides, the same way; or "valid" (none), or "same" (output size = input size, stride 1).
        groups: channels are split into this many independent groups.

    Returns:
        (N, O, OH, OW) with OH = (H + 2 * padding - dilation * (KH - 1) - 1) // stride + 1.

    Raises:
        ShapeError: the shapes do not fit together, or the kernel is larger than the padded input.
    """
    if input.ndim == 3:
        return conv2d(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    stride_, dilation_ = _dims.pair(stride), _dims.pair(dilation)
    if isinstance(padding, str):
        input, padding = _named_padding(input, padding, weight.shape[2:], stride_, dilation_)
    if min(stride_) < 1 or min(dilation_) < 1 or groups < 1:
        raise ArgumentError(f"conv2d: stride {stride}, dilation {dilation} and groups {groups} must be at least 1")
    return apply(Conv2d(stride_, _dims.pair(padding), dilation_, groups), input, weight, bias)


def _named_padding(input: Tensor, name: str, kernel: Any, stride: Pair, dilation: Pair) -> tuple[Tensor, Pair]:
    if name == "valid":
        return input, (0, 0)
    if name != "same" or stride != (1, 1):
        raise ArgumentError(f'conv2d: padding {name!r} with stride {stride}: expected a number, "valid", or "same" with stride 1')
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if all(t % 2 == 0 for t in total):
        return input, (total[0] // 2, total[1] // 2)
    (top, left) = total[0] // 2, total[1] // 2  # the odd one goes to the end, as in PyTorch
    return input.pad((left, total[1] - left, top, total[0] - top)), (0, 0)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int | str = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Returns the cross-correlation of signals (N, C, L) with filters (O, C / groups, K); see `conv2d`."""
    pads: Any = padding if isinstance(padding, str) else (0, _single(padding))
    wide = input.unsqueeze(-2), weight.unsqueeze(-2)
    return conv2d(*wide, bias, (1, _single(stride)), pads, (1, _single(dilation)), groups).squeeze(-2)


def _single(value: Any) -> int:
    return value if isinstance(value, int) else int(value[0])


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    output_padding: int | Pair = 0,
    groups: int = 1,
    dilation: int | Pair = 1,
) -> Tensor:
    """Returns the transposed convolution of (N, C, H, W) with weight (C, O / groups, KH, KW), to (N, O, OH, OW).

    OH = (H - 1) * stride - 2 * padding + dilation * (KH - 1) + output_padding + 1.
    """
    s, p, d, extra = (_dims.pair(v) for v in (stride, padding, dilation, output_padding))
    size: Any = tuple(
        (n - 1) * s[i] - 2 * p[i] + d[i] * (weight.shape[2 + i] - 1) + extra[i] + 1 for i, n in enumerate(input.shape[2:])
    )
    result = apply(Conv2dInputGrad(s, p, d, groups, size), input, weight)
    return result if bias is None else result + bias.reshape(-1, 1, 1)
