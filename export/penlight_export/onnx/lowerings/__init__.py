# SPDX-License-Identifier: Apache-2.0
"""Lowerings of the framework's operators to ONNX, a file per family, as in penlight/ops."""

from penlight_export.onnx.lowerings import activation as activation
from penlight_export.onnx.lowerings import attention as attention
from penlight_export.onnx.lowerings import conv as conv
from penlight_export.onnx.lowerings import create as create
from penlight_export.onnx.lowerings import elementwise as elementwise
from penlight_export.onnx.lowerings import formula as formula
from penlight_export.onnx.lowerings import index as index
from penlight_export.onnx.lowerings import matmul as matmul
from penlight_export.onnx.lowerings import norm as norm
from penlight_export.onnx.lowerings import pool as pool
from penlight_export.onnx.lowerings import recurrent as recurrent
from penlight_export.onnx.lowerings import reduction as reduction
from penlight_export.onnx.lowerings import rotary as rotary
from penlight_export.onnx.lowerings import shape as shape
