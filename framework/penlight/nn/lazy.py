# SPDX-License-Identifier: Apache-2.0
"""Layers that learn their input size from the first input, and are ordinary layers from then on."""

from __future__ import annotations

from typing import Any

from penlight.nn.conv import Conv1d, Conv2d
from penlight.nn.conv_transpose import Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from penlight.nn.instance_norm import BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from penlight.nn.linear import Linear
from penlight.nn.module import Module
from penlight.nn.norm import BatchNorm1d, BatchNorm2d
from penlight.tensor import Tensor


class _Lazy(Module):
    """Keeps its arguments until the first input comes, then becomes a `made` for the size, dtype and device of that input.

    Until then it has no parameters: call the model once before making an optimizer or loading a state_dict.
    """

    made: type[Module]
    spatial: int | None = None  # dimensions after the channels; None takes the last dimension as the size

    def __init__(self, *args: Any, **kwargs: Any):
        self._arguments = (args, kwargs)

    def forward(self, input: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Makes the layer and calls it."""
        size = int(input.shape[-1 if self.spatial is None else self._channels(input)])
        (given, named), training = self._arguments, self.training
        del self._arguments
        self.__class__ = self.made  # type: ignore[assignment]  # it becomes the layer that it stands for
        type(self).__init__(self, size, *given, **named)
        self.to(input.device, input.dtype).train(training)
        return self.forward(input, *args, **kwargs)

    def _channels(self, input: Tensor) -> int:
        assert self.spatial is not None
        if input.ndim not in (self.spatial + 1, self.spatial + 2):
            wanted = f"{self.spatial + 2} dimensions (or {self.spatial + 1} without the batch)"
            raise ValueError(f"{type(self).__name__}: expected {wanted}, got {tuple(input.shape)}")
        return input.ndim - self.spatial - 1

    def extra_repr(self) -> str:
        args, kwargs = self._arguments
        return ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())])


class LazyLinear(_Lazy):
    """`Linear` without `in_features`."""

    made = Linear


class LazyBatchNorm1d(_Lazy):
    """`BatchNorm1d` without `num_features`."""

    made, spatial = BatchNorm1d, 1

    def _channels(self, input: Tensor) -> int:
        return 1


class LazyConv1d(_Lazy):
    """`Conv1d` without `in_channels`."""

    made, spatial = Conv1d, 1


class LazyConv2d(_Lazy):
    """`Conv2d` without `in_channels`."""

    made, spatial = Conv2d, 2


class LazyConv3d(_Lazy):
    """`Conv3d` without `in_channels`."""

    made, spatial = Conv3d, 3


class LazyConvTranspose1d(_Lazy):
    """`ConvTranspose1d` without `in_channels`."""

    made, spatial = ConvTranspose1d, 1


class LazyConvTranspose2d(_Lazy):
    """`ConvTranspose2d` without `in_channels`."""

    made, spatial = ConvTranspose2d, 2


class LazyConvTranspose3d(_Lazy):
    """`ConvTranspose3d` without `in_channels`."""

    made, spatial = ConvTranspose3d, 3


class LazyBatchNorm2d(_Lazy):
    """`BatchNorm2d` without `num_features`."""

    made, spatial = BatchNorm2d, 2


class LazyBatchNorm3d(_Lazy):
    """`BatchNorm3d` without `num_features`."""

    made, spatial = BatchNorm3d, 3


class LazyInstanceNorm1d(_Lazy):
    """`InstanceNorm1d` without `num_features`."""

    made, spatial = InstanceNorm1d, 1


class LazyInstanceNorm2d(_Lazy):
    """`InstanceNorm2d` without `num_features`."""

    made, spatial = InstanceNorm2d, 2


class LazyInstanceNorm3d(_Lazy):
    """`InstanceNorm3d` without `num_features`."""

    made, spatial = InstanceNorm3d, 3
