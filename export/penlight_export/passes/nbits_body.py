# SPDX-License-Identifier: Apache-2.0
"""MatMulNBits of domain ai.penlight by ONNX's own operators: panels are taken apart, scaled, and put side by side."""

from __future__ import annotations

import onnx.parser

from penlight_export.graph import FUSED_DOMAIN, Function, function_from_proto

_NIBBLES = """
    two = Constant <value = int64[1] {2}> ()
    shifts = Constant <value = uint32[8, 1] {0, 4, 8, 12, 16, 20, 24, 28}> ()
    mask = Constant <value = uint32[1] {15}> ()
    words = Unsqueeze (W, two)
    shifted = BitShift <direction = "RIGHT"> (words, shifts)
    nibbles = BitwiseAnd (shifted, mask)
    shape = Constant <value = int64[3] {0, -1, 16}> ()
    numbers = Reshape (nibbles, shape)
    floats = Cast <to = 1> (numbers)
"""
_BYTES = "floats = Cast <to = 1> (W)\n"
_SCALED = """
    zero = Constant <value = int64 {0}> ()
    one = Constant <value = int64 {1}> ()
    sizes = Shape (floats)
    rows = Gather <axis = 0> (sizes, one)
    each = Range (zero, rows, one)
    block = Constant <value_int : int = @block_size> ()
    blocks = Div (each, block)
    points = Gather <axis = 1> (block_points, blocks)
    scales = Gather <axis = 1> (w_scale, blocks)
    whole = Sub (floats, points)
    scaled = Mul (whole, scales)
    turned = Transpose <perm = [1, 0, 2]> (scaled)
    flat = Constant <value = int64[2] {0, -1}> ()
    wide = Reshape (turned, flat)
    depth = Shape <start = -1> (X)
    axis = Constant <value = int64[1] {0}> ()
    n = Constant <value_int : int = @columns> ()
    columns_only = Unsqueeze (n, axis)
    ends = Concat <axis = 0> (depth, columns_only)
    starts = Constant <value = int64[2] {0, 0}> ()
    weight = Slice (wide, starts, ends)
"""


def nbits_body(name: str, overload: str, opset: int) -> Function:
    """The function of an overload, see `nbits_overload`."""
    bits, bias = overload[0], overload.endswith("Bias")
    kind = overload[1:].removesuffix("Bias")
    inputs = ", ".join(["X", "W", "w_scale", "w_zero", "C"][: 5 if bias else 4 if kind else 3])
    if kind == "":
        points = f"middle = Constant <value = float {{{8 if bits == '4' else 0}}}> ()\n zeros = Sub (w_scale, w_scale)\n"
        points += "block_points = Add (zeros, middle)\n"
    else:
        middle = 128 if overload.startswith("8Zeros") else 0
        points = f"middle = Constant <value = float {{{middle}}}> ()\n as_floats = Cast <to = 1> (w_zero)\n"
        points += "block_points = Sub (as_floats, middle)\n"
    last = "product = MatMul (X, weight)\n y = Add (product, C)" if bias else "y = MatMul (X, weight)"
    head = f'<domain: "{FUSED_DOMAIN}", opset_import: ["": {opset}]> {name} <columns, block_size> ({inputs}) => (y)'
    rows = _NIBBLES if bits == "4" else _BYTES
    function = onnx.parser.parse_function(f"{head} {{ {rows} {points} {_SCALED} {last} }}")
    function.overload = overload
    return function_from_proto(function)
