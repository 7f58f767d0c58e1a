# SPDX-License-Identifier: Apache-2.0
"""Normalisation of volumes by the batch, of each instance, and across neighbouring channels."""

from __future__ import annotations

import penlight.nn.functional as F
from penlight.nn.module import Module
from penlight.nn.norm import _BatchNorm
from penlight.tensor import Tensor


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (N, C, D, H, W); see `BatchNorm2d`."""

    ranks = (5,)


class _InstanceNorm(_BatchNorm):
    """Normalises each channel of each instance over its elements (Ulyanov et al. 2016).

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: weight of the new batch in the running averages.
        affine: whether weight and bias, both (C,), are learned.
        track_running_stats: whether running averages are kept, and used in evaluation mode.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Returns a tensor of the shape of x: (N, C, ...) or (C, ...)."""
        if x.ndim == self.ranks[0] - 1:
            return self.forward(x.unsqueeze(0)).squeeze(0)
        if x.ndim != self.ranks[0] or (x.shape[1] != self.num_features and self.affine):
            wanted = f"{self.ranks[0]}-dim (or {self.ranks[0] - 1}-dim) input with {self.num_features} channels"
            raise ValueError(f"{type(self).__name__}: expected a {wanted}, got {tuple(x.shape)}")
        own = self.training or not self.track_running_stats
        momentum = 0.0 if self.momentum is None else self.momentum
        return F.instance_norm(x, self.running_mean, self.running_var, self.weight, self.bias, own, momentum, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (N, C, L) or (C, L); see `InstanceNorm2d`."""

    ranks = (3,)


class InstanceNorm2d(_InstanceNorm):
    __doc__ = _InstanceNorm.__doc__

    ranks = (4,)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (N, C, D, H, W) or (C, D, H, W); see `InstanceNorm2d`."""

    ranks = (5,)


class LocalResponseNorm(Module):
    """x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta (Krizhevsky et al. 2012)."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(LocalResponseNorm):
    """`LocalResponseNorm` of (N, C, H, W), under PyTorch's older name."""
