# SPDX-License-Identifier: Apache-2.0
"""Normalisation: over the batch, over the last dimensions, over groups of channels."""

from __future__ import annotations

from collections.abc import Sequence

import penlight.nn.functional as F
import penlight.nn.init as init
from penlight.backends.backend import visiting
from penlight.nn.module import Module
from penlight.nn.parameter import Parameter
from penlight.tensor import Tensor, tensor


class _BatchNorm(Module):
    ranks: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
    ):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.register_parameter("weight", Parameter(init.empty(num_features)) if affine else None)
        self.register_parameter("bias", Parameter(init.empty(num_features)) if affine and bias else None)
        self.register_buffer("running_mean", init.empty(num_features) if track_running_stats else None)
        self.register_buffer("running_var", init.empty(num_features) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", tensor(0) if track_running_stats else None)
        self.weight: Parameter | None
        self.bias: Parameter | None
        self.running_mean: Tensor | None
        self.running_var: Tensor | None
        self.num_batches_tracked: Tensor | None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts anew: weight 1, bias 0, running mean 0 and variance 1."""
        for value, start in (
            (self.weight, 1),
            (self.bias, 0),
            (self.running_mean, 0),
            (self.running_var, 1),
            (self.num_batches_tracked, 0),
        ):
            if value is not None:
                init.constant_(value, start)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises each channel (dimension 1) of x; in training mode by the batch, and updates the running averages."""
        if len(x.shape) not in self.ranks or x.shape[1] != self.num_features:
            wanted = " or ".join(f"{rank}-dim" for rank in self.ranks)
            raise ValueError(
                f"{type(self).__name__}: expected a {wanted} input with {self.num_features} channels, got {tuple(x.shape)}"
            )
        use_batch = self.training or self.running_mean is None
        track = self.training and self.track_running_stats
        momentum = self._count() if track else 0.0
        mean, var = (self.running_mean, self.running_var) if track or not use_batch else (None, None)
        return F.batch_norm(x, mean, var, self.weight, self.bias, use_batch, momentum, self.eps)

    def _count(self) -> float:
        assert self.num_batches_tracked is not None
        with visiting(self.num_batches_tracked._data):
            self.num_batches_tracked._data += 1
        # momentum=None asks for the plain average over all batches so far.
        return 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L); see `BatchNorm2d`."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias per channel of (N, C, H, W) (Ioffe and Szegedy 2015).

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the new batch in the running averages; None takes the plain average over all batches.
        affine: whether weight and bias, both (C,), are learned.
        track_running_stats: whether running averages are kept for evaluation mode.
    """

    ranks = (4,)


class LayerNorm(Module):
    """Normalisation over the last dimensions (Ba et al. 2016).

    Args:
        normalized_shape: sizes of the last dimensions, or the size of the last one.
        eps: added to the variance.
        elementwise_affine: whether weight and bias, both of `normalized_shape`, are learned.
        bias: whether there is a bias.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True
    ):
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.register_parameter("weight", Parameter(init.full(self.normalized_shape, 1)) if elementwise_affine else None)
        self.register_parameter("bias", Parameter(init.full(self.normalized_shape, 0)) if elementwise_affine and bias else None)
        self.weight: Parameter | None
        self.bias: Parameter | None

    def forward(self, x: Tensor) -> Tensor:
        """Returns a tensor of the shape of x."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions (Zhang and Sennrich 2019).

    Args:
        normalized_shape: sizes of the last dimensions, or the size of the last one.
        eps: added to the mean square; None is the smallest step of the dtype.
        elementwise_affine: whether a weight is learned.
    """

    def __init__(self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True):
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.register_parameter("weight", Parameter(init.full(self.normalized_shape, 1)) if elementwise_affine else None)
        self.weight: Parameter | None

    def forward(self, x: Tensor) -> Tensor:
        """Returns a tensor of the shape of x."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Normalisation over groups of channels of (N, C, ...), independent of the batch (Wu and He 2018).

    Args:
        num_groups: groups, which must divide the channels.
        num_channels: C.
        eps: added to the variance.
        affine: whether weight and bias, both (C,), are learned.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, bias: bool = True):
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.register_parameter("weight", Parameter(init.full((num_channels,), 1)) if affine else None)
        self.register_parameter("bias", Parameter(init.full((num_channels,), 0)) if affine and bias else None)
        self.weight: Parameter | None
        self.bias: Parameter | None

    def forward(self, x: Tensor) -> Tensor:
        """Returns a tensor of the shape of x."""
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"
