# SPDX-License-Identifier: Apache-2.0
"""Dropout drawn by the device: known answers of Philox, states that go on, restart and travel, and the gradient."""

import json

import cuda_host
import ml_dtypes
import numpy as np
import pytest

import penlight as pl
from penlight.backends.cpu import CPU
from penlight.backends.cuda import dropout
from penlight.nn import functional as F
from penlight.random import Generator

WORD = 0xFFFFFFFF


def philox(counter, key):
    """Four words of Philox4x32-10, written down a second time."""
    x, key = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [b >> 32 ^ x[1] ^ key[0], b & WORD, a >> 32 ^ x[3] ^ key[1], a & WORD]
        key = [key[0] + 0x9E3779B9 & WORD, key[1] + 0xBB67AE85 & WORD]
    return x


def test_known_answers_of_random123():
    assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox([WORD] * 4, [WORD] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    digits = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]
    assert philox(*digits) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


@pytest.fixture
def kernel(cuda_library, monkeypatch):
    launcher, xp = cuda_host.HostLauncher(cuda_library), cuda_host.Arrays()
    kernel = dropout.table(xp, launcher)["dropout_mask"]
    monkeypatch.setitem(CPU.kernels, "dropout_mask", kernel)
    monkeypatch.setattr(CPU, "xp", xp)
    return kernel


@pytest.mark.parametrize("dtype", ["float32", *(pytest.param(name, marks=pytest.mark.slow) for name in ("float16", "bfloat16"))])
def test_masks_are_the_words_in_order(kernel, dtype):
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    seed, offset = 2**40 + 7, 2**32 - 2
    state = np.array([seed, offset], np.uint64)
    mask = kernel(state, (5, 3), kind, 0.25)
    words = [w for i in range(4) for w in philox([offset + i & WORD, offset + i >> 32, 0, 0], [seed & WORD, seed >> 32])]
    expected = np.where((np.array(words[:15]) >> 8) / 2**24 >= 0.25, np.float64(kind.type(1 / 0.75)), 0).reshape(5, 3)
    np.testing.assert_array_equal(mask.astype(np.float64), expected)
    assert state.tolist() == [seed, offset + 4] and mask.dtype == kind


def test_other_types_are_declined(kernel):
    assert kernel(np.zeros(2, np.uint64), (3,), np.dtype(np.float64), 0.5) is NotImplemented


def test_seeds_repeat_and_draws_differ(kernel):
    x = pl.ones(1000).requires_grad_(True)
    generator = Generator(5)
    first, second = (F.dropout(x, 0.3, generator=generator) for _ in range(2))
    assert not np.array_equal(first.detach().numpy(), second.detach().numpy())
    assert 0.6 < (first.detach().numpy() != 0).mean() < 0.8
    generator.manual_seed(5)
    again = F.dropout(x, 0.3, generator=generator)
    np.testing.assert_array_equal(first.detach().numpy(), again.detach().numpy())
    first.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), first.detach().numpy())


def test_channels_drop_together(kernel):
    result = F.dropout2d(pl.ones(4, 50, 3, 3), 0.5).numpy()
    assert set(np.unique(result.sum((2, 3)))) == {0, 18}


def test_states_travel_as_plain_data(kernel):
    x, generator = pl.ones(100), Generator(1)
    F.dropout(x, 0.5, generator=generator)
    state = json.loads(json.dumps(generator.get_state()))
    assert state["devices"] == {"cpu": [1, 25]}
    expected = F.dropout(x, 0.5, generator=generator).numpy()
    address = generator.on_device("cpu", cuda_host.Arrays()).ctypes.data
    for other in (generator, Generator(2)):
        other.set_state(state)
        np.testing.assert_array_equal(F.dropout(x, 0.5, generator=other).numpy(), expected)
    assert generator.on_device("cpu", cuda_host.Arrays()).ctypes.data == address
    fresh = Generator(3).set_state(state)
    assert fresh.get_state()["devices"] == {"cpu": [1, 25]}
    assert "devices" not in Generator(3).get_state()
