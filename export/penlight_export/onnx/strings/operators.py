# SPDX-License-Identifier: Apache-2.0
"""Operators that read strings: comparing, joining, splitting, casting, normalizing, counting n-grams."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import FUSED_DOMAIN, DataType, Shape, TensorType, Value
from penlight_export.onnx.strings.body import Handler, TextBody
from penlight_export.onnx.strings.letters import case_table, change_case
from penlight_export.onnx.strings.patterns import UnsupportedPattern, automaton

NUMBER_WIDTH = 24  # bytes that NumberToString writes; runtime/kernels/string_number.cpp


def equal(body: TextBody) -> None:
    """Of whole strings."""
    body.width(), body.width(1)
    result = body.fused("StringEqual", body.input(), body.input(1))
    result.type = TensorType(DataType.BOOL)
    body.finish(result)


def index(body: TextBody) -> None:
    """Our own look-up, from the lowering of ai.onnx.ml."""
    body.width(), body.width(1)
    body.keep()


def concat(body: TextBody) -> None:
    """Pairs of strings."""
    width = body.width() + body.width(1)
    body.replace_by_text(body.fused("StringConcat", body.input(), body.input(1)), width)


def split(body: TextBody) -> None:
    """Pieces in one more dimension, and how many each string has."""
    x, node = body.input(), body.node
    attributes = {name: body.attribute(name) for name in ("delimiter", "maxsplit") if body.attribute(name) is not None}
    name = node.outputs[0].name
    pieces = body.fused("StringSplit", x, outputs=2, **attributes)
    counts = body.nodes[-1].outputs[1]
    shape = node.outputs[0].shape or (Shape([*x.shape[:-1], None]) if x.shape is not None else None)
    counts.type, counts.name = TensorType(DataType.INT64), f"{name}.counts"
    body.become_text(pieces, shape, body.width())
    body.finish(*(pieces, counts)[: len(node.outputs)])


def cast(body: TextBody) -> None:
    """From strings to numbers and back."""
    _cast(body, DataType(body.attribute("to")))


def cast_like(body: TextBody) -> None:
    """The same, with the type of an operand."""
    target = DataType.STRING if body.is_text(1) else body.input(1).dtype
    if target is None:
        raise body.refusal("casts strings to a type that is not known")
    _cast(body, target)


def _cast(body: TextBody, target: DataType) -> None:
    x = body.input()
    if target == DataType.STRING:
        if body.is_text():
            body.replace_by_text(body.add("Identity", x), body.width())
            return
        body.replace_by_text(body.fused("NumberToString", _writable(body, x)), NUMBER_WIDTH)
        return
    integer = target.is_integer() and target != DataType.BOOL
    number = body.fused("StringToInteger" if integer else "StringToReal", x)
    number.type = TensorType(DataType.INT64 if integer else DataType.DOUBLE)
    result = body.cast(number, target)
    result.type = TensorType(target)
    body.finish(result)


def _writable(body: TextBody, x: Value) -> Value:
    """A number of one of the types that NumberToString takes."""
    if x.dtype in (DataType.FLOAT, DataType.DOUBLE, DataType.INT64, DataType.UINT64):
        return x
    real = x.dtype is not None and x.dtype.is_floating_point()
    return body.add("Cast", x, to=(DataType.FLOAT if real else DataType.INT64).value)


def normalize(body: TextBody) -> None:
    """Another case, without stop words; one empty string when none is left. `locale` changes nothing: case is that of Unicode."""
    x, rank, action = body.input(), body.known_rank(), body.attribute("case_change_action", "NONE")
    words, width, axis = list(body.attribute("stopwords") or ()), body.width(), rank - 1
    if action not in ("NONE", "LOWER", "UPPER") or rank not in (1, 2):
        raise body.refusal(f"has case_change_action {action} or rank {rank}, expected NONE, LOWER or UPPER and rank 1 or 2")
    compared, y = x, x
    if action != "NONE":
        y = body.fused("StringCase", x, _table(body, action == "UPPER"))
        width += width // 2
    if words:
        if not body.attribute("is_case_sensitive", 0):
            upper = action == "UPPER"
            words = [change_case(word, upper) for word in words]
            compared = y if action != "NONE" else body.fused("StringCase", x, _table(body, False))
        y = _without(body, y, compared, words, axis, width)
    else:
        y = body.add("Identity", y) if y is x else y
    body.replace_by_text(y, width)


def _table(body: TextBody, upper: bool) -> Value:
    return body.constant(case_table(upper), np.int32)


def _without(body: TextBody, y: Value, compared: Value, words: list[str], axis: int, width: int) -> Value:
    found = body.index(compared, np.array(sorted(set(words), key=str.encode), object))
    keep = body.add("Less", body.add("Reshape", found, body.constant([-1], np.int64)), body.constant(0, np.int64))
    kept = body.add("Compress", y, keep, axis=axis)
    blank = body.constant(np.zeros([1] * (axis + 1) + [width]), np.uint8)
    count = body.add("Shape", kept, start=axis, end=axis + 1)
    end, start, axes = (
        body.add("Max", count, body.constant([1], np.int64)),
        body.constant([0], np.int64),
        body.constant([axis], np.int64),
    )
    return body.add("Slice", body.add("Concat", kept, blank, axis=axis), start, end, axes)


def match(body: TextBody) -> None:
    """A regular expression, as the tables of an automaton."""
    try:
        table, classes, ends = automaton(body.attribute("pattern", ""))
    except UnsupportedPattern as error:
        raise body.refusal(f"has a pattern that the edge runtime cannot match: {error}") from error
    tables = [body.constant(table, np.int32), body.constant(classes, np.uint8), body.constant(ends, bool)]
    result = body.fused("StringMatch", body.input(), *tables)
    result.type = TensorType(DataType.BOOL)
    body.finish(result)


def count_ngrams(body: TextBody) -> None:
    """TfIdfVectorizer on numbers of strings; a string that is in no n-gram is -1."""
    pool = [str(text) for text in body.attribute("pool_strings") or ()]
    keys = sorted(set(pool), key=str.encode)
    number = {text: i for i, text in enumerate(keys)}
    names = ("mode", "max_gram_length", "max_skip_count", "min_gram_length", "ngram_counts", "ngram_indexes", "weights")
    attributes = {name: body.attribute(name) for name in names if body.attribute(name) is not None}
    places = body.index(body.input(), np.array(keys, object))
    body.finish(body.add("TfIdfVectorizer", places, pool_int64s=[number[text] for text in pool], **attributes))


HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "Cast"): cast,
    ("", "CastLike"): cast_like,
    ("", "Equal"): equal,
    ("", "RegexFullMatch"): match,
    ("", "StringConcat"): concat,
    ("", "StringNormalizer"): normalize,
    ("", "StringSplit"): split,
    ("", "TfIdfVectorizer"): count_ngrams,
    (FUSED_DOMAIN, "StringIndex"): index,
}
