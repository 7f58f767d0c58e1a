# SPDX-License-Identifier: Apache-2.0
"""From items to a batch: stacked NumPy arrays in the worker, Tensors in the training process."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from penlight.errors import DataError
from penlight.serialize import as_array
from penlight.tensor import Tensor, from_numpy


def default_collate(items: Sequence[Any]) -> Any:
    """Returns a batch of items that are alike: arrays and numbers are stacked along a new first dimension.

    Tuples, lists and dicts are collated field by field; text stays a list. Python floats become float64 and integers int64,
    as in PyTorch; arrays keep their dtype.

    Raises:
        DataError: arrays of different shapes, or tuples of different lengths; the message names the sizes.
    """
    first = items[0]
    if isinstance(first, Mapping):
        return {key: default_collate([item[key] for item in items]) for key in first}
    if isinstance(first, (tuple, list)):
        if len({len(item) for item in items}) != 1:
            raise DataError(
                f"collate: items have different lengths {sorted({len(item) for item in items})}; pass a collate_fn that pads"
            )
        fields = [default_collate(field) for field in zip(*items, strict=True)]
        return type(first)(*fields) if hasattr(first, "_fields") else tuple(fields)
    if isinstance(first, (str, bytes)) or first is None:
        return list(items)
    arrays = [as_array(item) for item in items]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1:
        raise DataError(f"collate: arrays have different shapes {sorted(shapes)}; resize them, or pass a collate_fn that pads")
    return np.stack(arrays)


def default_convert(item: Any) -> Any:
    """Returns a single item as it is, for a loader without batches; arrays become Tensors later."""
    return item


def to_arrays(batch: Any) -> Any:
    """Replaces Tensors by NumPy arrays, so that a batch crosses a process border as plain numbers."""
    return map_kind(batch, Tensor, as_array)


def to_tensors(batch: Any) -> Any:
    """Replaces NumPy arrays by Tensors that share their memory."""
    return map_kind(batch, np.ndarray, lambda array: from_numpy(np.require(array, requirements="W")))


def to_device(batch: Any, device: Any) -> Any:
    """Moves the Tensors of a batch to a device; those that are there stay."""
    return map_kind(batch, Tensor, lambda tensor: tensor.to(device))


def map_kind(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """Returns nested containers with `function` applied to what is of the type `kind`."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_kind(item, kind, function) for key, item in value.items()}
    if isinstance(value, tuple):
        items = [map_kind(item, kind, function) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return [map_kind(item, kind, function) for item in value] if isinstance(value, list) else value
