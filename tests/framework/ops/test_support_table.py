# SPDX-License-Identifier: Apache-2.0
"""`python -m penlight.ops` prints every operator once, and every gap with its reason."""

from penlight.ops import operators
from penlight.ops.__main__ import gaps, main, rows
from penlight.ops.operator import Gap


def test_every_operator_has_a_row():
    table = rows()
    assert [row[0] for row in table] == sorted(operators())
    by_name = {row[0]: row for row in table}
    assert by_name["leaky_relu"][1:4] == ("yes", "yes", "LeakyRelu(alpha=slope)")
    assert by_name["argmax"][1] == "-" and by_name["eigh"][3] == "-"


def test_every_gap_has_a_reason():
    expected = {
        name for name, cls in operators().items() if any(isinstance(getattr(cls, p), Gap) for p in ("gradient", "onnx", "edge"))
    }
    assert {line.partition(":")[0] for line in gaps()} == expected


def test_the_table_is_printed(capsys):
    main()
    out = capsys.readouterr().out
    assert out.startswith("operator") and "\nGaps\n" in out and "eigh: onnx: ONNX has no eigenvalues" in out
