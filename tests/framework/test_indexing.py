# SPDX-License-Identifier: Apache-2.0
"""`x[key]` and `x[key] = v` against NumPy, for every kind of key."""

import numpy as np
import pytest

import penlight as pl
from penlight.errors import ArgumentError, DTypeError, ShapeError

ARRAY = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
MASK = ARRAY % 7 < 3
KEYS = {
    "integer": 1,
    "negative": -1,
    "slice": slice(1, None),
    "step": (slice(None), slice(None, None, 2)),
    "negative step": (slice(None, None, -1), slice(3, 0, -2)),
    "empty slice": slice(2, 2),
    "slice beyond the end": (slice(1, 100), slice(-100, 2)),
    "ellipsis": (..., 1),
    "none": (None, 1, ..., None, slice(1, 3)),
    "all integers": (1, 2, 3),
    "empty tuple": (),
    "list": [0, 2],
    "array": (slice(None), np.array([3, 0, 0])),
    "negative array": np.array([-1, 0]),
    "two arrays": ([0, 2], [1, 3]),
    "two arrays apart": ([0, 2], slice(None), [1, 3]),
    "broadcast arrays": ([[0], [2]], [1, 3]),
    "array and integer": (1, [0, 2]),
    "array and slice": (slice(1, 3), [0, 2], slice(None, None, 2)),
    "array and none": (None, [0, 2]),
    "array of rank 2": (slice(None), [[0, 1], [2, 3]]),
    "empty array": np.zeros(0, np.int64),
    "mask": MASK,
    "mask of the first dimensions": MASK[:, :, 0],
    "mask of one dimension": (slice(None), np.array([True, False, True, False])),
}


def ours(key):
    if isinstance(key, tuple):
        return tuple(map(ours, key))
    return pl.tensor(key) if isinstance(key, (np.ndarray, list)) else key


@pytest.mark.parametrize("name", KEYS)
def test_reading(name):
    expected = ARRAY[KEYS[name]]
    for key in (KEYS[name], ours(KEYS[name])):
        result = pl.tensor(ARRAY)[key]
        assert result.shape == expected.shape
        np.testing.assert_array_equal(result.numpy(), expected)


@pytest.mark.parametrize("name", KEYS)
def test_writing(name):
    shape = ARRAY[KEYS[name]].shape
    for value in (7.0, np.random.default_rng(0).standard_normal(shape).astype(np.float32)):
        x, expected = pl.tensor(ARRAY), ARRAY.copy()
        expected[KEYS[name]] = value
        x[ours(KEYS[name])] = pl.tensor(value) if isinstance(value, np.ndarray) else value
        np.testing.assert_array_equal(x.numpy(), expected)


@pytest.mark.parametrize("name", KEYS)
def test_gradient_of_reading(name):
    x = pl.tensor(ARRAY, requires_grad=True)
    result = x[ours(KEYS[name])]
    weight = np.arange(1, result.numel() + 1, dtype=np.float32).reshape(result.shape)
    (result * pl.tensor(weight)).sum().backward()
    expected = np.zeros_like(ARRAY)
    np.add.at(expected, KEYS[name], weight)
    np.testing.assert_allclose(x.grad.numpy(), expected)


def test_views_and_copies():
    x = pl.tensor(ARRAY)
    assert np.shares_memory(x[1:, ::2].numpy(), x.numpy()) and np.shares_memory(x[::-1].numpy(), x.numpy())
    assert not np.shares_memory(x[[0, 1]].numpy(), x.numpy())
    assert x[pl.tensor(1)].shape == (4, 5)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (3, IndexError, "3 is out of range for dimension 0 of size 3"),
        ([0, 3], IndexError, "0..3 are out of range"),
        ((0, 0, 0, 0), ShapeError, "4 indices are too many"),
        ((..., ...), ArgumentError, "one Ellipsis"),
        (True, DTypeError, "bool is not an index"),
        ("text", DTypeError, "came str"),
        (1.5, DTypeError, "came float"),
        (np.array([0.5]), DTypeError, "integer or bool"),
        (np.ones((2, 4), bool), ShapeError, "mask"),
    ],
)
def test_errors(key, error, message):
    with pytest.raises(error, match=message):
        pl.tensor(ARRAY)[key]
