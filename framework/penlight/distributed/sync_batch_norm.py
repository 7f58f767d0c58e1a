# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation whose statistics are those of the batches of all ranks together."""

from __future__ import annotations

from typing import Any

from penlight.autograd import Function
from penlight.distributed import group
from penlight.distributed.collectives import all_reduce
from penlight.errors import ShapeError
from penlight.nn.module import Module
from penlight.nn.norm import _BatchNorm
from penlight.ops.norm import update_running
from penlight.ops.shape import cat
from penlight.tensor import Tensor, tensor


class SyncBatchNorm(_BatchNorm):
    """As `BatchNorm2d`, over the batches of all ranks: for training where each rank sees few samples.

    The ranks may have batches of different sizes. Each forward and each backward sends two messages of C numbers. In
    evaluation mode, and without a group of several ranks, it is batch normalisation; the state_dict is the same too.
    The gradients of weight and bias are those of the rank, which `DistributedDataParallel` averages.

    Args:
        num_features: C, of inputs (N, C) or (N, C, ...).
        eps, momentum, affine, track_running_stats: as in `BatchNorm2d`.
        process_group: accepted as None: all ranks take part.
    """

    ranks = tuple(range(2, 9))

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: None = None,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: None = None) -> Module:
        """Returns the module with a SyncBatchNorm, on the same parameters, in place of each batch norm in it."""
        result: Module = module
        if isinstance(module, _BatchNorm) and not isinstance(module, cls):
            result = cls(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
            result._parameters, result._buffers = module._parameters, module._buffers
            for name, value in (module._parameters | module._buffers).items():
                object.__setattr__(result, name, value)
            result.training = module.training
        for name, child in module.named_children():
            setattr(result, name, cls.convert_sync_batchnorm(child, process_group))
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Normalises each channel (dimension 1); in training mode by the statistics over all ranks."""
        use_batch = self.training or self.running_mean is None
        if not use_batch or not group.is_initialized() or group.get_world_size() == 1:
            return super().forward(x)
        if x.ndim < 2 or x.shape[1] != self.num_features:
            raise ShapeError(f"SyncBatchNorm: expected (N, {self.num_features}, ...), came {tuple(x.shape)}")
        return self._normalised(x.float() if x.dtype.itemsize == 2 else x).to(x.dtype)

    def _normalised(self, x: Tensor) -> Tensor:
        axes, shape = (0, *range(2, x.ndim)), (-1, *(1,) * (x.ndim - 2))
        count = tensor([float(x.numel() // self.num_features)], dtype=x.dtype, device=x.device)
        total = _OverRanks.apply(cat([x.sum(axes), count]))
        count = total[-1].detach()
        mean = total[:-1] / count
        centred = x - mean.reshape(shape)
        variance = _OverRanks.apply((centred * centred).sum(axes)) / count
        result = centred * (variance + self.eps).rsqrt().reshape(shape)
        if self.training and self.running_mean is not None and self.running_var is not None:
            momentum, size = self._count(), float(count)
            update_running(self.running_mean, mean._data, momentum)
            update_running(self.running_var, variance._data * (size / max(size - 1, 1)), momentum)
        if self.weight is not None:
            result = result * self.weight.reshape(shape)
        return result if self.bias is None else result + self.bias.reshape(shape)


class _OverRanks(Function):
    """The sum over the ranks. Every rank has the sum, so the gradient of a part is the sum over the ranks of theirs."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.detach().clone()
        all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _OverRanks.apply(grad)
