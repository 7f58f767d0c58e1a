# SPDX-License-Identifier: Apache-2.0
"""Kernels on strings, which are rows of bytes: values against Python's str, wrong tables, sizes that do not fit."""

import numpy as np
import pytest
from kernel_runner import one, run_node

import penlight_runtime

OURS = {"domain": "ai.penlight"}


def as_bytes(texts, width):
    array = np.array([text.encode() for text in np.ravel(texts)], f"S{width}")
    return array.view(np.uint8).reshape(*np.shape(texts), width)


def as_texts(array):
    flat = np.ascontiguousarray(array).reshape(-1, array.shape[-1])
    return np.array([bytes(row).rstrip(b"\0").decode() for row in flat], object).reshape(array.shape[:-1]).tolist()


TEXTS = ["", "a", "b", "ab", "été", "abcdefgh"]


def test_equal_of_different_widths_and_shapes():
    a, b = as_bytes([[text] for text in TEXTS], 9), as_bytes(TEXTS, 8)
    np.testing.assert_array_equal(one("StringEqual", [a, b], np.eye(6, dtype=bool), **OURS), np.eye(6, dtype=bool))


def test_what_stands_behind_a_zero_is_no_part():
    dirty = as_bytes(["ab"], 6)
    dirty[0, 4] = ord("x")
    assert one("StringEqual", [dirty, as_bytes(["ab"], 2)], np.ones(1, bool), **OURS).all()
    joined = one("StringConcat", [dirty, as_bytes(["c"], 2)], np.zeros((1, 8), np.uint8), **OURS)
    assert joined.tobytes() == b"abc\0\0\0\0\0"


def test_index_among_sorted_keys():
    keys = sorted(TEXTS, key=str.encode)
    x = as_bytes([["b", "zzz", ""], ["été", "aa", "abcdefgh"]], 12)
    expected = [[keys.index("b"), -1, keys.index("")], [keys.index("été"), -1, keys.index("abcdefgh")]]
    found = one("StringIndex", [x, as_bytes(keys, 8)], np.zeros((2, 3), np.int64), **OURS)
    assert found.tolist() == expected
    assert (one("StringIndex", [x, np.zeros((0, 3), np.uint8)], found, **OURS) == -1).all()


@pytest.mark.parametrize("most", [None, 0, 1, 2, -1, 2**62])
@pytest.mark.parametrize("delimiter", [None, "", ",", "ab"])
def test_split(most, delimiter):
    texts = ["a,b,,c", ",", "abcabab", "  x\t y  z", "", "   ", "é,ü"]
    attributes = {name: value for name, value in (("maxsplit", most), ("delimiter", delimiter)) if value is not None}
    limit = -1 if most is None or most > 100 else most
    expected = [text.split(delimiter or None, limit) for text in texts]
    if not delimiter:  # the rest loses white space at its end, see strings.cpp
        expected = [[piece.rstrip() for piece in pieces] for pieces in expected]
    expected[4] = []
    pieces, counts = run_node(
        "StringSplit", [as_bytes(texts, 12)], [np.zeros((7, 1, 12), np.uint8), np.zeros(7, np.int64)], **attributes, **OURS
    )
    assert counts.tolist() == [len(each) for each in expected]
    assert pieces.shape[1] == max(map(len, expected))
    assert as_texts(pieces) == [each + [""] * (pieces.shape[1] - len(each)) for each in expected]


def test_empty_tensors():
    nothing, flags = np.zeros((0, 4), np.uint8), np.zeros(0, bool)
    assert one("StringEqual", [nothing, nothing], flags, **OURS).shape == (0,)
    assert one("StringConcat", [nothing, as_bytes(["a"], 1)], nothing, **OURS).shape == (0, 5)
    (pieces,) = run_node("StringSplit", [nothing], [np.zeros((0, 1, 4), np.uint8)], **OURS)
    assert pieces.shape == (0, 0, 4)
    no_room = np.zeros((2, 0), np.uint8)
    assert one("StringEqual", [no_room, no_room], np.ones(2, bool), **OURS).all()
    assert one("StringCase", [no_room, np.zeros((0, 4), np.int32)], no_room, **OURS).shape == (2, 0)


def test_no_utf8_has_no_case():
    table = np.array([[97, 26, 1, -32]], np.int32)
    assert as_texts(one("StringCase", [as_bytes(["aé"], 4), table], np.zeros((1, 6), np.uint8), **OURS)) == ["Aé"]
    for raw in (b"\xff", b"a\xc3", b"\xe2\x82", b"\xc3a", b"\xc0\x80"):
        x = np.frombuffer(raw.ljust(4, b"\0"), np.uint8)[None]
        with pytest.raises(penlight_runtime.InvalidValue, match="string 0 is no UTF-8"):
            one("StringCase", [x, table], np.zeros((1, 6), np.uint8), **OURS)


WRONG_TABLES = {
    "longer": ("StringCase", [as_bytes(["aaa"], 3), np.array([[97, 1, 1, 0x10000]], np.int32)], "longer than by half"),
    "state": (
        "StringMatch",
        [as_bytes(["a"], 1), np.array([[5]], np.int32), np.zeros(256, np.uint8), np.ones(1, bool)],
        "state 5 is out of range",
    ),
    "class": (
        "StringMatch",
        [as_bytes(["a"], 1), np.array([[0]], np.int32), np.full(256, 3, np.uint8), np.ones(1, bool)],
        "class 3 of a byte is out of range",
    ),
    "sizes": (
        "StringMatch",
        [as_bytes(["a"], 1), np.array([[0]], np.int32), np.zeros(255, np.uint8), np.ones(1, bool)],
        "do not fit together",
    ),
    "columns": ("StringCase", [as_bytes(["a"], 1), np.zeros((1, 3), np.int32)], "not 4 columns"),
    "pairs": (
        "PairwiseCoupling",
        [np.zeros((2, 3), np.float32), np.zeros(3, np.float32), np.zeros(3, np.float32)],
        "does not fit that of classes",
    ),
}


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_wrong_tables(name):
    operator, inputs, words = WRONG_TABLES[name]
    reference = np.zeros(1, bool) if operator == "StringMatch" else np.zeros((1, 1), inputs[0].dtype)
    with pytest.raises(penlight_runtime.InvalidProgram, match=words):
        one(operator, inputs, reference, **({"classes": 4} if name == "pairs" else {}), **OURS)


def test_odd_case_tables_do_no_harm():
    x = as_bytes(["az\U0010ffff"], 8)
    for row in ([97, 5, 0, 1], [97, -1, 1, 1], [97, 30, -2, 1], [97, 1, 1, -97], [-(2**31), 2**31 - 1, 1, 2**31 - 1]):
        found = one("StringCase", [x, np.array([row], np.int32)], np.zeros((1, 12), np.uint8), **OURS)
        assert found.tobytes().rstrip(b"\0") == "az\U0010ffff".encode()


def test_ranks_and_dtypes():
    x, deep = as_bytes(["a"], 1), np.zeros((1,) * 8, np.uint8)
    for operator, inputs in (("StringEqual", [x, x.astype(np.int8)]), ("StringCase", [x, np.zeros((1, 4), np.int64)])):
        with pytest.raises(penlight_runtime.UnsupportedOperator, match="dtype int"):
            one(operator, inputs, np.zeros(1, bool), **OURS)
    with pytest.raises(penlight_runtime.ShapeMismatch, match="more than 8 dimensions"):
        one("StringSplit", [deep], deep, **OURS)
    with pytest.raises(penlight_runtime.ShapeMismatch, match="rank 0"):
        one("StringEqual", [np.zeros((), np.uint8), x], np.zeros(1, bool), **OURS)


def test_probabilities_by_coupling():
    """Two classes have one solution in the limit; the loose stopping rule of libsvm keeps it within 1e-3."""
    scores = np.linspace(-3, 3, 9, dtype=np.float32)[:, None]
    a, b = np.array([-1.2], np.float32), np.array([0.3], np.float32)
    found = one("PairwiseCoupling", [scores, a, b], np.zeros((9, 2), np.float32), classes=2, **OURS)
    np.testing.assert_allclose(found[:, 0], 1 / (1 + np.exp(scores[:, 0] * a + b)), atol=5e-3)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
