# SPDX-License-Identifier: Apache-2.0
"""Kinds of operators, by which viewers colour them."""

from __future__ import annotations

import functools
import re

OTHER = "math"

# Our kind, Netron's name for it, and the operators.
_TABLE = [
    (
        "heavy",
        "Layer",
        r"(Fused)?(Conv|ConvTranspose|Gemm|MatMul|MatMulInteger|ConvInteger|QLinear\w+|Einsum|Attention|LSTM|GRU|RNN)",
    ),
    ("norm", "Normalization", r"\w*Norm\w*|LRN|Softmax|LogSoftmax|Dropout"),
    (
        "activation",
        "Activation",
        r"\w*Relu|Elu|Selu|Celu|\w*Gelu|\w*Sigmoid|\w*Swish|Silu|Mish|Tanh|Softplus|Softsign|Clip|Erf|ThresholdedRelu",
    ),
    ("reduce", "Pool", r"\w*Pool|Reduce\w+|Arg\w+|TopK|NonMaxSuppression"),
    (
        "shape",
        "Shape",
        r"Shape|Size|Reshape|Transpose|Squeeze|Unsqueeze|Flatten|Concat|Split|Slice|Gather\w*|Scatter\w*|Expand|Tile|Pad|Range|Cast|"
        r"Constant\w*|Identity|DepthToSpace|SpaceToDepth|Resize|Trilu|OneHot|NonZero",
    ),
    ("control", "Control", r"If|Loop|Scan"),
]


@functools.cache
def category_of(operator: str) -> tuple[str, str]:
    """Our kind and Netron's of an operator's name, with its domain or without; arithmetic is what no line of the table names."""
    name = operator.rpartition(".")[2]
    return next(((kind, netron) for kind, netron, pattern in _TABLE if re.fullmatch(pattern, name)), (OTHER, ""))
