# SPDX-License-Identifier: Apache-2.0
"""The support table follows from the declarations."""

from penlight.ops.operator import Gap, NotExported
from penlight.ops.registry import operators
from penlight_export.support import support_table

ROWS = {row.operator: row for row in support_table()}


def test_every_operator_has_a_row():
    assert list(ROWS) == sorted(operators())
    assert ROWS["leaky_relu"].onnx == "LeakyRelu(alpha=slope)"
    assert ROWS["cumprod"].onnx == "composite" and ROWS["slice"].onnx == "nodes"
    assert ROWS["bitwise_and"].opset == 18 and ROWS["relu"].opset == 17


def test_gaps_say_why():
    for name, cls in operators().items():
        row = ROWS[name]
        assert (row.onnx == "-") == (isinstance(cls.onnx, NotExported) or cls.is_random)
        assert bool(row.reason) == (row.onnx == "-" or isinstance(cls.edge, Gap)), name


def test_dtypes_come_from_calls():
    assert {"float16", "bfloat16", "float32", "float64"} <= set(ROWS["relu"].dtypes)
    assert "int64" in ROWS["reshape"].dtypes
