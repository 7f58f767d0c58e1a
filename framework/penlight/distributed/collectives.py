# SPDX-License-Identifier: Apache-2.0
"""Collectives on Tensors, under PyTorch's names: all ranks call the same ones in the same order.

Each call first compares the call, the dtype and the shape over the ranks (one small message), so that a mistake is a
sentence that names the rank instead of a job that hangs. None of them is recorded on the tape.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import numpy as np

from penlight.distributed import group
from penlight.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from penlight.tensor import Tensor


class ReduceOp(enum.Enum):
    """How values of the ranks become one. The sum of bools is "any"."""

    SUM = "sum"
    AVG = "avg"
    PRODUCT = "product"
    MIN = "min"
    MAX = "max"


def all_reduce(tensor: Tensor, op: ReduceOp | str = ReduceOp.SUM) -> None:
    """Replaces the tensor on every rank by the sum (or average, product, minimum, maximum) over the ranks, in place.

    Args:
        tensor: any shape, any dtype; AVG takes floating point only, complex numbers are only summed, averaged, multiplied.
        op: a `ReduceOp` or its name.

    Raises:
        DistributedError: there is no group, or ranks came with different shapes or dtypes; the rank is named.
        DTypeError: the dtype does not suit the operation.
        DeviceError: the tensor is not on the group's kind of device.
    """
    operation = _operation(op, tensor)
    engine = _checked(f"all_reduce({operation})", tensor)
    _write(tensor, _reduced(engine, _contiguous_copy(tensor), operation))


def broadcast(tensor: Tensor, src: int) -> None:
    """Replaces the tensor on every rank by that of rank `src`, in place.

    Raises:
        ArgumentError: there is no rank `src`.
        DistributedError: as `all_reduce`.
    """
    size = group.engine().size
    if not 0 <= src < size:
        raise ArgumentError(f"broadcast: expected src in 0..{size - 1}, came {src}")
    engine = _checked(f"broadcast(src={src})", tensor)
    data = _contiguous_copy(tensor)
    engine.broadcast(data, src)
    _write(tensor, data)


def all_gather(tensor_list: Sequence[Tensor], tensor: Tensor) -> None:
    """Writes the tensors of all ranks, in the order of the ranks, into the tensors of `tensor_list`.

    Args:
        tensor_list: one tensor per rank, each with the shape and dtype of `tensor`.
        tensor: what this rank gives.

    Raises:
        ShapeError, DTypeError: the list has another length, or a member another shape or dtype.
        DistributedError: as `all_reduce`.
    """
    _check_list("all_gather", tensor_list, tensor)
    engine = _checked("all_gather", tensor)
    for target, row in zip(tensor_list, engine.all_gather(_contiguous_copy(tensor)), strict=True):
        _write(target, row)


def reduce_scatter(output: Tensor, input_list: Sequence[Tensor], op: ReduceOp | str = ReduceOp.SUM) -> None:
    """Writes into `output` the reduction over the ranks of the member of `input_list` that belongs to this rank.

    Args:
        output: the result; overwritten.
        input_list: one tensor per rank, each with the shape and dtype of `output`.
        op: as `all_reduce`.

    Raises:
        ShapeError, DTypeError: the list has another length, or a member another shape or dtype.
        DistributedError: as `all_reduce`.
    """
    _check_list("reduce_scatter", input_list, output)
    operation = _operation(op, output)
    engine = _checked(f"reduce_scatter({operation})", output)
    stacked = _module_of(output).stack([t._data for t in input_list])
    _write(output, _reduced(engine, stacked, operation)[engine.rank])


def barrier() -> None:
    """Returns when every rank has called it.

    Raises:
        DistributedError: there is no group, or a rank is at another collective.
    """
    engine = group.engine()
    engine.check_same("barrier", "nothing")
    engine.barrier()


def largest_over_ranks(value: int) -> int:
    """The maximum of an integer over the ranks; the value itself without a group. Ranks agree with it to stop or to save."""
    if not group.is_initialized() or group.get_world_size() == 1:
        return value
    return int(group.engine().largest(np.array([value]))[0])


def _operation(op: ReduceOp | str, tensor: Tensor) -> str:
    names = [member.value for member in ReduceOp]
    name = op.value if isinstance(op, ReduceOp) else op
    if name not in names:
        raise ArgumentError(f"all_reduce: expected op as one of {', '.join(names)}, came {op!r}")
    kind = tensor.dtype.kind
    if name == "avg" and kind < 2:
        raise DTypeError(f"all_reduce: an average needs a floating-point tensor, came {tensor.dtype}; sum and divide")
    if name in {"min", "max"} and kind == 3:
        raise DTypeError(f"all_reduce: complex numbers have no {name}, came {tensor.dtype}")
    return name


def _reduced(engine: Any, data: Any, operation: str) -> Any:
    engine.all_reduce(data, "sum" if operation == "avg" else operation)
    if operation == "avg":
        data /= engine.size
    return data


def _checked(call: str, tensor: Tensor) -> Any:
    """The engine, when the tensor is on its device and all ranks came with the same."""
    engine = group.engine()
    engine.check_same(call, f"{tensor.dtype.name} {tuple(tensor._data.shape)}")
    if tensor.device.type != engine.device:
        raise DeviceError(
            f'{call}: backend "{engine.name}" takes tensors on {engine.device}, came one on {tensor.device}; '
            f'use tensor.to("{engine.device}")'
        )
    return engine


def _check_list(call: str, tensors: Sequence[Tensor], like: Tensor) -> None:
    size = group.engine().size
    if len(tensors) != size:
        raise ShapeError(f"{call}: expected a list of {size} tensors, one per rank, came {len(tensors)}")
    for index, t in enumerate(tensors):
        if t._data.shape != like._data.shape:
            raise ShapeError(f"{call}: expected shape {tuple(like._data.shape)}, list[{index}] has {tuple(t._data.shape)}")
        if t._data.dtype != like._data.dtype:
            raise DTypeError(f"{call}: expected {like.dtype}, list[{index}] is {t.dtype}")


def _module_of(tensor: Tensor) -> Any:
    from penlight.backends.backend import backend_of

    return backend_of(tensor._data).xp


def _contiguous_copy(tensor: Tensor) -> Any:
    return tensor._data.copy(order="C")


def _write(tensor: Tensor, data: Any) -> None:
    tensor._data[...] = data
    tensor.bump_version()
