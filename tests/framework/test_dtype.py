# SPDX-License-Identifier: Apache-2.0
"""Dtypes, devices and promotion, without PyTorch at hand."""

import copy
import pickle

import numpy as np
import pytest

import penlight as pl
from penlight.device import device
from penlight.dtype import as_dtype, combine, promote_types
from penlight.errors import ArgumentError, DTypeError


def test_one_object_per_type():
    assert as_dtype("float32") is pl.float32 is as_dtype(np.float32) is as_dtype(np.dtype("float32")) is as_dtype(float)
    assert as_dtype(int) is pl.int64 and as_dtype(bool) is pl.bool and as_dtype("long") is pl.int64
    assert pickle.loads(pickle.dumps(pl.bfloat16)) is pl.bfloat16 and copy.deepcopy(pl.int8) is pl.int8
    assert repr(pl.float16) == "penlight.float16" and pl.float16.itemsize == 2 and pl.float32.numpy == np.float32
    with pytest.raises(DTypeError, match="not supported"):
        as_dtype("text")
    with pytest.raises(DTypeError, match="float32"):
        as_dtype(np.dtype(">f4"))


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        (pl.bool, pl.uint8, pl.uint8),
        (pl.uint8, pl.int8, pl.int16),
        (pl.int64, pl.float16, pl.float16),
        (pl.float16, pl.bfloat16, pl.float32),
        (pl.bfloat16, pl.float32, pl.float32),
        (pl.float32, pl.float64, pl.float64),
        (pl.int8, pl.int32, pl.int32),
    ],
)
def test_promotion(a, b, result):
    assert promote_types(a, b) is result and promote_types(b, a) is result


def test_numbers_and_0_dim_tensors_are_weak():
    assert combine(pl.float16, pl.float64) is pl.float16 and combine(pl.int8, pl.float32) is pl.float32
    half, byte = pl.ones(2, dtype=pl.float16), pl.ones(2, dtype=pl.uint8)
    assert (half * 2.5).dtype is pl.float16 and (half * 1e10).tolist() == [float("inf")] * 2 and (byte + 300).tolist() == [45, 45]
    assert (byte * 1.5).dtype is pl.float32 and (byte + 1).dtype is pl.uint8 and (byte + True).dtype is pl.uint8
    assert (half * pl.tensor(2.0, dtype=pl.float64)).dtype is pl.float16 and (half * pl.ones(2)).dtype is pl.float32
    assert (byte / byte).dtype is pl.float32 and (pl.ones(2, dtype=pl.bool) + 1).dtype is pl.int64


def test_devices():
    assert device("cpu") == "cpu" and device("cuda") == device("cuda:0") and device("cuda", 1) == "cuda:1"
    assert str(device("cuda:1")) == "cuda:1" and repr(device("cpu")) == "device('cpu')" and device(device("cpu")) == device("cpu")
    assert len({device("cuda"), device("cuda:0"), device("cpu")}) == 2 and device("cpu") != "cuda" and device("cpu") != 1
    for name in ("gpu", "cuda:x", ""):
        with pytest.raises(ArgumentError, match="cuda:INDEX"):
            device(name)
