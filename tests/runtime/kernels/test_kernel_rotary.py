# SPDX-License-Identifier: Apache-2.0
"""RotaryEmbedding in all its forms, on odd sizes and several threads, against NumPy in float64."""

import ml_dtypes
import numpy as np
import pytest
from kernel_runner import check, rand, run_node

import penlight_runtime

TOLERANCE = {"float32": 1e-6, "float64": 1e-14, "float16": 2e-3, "bfloat16": 2e-2}  # bits of the result, twice
POSITIONS = 11


def turned(x, cosines, sines, ids, turned_size, in_turns):
    """x: (B, T, H, D), in float64."""
    cosines, sines = (each[ids] if ids is not None else each for each in (cosines, sines))  # (B, T, pairs)
    head, rest = x[..., :turned_size], x[..., turned_size:]
    a, b = (head[..., ::2], head[..., 1::2]) if in_turns else np.split(head, 2, -1)
    cosine, sine = cosines[:, :, None], sines[:, :, None]
    pair = [a * cosine - b * sine, a * sine + b * cosine]
    return np.concatenate([np.stack(pair, -1).reshape(head.shape) if in_turns else np.concatenate(pair, -1), rest], -1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("in_turns", [False, True])
@pytest.mark.parametrize("heads_first", [False, True])
@pytest.mark.parametrize(
    ("sizes", "part", "chosen"), [((2, 3, 5, 38), 0, True), ((1, 4, 2, 70), 36, False), ((3, 1, 1, 2), 2, True)]
)
def test_forms(sizes, part, chosen, heads_first, in_turns, dtype):
    batch, heads, time, size = sizes
    pairs = (part or size) // 2
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    rows = (POSITIONS, pairs) if chosen else (batch, time, pairs)
    x, cosines, sines = (rand(*shape, seed=k).astype(kind) for k, shape in enumerate([(batch, time, heads, size), rows, rows]))
    ids = np.random.default_rng(0).integers(-POSITIONS, POSITIONS, (batch, time)) if chosen else None
    wanted = turned(*(each.astype(np.float64) for each in (x, cosines, sines)), ids, part or size, in_turns)
    attributes = {"interleaved": int(in_turns), "rotary_embedding_dim": part}
    if heads_first:
        x, wanted = (np.ascontiguousarray(each.swapaxes(1, 2)) for each in (x, wanted))
    else:
        x, wanted = (each.reshape(batch, time, heads * size) for each in (x, wanted))
        attributes["num_heads"] = heads
    tolerance = TOLERANCE[dtype] * 16  # of values up to 16
    inputs = [x, cosines, sines, ids]
    results = [
        check("RotaryEmbedding", inputs, wanted.astype(kind), rtol=0, atol=tolerance, threads=threads, **attributes)
        for threads in (1, 3)
    ]
    assert results[0].tobytes() == results[1].tobytes()


REFUSED = [
    ({"num_heads": 3}, (2, 5, 8), (2, 5, 4), None, "num_heads 3 does not divide"),
    ({}, (2, 5, 8), (2, 5, 4), None, "num_heads 0 does not divide"),
    ({"num_heads": 2, "rotary_embedding_dim": 3}, (2, 5, 8), (2, 5, 1), None, "rotary_embedding_dim must be even"),
    ({"num_heads": 2, "rotary_embedding_dim": 6}, (2, 5, 8), (2, 5, 3), None, "rotary_embedding_dim must be even"),
    ({}, (2, 3, 5, 7), (2, 5, 3), None, "rotary_embedding_dim must be even"),
    ({}, (2, 3, 5, 8), (1, 5, 4), None, "must both have shape"),
    ({}, (2, 3, 5, 8), (2, 5, 4), (2, 5), "must both have shape"),
    ({}, (2, 3, 5, 8), (9, 4), (5, 2), "position_ids must have shape"),
]


@pytest.mark.parametrize(("attributes", "x", "rows", "ids", "words"), REFUSED)
def test_refusals(attributes, x, rows, ids, words):
    inputs = [rand(*x), rand(*rows), rand(*rows), None if ids is None else np.zeros(ids, np.int64)]
    with pytest.raises(penlight_runtime.RuntimeFailure, match=words):
        run_node("RotaryEmbedding", inputs, [inputs[0]], **attributes)


@pytest.mark.parametrize(("place", "rows"), [(4, 4), (-5, 4), (0, 0)])
def test_positions_beyond_the_table(place, rows):
    inputs = [rand(1, 1, 2, 4), rand(rows, 2), rand(rows, 2), np.array([[0 if rows else place, place]])]
    with pytest.raises(penlight_runtime.RuntimeFailure, match="is out of range for size"):
        run_node("RotaryEmbedding", inputs, [inputs[0]])
