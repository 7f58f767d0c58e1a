# SPDX-License-Identifier: Apache-2.0
"""What the device's memory holds, and what happens when it runs out, on the stand-in device."""

import sys

import fake_cuda as stand_in
import numpy as np
import pytest

import penlight as pl
import penlight.nn.functional as F
from penlight import nn
from penlight.backends import cuda
from penlight.backends.cuda.memory import in_words
from penlight.errors import DeviceError, OutOfMemoryError


@pytest.fixture
def small(monkeypatch):
    """A device of 1 MiB."""
    cupy = stand_in.cupy(total=1 << 20)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    cuda.backend.cache_clear()
    cuda.backend().kernels.clear()
    yield cupy
    cuda.backend.cache_clear()


class Momentum(pl.optim.Optimizer):
    """Something with a state, by whole-array operations."""

    def update(self, group, parameters):
        for parameter in parameters:
            state = self.state.setdefault(parameter, {"velocity": pl.zeros_like(parameter)})
            state["velocity"]._data += parameter.grad._data
            parameter._data -= state["velocity"]._data * np.float32(0.1)


def test_counts(fake_cuda):
    before = pl.cuda.memory_allocated()
    x = pl.zeros(1024, device="cuda")
    assert pl.cuda.memory_allocated() - before == 4096 and pl.cuda.memory_reserved() >= pl.cuda.memory_allocated()
    pl.cuda.reset_peak_memory_stats()
    y = pl.zeros(2048, device="cuda")
    del y
    z = pl.zeros(16, device="cuda")
    assert pl.cuda.max_memory_allocated() == before + 4096 + 8192
    pl.cuda.reset_peak_memory_stats()
    assert pl.cuda.max_memory_allocated() == pl.cuda.memory_allocated() == before + 4096 + 512
    del x, z
    pl.cuda.empty_cache()
    assert pl.cuda.memory_reserved() == pl.cuda.memory_allocated()
    assert pl.cuda.mem_get_info()[1] == 1 << 32


def test_the_summary_names_the_holders(fake_cuda):
    model = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 2)).to("cuda")
    model(pl.ones(1, 64, device="cuda")).sum().backward()
    optimizer = Momentum(model.parameters(), {})
    optimizer.step()
    lines = pl.cuda.memory_summary().splitlines()
    assert lines[0].startswith("device ") and "of 4 GiB" in lines[0]
    text = "\n".join(lines)
    for held in (
        "Sequential 0.weight: 8 KiB",
        "gradient of Sequential 0.weight: 8 KiB",
        "Momentum velocity of Sequential 0.weight",
    ):
        assert held in text, text


def test_without_a_device_the_counts_are_zero(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    cuda.backend.cache_clear()
    try:
        names = ("memory_allocated", "memory_reserved", "max_memory_allocated", "device_count")
        assert [getattr(pl.cuda, name)() for name in names] == [0] * 4
        assert pl.cuda.memory_summary() == "no CUDA device"
        pl.cuda.empty_cache()
        pl.cuda.reset_peak_memory_stats()
        with pytest.raises(DeviceError, match=r"penlight\[cuda13\]"):
            pl.cuda.mem_get_info()
    finally:
        cuda.backend.cache_clear()


def train(model, optimizer, rows):
    optimizer.zero_grad()
    x = pl.ones(rows, 64, device="cuda")
    F.relu(model(x)).square().mean().backward()
    optimizer.step()


def test_out_of_memory_says_what_is_held_and_leaves_all_as_it_was(small):
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)).to("cuda")
    optimizer = Momentum(model.parameters(), {})
    train(model, optimizer, 8)
    state = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
    velocity = [entry["velocity"].cpu().numpy() for entry in optimizer.state.values()]
    with pytest.raises(OutOfMemoryError) as caught:
        train(model, optimizer, 2000)
    text = str(caught.value)
    assert text.startswith("cuda: out of memory: 500 KiB were asked for; the device has ")
    for part in ("of 1 MiB", "tensors hold ", "the pool keeps ", "The largest holders: ", "Sequential 0.weight", "smaller batch"):
        assert part in text, text
    assert isinstance(caught.value, MemoryError) and (caught.value.code, caught.value.exit_code) == ("PL-E1602", 4)
    caught = None
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.cpu().numpy(), state[name])
    for entry, before in zip(optimizer.state.values(), velocity, strict=True):
        np.testing.assert_array_equal(entry["velocity"].cpu().numpy(), before)
    train(model, optimizer, 16)
    assert not np.array_equal(model[0].weight.detach().cpu().numpy(), state["0.weight"])


def test_out_of_memory_within_a_captured_step(small):
    step = pl.cuda.capture(lambda x: (x * 2 + 1) * x, warmup=1)
    with pytest.raises(OutOfMemoryError, match="cuda: out of memory"):
        step(pl.ones(90_000))
    assert float(step(pl.ones(10)).sum()) == 30


def test_sizes_in_words():
    sizes = (0, 1023, 1024, 1536, 5 << 20, 80 << 30, 3 << 40)
    assert [in_words(size) for size in sizes] == ["0 bytes", "1023 bytes", "1 KiB", "1.5 KiB", "5 MiB", "80 GiB", "3 TiB"]
