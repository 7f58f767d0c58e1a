# SPDX-License-Identifier: Apache-2.0
"""finfo, iinfo and the window functions, against PyTorch's."""

import numpy as np
import pytest

import penlight as pl
from penlight.errors import ArgumentError, DTypeError

FLOATING = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")
WINDOWS = ("bartlett", "blackman", "hamming", "hann", "kaiser")


@pytest.mark.parametrize("name", FLOATING)
def test_finfo(name):
    torch = pytest.importorskip("torch")
    ours, theirs = pl.finfo(getattr(pl, name)), torch.finfo(getattr(torch, name))
    for attribute in ("bits", "dtype", "eps", "max", "min", "resolution", "smallest_normal", "tiny"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute


@pytest.mark.parametrize("name", INTEGERS)
def test_iinfo(name):
    torch = pytest.importorskip("torch")
    ours, theirs = pl.iinfo(name), torch.iinfo(getattr(torch, name))
    assert (ours.bits, ours.dtype, ours.max, ours.min) == (theirs.bits, theirs.dtype, theirs.max, theirs.min)


def test_limits_of_the_wrong_kind_are_refused():
    assert pl.finfo().dtype == "float32" and repr(pl.iinfo(pl.int8)) == "iinfo(bits=8, dtype='int8', max=127, min=-128)"
    with pytest.raises(DTypeError, match=r"finfo: expected a floating-point dtype, came penlight.int64; use iinfo"):
        pl.finfo(pl.int64)
    with pytest.raises(DTypeError, match=r"iinfo: expected an integer dtype, came penlight.bool"):
        pl.iinfo(pl.bool)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name, periodic):
    torch = pytest.importorskip("torch")
    for length in (0, 1, 2, 3, 8, 33):
        ours, theirs = (getattr(m, f"{name}_window")(length, periodic, dtype=m.float64) for m in (pl, torch))
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12, atol=1e-15)
    assert getattr(pl, f"{name}_window")(5).dtype is pl.float32


def test_windows_take_their_parameters_and_refuse_others():
    torch = pytest.importorskip("torch")
    for name, parameters in (("hamming", (0.6, 0.3)), ("kaiser", (3.0,))):
        ours, theirs = (getattr(m, f"{name}_window")(9, False, *parameters).numpy() for m in (pl, torch))
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert pl.hann_window(4, requires_grad=True, dtype=pl.float16).requires_grad
    with pytest.raises(ArgumentError, match="kaiser_window: window_length must be 0 or more, came -1"):
        pl.kaiser_window(-1)
    with pytest.raises(DTypeError, match=r"hann_window: expected a floating-point dtype, came penlight.int64"):
        pl.hann_window(3, dtype=pl.int64)
