# SPDX-License-Identifier: Apache-2.0
"""Random basic, advanced and boolean indices, read, written and differentiated, against NumPy."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penlight as pl

DERANDOMIZED = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple)


@st.composite
def slices(draw, size):
    bound = st.none() | st.integers(-size - 2, size + 2)
    return slice(draw(bound), draw(bound), draw(st.none() | st.integers(1, 3)))  # PyTorch has no negative steps


@st.composite
def basic(draw, shape):
    """Integers, slices, None and one ellipsis."""
    parts = []
    for size in shape[: draw(st.integers(0, len(shape)))]:
        number = st.integers(-size, size - 1) if size else st.nothing()
        parts.append(draw(slices(size) | number))
    for _ in range(draw(st.integers(0, 2))):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts.append(...)
    return tuple(parts)


@st.composite
def advanced(draw, shape):
    """Integer arrays that broadcast, among slices and numbers."""
    broadcast = draw(st.sampled_from([(3,), (2, 3), (1,), (0,), ()]))
    parts = []
    for size in shape:
        kind = draw(st.sampled_from(["array", "slice", "number", "column"]))
        if not size and kind in ("array", "number", "column"):
            kind = "slice"
        if kind in ("array", "column"):
            wanted = broadcast if kind == "array" else tuple(1 for _ in broadcast)
            count = int(np.prod(wanted))
            values = draw(st.lists(st.integers(-size, size - 1), min_size=count, max_size=count))
            parts.append(np.array(values, np.int64).reshape(wanted))
        elif kind == "number":
            parts.append(draw(st.integers(-size, size - 1)))
        else:
            parts.append(draw(slices(size)))
    return tuple(parts[: draw(st.integers(1, len(parts)))])


@st.composite
def masks(draw, shape):
    """A mask over the first dimensions, and slices behind it."""
    ndim = draw(st.integers(1, len(shape)))
    count = int(np.prod(shape[:ndim]))
    mask = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), bool).reshape(shape[:ndim])
    return (mask, *(draw(slices(size)) for size in shape[ndim : ndim + draw(st.integers(0, len(shape) - ndim))]))


def as_tensors(key):
    return tuple(pl.tensor(part) if isinstance(part, np.ndarray) else part for part in key)


def selected(array, key):
    """A view and a key without numbers: as PyTorch, and unlike NumPy, numbers beside arrays select first."""
    if not any(isinstance(part, np.ndarray) for part in key):
        return array, key
    numbers = tuple(part if isinstance(part, int) else slice(None) for part in key)
    return array[numbers], tuple(part for part in key if not isinstance(part, int))


def put(array, key, value):
    view, rest = selected(array, key)
    view[rest] = value


def get(array, key):
    view, rest = selected(array, key)
    return view[rest]


def check(data, key):
    """Read, gradient of the read, write of a number, of an array, and the gradient of the write."""
    wanted = get(data, key)
    x = pl.tensor(data, requires_grad=True)
    found = x[as_tensors(key)]
    assert found.shape == wanted.shape
    np.testing.assert_array_equal(found.detach().numpy(), wanted)
    weight = np.arange(wanted.size, dtype=np.float64).reshape(wanted.shape) + 1
    (found * pl.tensor(weight)).sum().backward()
    gradient = np.zeros_like(data)
    np.add.at(*selected(gradient, key), weight)
    np.testing.assert_allclose(x.grad.numpy(), gradient, rtol=1e-12)
    written, copy = pl.tensor(data), data.copy()
    written[as_tensors(key)] = -7.0
    put(copy, key, -7.0)
    np.testing.assert_array_equal(written.numpy(), copy)
    # Where an index repeats, the last or the first value may win: one number per place.
    places = get(np.arange(data.size, dtype=np.float64).reshape(data.shape), key)
    value = pl.tensor(places, requires_grad=True)
    target = pl.tensor(data, requires_grad=True)
    result = target * 1.0
    result[as_tensors(key)] = value
    expected = data.copy()
    put(expected, key, places)
    np.testing.assert_array_equal(result.detach().numpy(), expected)
    result.sum().backward()
    untouched = np.ones_like(data)
    put(untouched, key, 0)
    np.testing.assert_array_equal(target.grad.numpy(), untouched)
    assert value.grad.shape == value.shape


def data_of(shape):
    return np.arange(np.prod(shape), dtype=np.float64).reshape(shape) + 0.5


@pytest.mark.parametrize("indices", [basic, advanced, masks])
def test_random_indices(indices):
    @DERANDOMIZED
    @given(st.data(), SHAPES)
    def run(draws, shape):
        check(data_of(shape), draws.draw(indices(shape)))

    run()


@pytest.mark.parametrize("indices", [basic, advanced, masks])
def test_random_indices_of_views(indices):
    @settings(DERANDOMIZED, max_examples=40)
    @given(st.data(), st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)))
    def run(draws, shape):
        whole = pl.tensor(data_of(tuple(2 * n for n in shape)))
        view = whole[::2, 1::2].transpose(0, 2)[::2]
        plain = whole.numpy().copy()[::2, 1::2].swapaxes(0, 2)[::2]
        key = draws.draw(indices(plain.shape))
        np.testing.assert_array_equal(view[as_tensors(key)].numpy(), get(plain, key))
        view[as_tensors(key)] = -1.0
        put(plain, key, -1.0)
        np.testing.assert_array_equal(view.numpy(), plain)

    run()
