# SPDX-License-Identifier: Apache-2.0
"""Graph to graph passes on the ONNX IR, each linear in the number of nodes."""

from penlight_export.passes.base import Pass as Pass
from penlight_export.passes.base import PassResult as PassResult
from penlight_export.passes.base import run_passes as run_passes
from penlight_export.passes.conv_batch_norm import FoldBatchNorm as FoldBatchNorm
from penlight_export.passes.dead_code import RemoveDeadCode as RemoveDeadCode
from penlight_export.passes.fold_constants import FoldConstants as FoldConstants
from penlight_export.passes.fold_constants import LiftConstants as LiftConstants
from penlight_export.passes.fold_shapes import FoldShapes as FoldShapes
from penlight_export.passes.fuse_activation import FuseActivation as FuseActivation
from penlight_export.passes.identity import RemoveIdentities as RemoveIdentities
from penlight_export.passes.matmul_add import FuseMatMulAdd as FuseMatMulAdd

# In order: what one uncovers, the next one uses.
DEFAULT: tuple[Pass, ...] = (
    LiftConstants(),
    FoldConstants(),
    FoldShapes(),
    FoldConstants(),
    RemoveIdentities(),
    FoldBatchNorm(),
    FuseMatMulAdd(),
    RemoveDeadCode(),
)
