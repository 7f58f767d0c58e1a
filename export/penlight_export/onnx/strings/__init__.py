# SPDX-License-Identifier: Apache-2.0
"""String tensors as tensors of bytes: UTF-8 in one more dimension of a fixed width, zeros behind the end."""

from penlight_export.onnx.strings.lower import DEFAULT_WIDTH as DEFAULT_WIDTH
from penlight_export.onnx.strings.lower import LARGEST_WIDTH as LARGEST_WIDTH
from penlight_export.onnx.strings.lower import lower_strings as lower_strings
from penlight_export.onnx.strings.marks import string_metadata as string_metadata
from penlight_export.onnx.strings.marks import vocabulary as vocabulary
