# SPDX-License-Identifier: Apache-2.0
"""The decoder of the benchmark is the same one on both engines, and its floor counts what a token reads."""

import sys
from pathlib import Path

import onnx
import pytest

from penlight_export import convert

sys.path.insert(0, str(Path(__file__).parent))
import decode  # the benchmarks are scripts beside this file


@pytest.mark.parametrize(("kind", "packed"), [("f32", 0), ("int8", 5), ("int4", 5)])
def test_one_token(tmp_path, kind, packed):
    model = decode.float_model(1, 100)
    if packed:
        model = decode.quantized(model, decode.KINDS[kind])
    onnx.save(model, tmp_path / "m.onnx")
    result = convert(tmp_path / "m.onnx", tmp_path / "m.pen")
    assert result.report.ok and result.summary.operators.get("ai.penlight.MatMulNBits", 0) == packed
    weights = decode.WIDTH * decode.WIDTH * 12 + 100 * decode.WIDTH
    bits = decode.KINDS[kind] + 1 if packed else 32  # a scale for each 32
    caches = 2 * decode.PAST * decode.WIDTH * 4
    assert weights * bits // 8 + caches < decode.bytes_read(model) < 1.01 * (weights * bits // 8 + caches)
