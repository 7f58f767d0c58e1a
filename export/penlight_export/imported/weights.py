# SPDX-License-Identifier: Apache-2.0
"""Which constants of a file are learned: ONNX does not say, so that their use has to tell."""

from __future__ import annotations

import enum

import numpy as np

from penlight_export.graph import Value


class Role(enum.Enum):
    """What a constant becomes in a module."""

    PARAMETER = 1
    BUFFER = 2
    CONSTANT = 3


# Inputs that hold weights of whatever size.
_WEIGHTS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "GRU": (1, 2, 3),
    "Gemm": (1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3, 7),
    "LayerNormalization": (1, 2),
    "PRelu": (1,),
    "RMSNormalization": (1,),
    "RNN": (1, 2, 3),
}
_STATISTICS: dict[str, tuple[int, ...]] = {"BatchNormalization": (3, 4)}

# Operators whose float constants are numbers of the algorithm, such as bounds, scales and thresholds.
_NUMBERS = {
    "Clip",
    "ConstantOfShape",
    "DequantizeLinear",
    "Dropout",
    "NonMaxSuppression",
    "OneHot",
    "Pad",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "Range",
    "Resize",
    "STFT",
    "Upsample",
}


def role_of(value: Value, array: np.ndarray) -> Role:
    """A weight is a constant of floats that stands where weights stand, or that has several finite elements."""
    if array.dtype.kind not in "fV" or not array.size:  # V: bfloat16
        return Role.CONSTANT
    uses = [(use.node.op_type, use.idx) for use in value.uses()]
    if any(place in _STATISTICS.get(name, ()) for name, place in uses):
        return Role.BUFFER
    if any(place in _WEIGHTS.get(name, ()) for name, place in uses):
        return Role.PARAMETER
    numbers = array.size == 1 or any(name in _NUMBERS for name, _ in uses) or not np.isfinite(array.astype(np.float32)).all()
    return Role.CONSTANT if numbers else Role.PARAMETER
