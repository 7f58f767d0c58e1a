# SPDX-License-Identifier: Apache-2.0
"""The protocol's tensor datatypes, their NumPy dtypes, and the description of a model's inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class DataType:
    """One datatype of the Open Inference Protocol.

    Attributes:
        name: The protocol's name, such as `FP32`.
        dtype: The NumPy dtype, little-endian; `object` for BYTES.
        json_types: The Python types that its values have in parsed JSON.
        config_name: The name in `/config`, such as `TYPE_FP32`.
    """

    name: str
    dtype: np.dtype
    json_types: frozenset[type]
    config_name: str


def _datatype(name: str, dtype: str, *json_types: type, config_name: str = "") -> DataType:
    return DataType(name, np.dtype(dtype), frozenset(json_types), config_name or f"TYPE_{name}")


DATATYPES = {
    datatype.name: datatype
    for datatype in (
        _datatype("BOOL", "?", bool),
        _datatype("UINT8", "u1", int),
        _datatype("UINT16", "<u2", int),
        _datatype("UINT32", "<u4", int),
        _datatype("UINT64", "<u8", int),
        _datatype("INT8", "i1", int),
        _datatype("INT16", "<i2", int),
        _datatype("INT32", "<i4", int),
        _datatype("INT64", "<i8", int),
        _datatype("FP16", "<f2", float, int),
        _datatype("FP32", "<f4", float, int),
        _datatype("FP64", "<f8", float, int),
        _datatype("BYTES", "O", str, config_name="TYPE_STRING"),
    )
}
BY_DTYPE = {datatype.dtype: datatype for datatype in DATATYPES.values()}


@dataclass(frozen=True)
class TensorInfo:
    """An input or output as the model declares it.

    Attributes:
        name: The tensor's name.
        datatype: Its datatype.
        dims: One entry per dimension: its size, or a name when the size is the caller's choice.
    """

    name: str
    datatype: DataType
    dims: tuple[int | str, ...]

    @cached_property
    def shape(self) -> list[int]:
        """The dimensions with -1 for a size that is the caller's choice."""
        return [dim if isinstance(dim, int) else -1 for dim in self.dims]

    def __str__(self) -> str:
        return f"{self.datatype.name}[{','.join(str(dim) for dim in self.dims)}]"
