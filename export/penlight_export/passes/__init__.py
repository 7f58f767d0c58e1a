# SPDX-License-Identifier: Apache-2.0
"""Graph to graph passes on the ONNX IR, each linear in the number of nodes."""

from penlight_export.passes.attention import FuseAttention as FuseAttention
from penlight_export.passes.base import Pass as Pass
from penlight_export.passes.base import PassResult as PassResult
from penlight_export.passes.base import portable as portable
from penlight_export.passes.base import run_passes as run_passes
from penlight_export.passes.common import MergeCommon as MergeCommon
from penlight_export.passes.conv_batch_norm import FoldBatchNorm as FoldBatchNorm
from penlight_export.passes.conv_bias import FoldConvBias as FoldConvBias
from penlight_export.passes.dead_code import RemoveDeadCode as RemoveDeadCode
from penlight_export.passes.fold_constants import FoldConstants as FoldConstants
from penlight_export.passes.fold_constants import LiftConstants as LiftConstants
from penlight_export.passes.fold_shapes import FoldShapes as FoldShapes
from penlight_export.passes.fuse_activation import FuseActivation as FuseActivation
from penlight_export.passes.fuse_linear import FuseLinear as FuseLinear
from penlight_export.passes.fuse_norm import FuseNorm as FuseNorm
from penlight_export.passes.fuse_residual import FuseResidual as FuseResidual
from penlight_export.passes.identity import RemoveIdentities as RemoveIdentities
from penlight_export.passes.matmul_add import FuseMatMulAdd as FuseMatMulAdd
from penlight_export.passes.merge_products import MergeProducts as MergeProducts
from penlight_export.passes.pad_conv import FoldPad as FoldPad
from penlight_export.passes.quantized_layers import QuantizedLayers as QuantizedLayers
from penlight_export.passes.quantized_layers import QuantizedSums as QuantizedSums
from penlight_export.passes.quantized_moves import MoveQuantized as MoveQuantized
from penlight_export.passes.quantized_products import DequantizedProducts as DequantizedProducts
from penlight_export.passes.quantized_products import QuantizedProducts as QuantizedProducts
from penlight_export.passes.recognise import RecogniseOperators as RecogniseOperators
from penlight_export.passes.rotary import FuseRotary as FuseRotary
from penlight_export.passes.scale_weights import ScaleWeights as ScaleWeights
from penlight_export.passes.selection import select_passes as select_passes
from penlight_export.passes.sums import PlainSums as PlainSums
from penlight_export.passes.sums import ResidualSums as ResidualSums
from penlight_export.passes.table import ALL as ALL
from penlight_export.passes.table import DEFAULT as DEFAULT
from penlight_export.passes.time_first import MoveTimeBack as MoveTimeBack
from penlight_export.passes.transposes import SinkTransposes as SinkTransposes
