# SPDX-License-Identifier: Apache-2.0
"""The passes in the order in which they run: what one uncovers, the next one uses."""

from __future__ import annotations

from penlight_export.passes.again import Again
from penlight_export.passes.apart_heads import ApartHeads
from penlight_export.passes.attention import FuseAttention
from penlight_export.passes.base import Pass
from penlight_export.passes.common import MergeCommon
from penlight_export.passes.conv_batch_norm import FoldBatchNorm
from penlight_export.passes.conv_bias import FoldConvBias
from penlight_export.passes.dead_code import RemoveDeadCode
from penlight_export.passes.fold_constants import FoldConstants, LiftConstants
from penlight_export.passes.fold_shapes import FoldShapes
from penlight_export.passes.fuse_activation import FuseActivation
from penlight_export.passes.fuse_linear import FuseLinear
from penlight_export.passes.fuse_norm import FuseNorm
from penlight_export.passes.fuse_residual import FuseResidual
from penlight_export.passes.identity import RemoveIdentities
from penlight_export.passes.matmul_add import FuseMatMulAdd
from penlight_export.passes.merge_products import MergeProducts
from penlight_export.passes.nbits_products import NBitsProducts
from penlight_export.passes.pad_conv import FoldPad
from penlight_export.passes.quantized_layers import QuantizedLayers, QuantizedSums
from penlight_export.passes.quantized_moves import MoveQuantized
from penlight_export.passes.quantized_products import QuantizedProducts
from penlight_export.passes.recognise import RecogniseOperators
from penlight_export.passes.rotary import FuseRotary
from penlight_export.passes.scale_weights import ScaleWeights
from penlight_export.passes.split_products import SplitProducts
from penlight_export.passes.sums import PlainSums, ResidualSums
from penlight_export.passes.time_first import MoveTimeBack
from penlight_export.passes.transposes import SinkTransposes

DEFAULT: tuple[Pass, ...] = (
    LiftConstants(),
    FoldConstants(),
    FoldShapes(),
    FoldConstants(),
    RemoveIdentities(),
    MergeCommon(),
    MoveTimeBack(),
    ApartHeads(),
    SinkTransposes(),
    FoldConvBias(),
    FoldBatchNorm(),
    FoldPad(),
    RecogniseOperators(),
    MoveQuantized(),
    FuseRotary(),
    Again(SinkTransposes(), "RotaryEmbedding"),  # of keys, which attention looks for
    FuseAttention(),
    Again(FoldShapes(), "Attention"),  # whose result has the shape of the queries; products leave sizes open
    Again(RemoveIdentities(), "Attention"),
    Again(MergeCommon(), "Attention"),
    ScaleWeights(),
    FuseMatMulAdd(),
    ResidualSums(),
    RemoveDeadCode(),
    PlainSums(),
    RecogniseOperators(edge_only=True),
    FuseAttention(one_row=True),
    QuantizedLayers(),
    QuantizedSums(),
    QuantizedProducts(),
    NBitsProducts(),
    FuseResidual(),
    FuseActivation(),
    FuseLinear(),
    SplitProducts(),
    FuseNorm(),
)

# One wide product instead of several narrow ones pays on some machines only, so that it runs when it is asked for.
OPTIONAL: tuple[Pass, ...] = (MergeProducts(),)
ALL: tuple[Pass, ...] = (*DEFAULT, *OPTIONAL)
