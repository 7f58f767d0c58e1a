# SPDX-License-Identifier: Apache-2.0
"""Operators that ONNX lacks, written in terms of operators that it has: plain functions of tensors, which are traced.

One file per family. A composite is preferred to a lowering where several nodes are needed: it is tested in eager mode as well.
"""

from penlight_export.onnx.composites import complex_pairs as complex_pairs
from penlight_export.onnx.composites import cumulative as cumulative
from penlight_export.onnx.composites import elementwise as elementwise
from penlight_export.onnx.composites import gradient as gradient
from penlight_export.onnx.composites import index as index
from penlight_export.onnx.composites import linalg as linalg
from penlight_export.onnx.composites import loss as loss
