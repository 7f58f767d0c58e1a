# SPDX-License-Identifier: Apache-2.0
"""Streams, events, properties, pinned memory and prefetching, on the stand-in device."""

import numpy as np
import pytest

import penlight as pl
from penlight.data import DataLoader, TensorDataset
from penlight.errors import ArgumentError, CaptureError, DeviceError


def test_streams_are_entered_and_left(fake_cuda):
    default, side = pl.cuda.default_stream(), pl.cuda.Stream()
    assert pl.cuda.current_stream() == default != side and side.query()
    with pl.cuda.stream(side):
        assert pl.cuda.current_stream() == side and hash(pl.cuda.current_stream()) == hash(side)
        with pl.cuda.stream(None):
            assert pl.cuda.current_stream() == side
    assert pl.cuda.current_stream() == default
    assert f"{side.cuda_stream:#x}" in repr(side)
    with pl.cuda.device(0), pl.cuda.device("cuda:0"):
        assert pl.cuda.current_device() == 0
    side.synchronize()


def test_streams_wait_for_events(fake_cuda):
    first, second = pl.cuda.Stream(), pl.cuda.Stream(priority=-1)
    event = first.record_event()
    second.wait_event(event)
    assert second._stream.waits == [event._event] and second._stream.priority == -1
    second.wait_stream(first)
    event.wait()
    assert len(second._stream.waits) == 2 and fake_cuda.cuda.get_current_stream().waits == [event._event]
    event.synchronize()
    assert event.query() and pl.cuda.Event().query()  # one that was never recorded, as CUDA has it


def test_time_between_events(fake_cuda):
    start, end = pl.cuda.Event(enable_timing=True), pl.cuda.Event(enable_timing=True)
    start.record()
    end.record()
    assert start.elapsed_time(end) > 0
    with pytest.raises(ArgumentError, match="enable_timing=True"):
        start.elapsed_time(pl.cuda.Event())


def test_waiting_within_a_captured_step_is_refused(fake_cuda):
    side = pl.cuda.Stream()
    step = pl.cuda.capture(lambda x: (side.synchronize(), x + 1)[1], warmup=1)
    step(pl.ones(1))
    with pytest.raises(CaptureError, match=r"Stream\.synchronize\(\)"):
        step(pl.ones(1))


def test_properties(fake_cuda):
    found = pl.cuda.get_device_properties("cuda:0")
    assert (found.name, found.major, found.minor, found.multi_processor_count) == ("Stand-in GPU", 9, 0, 132)
    assert pl.cuda.get_device_name() == found.name and pl.cuda.get_device_capability(0) == (9, 0)
    assert found.total_memory == 1 << 32 and pl.cuda.is_bf16_supported() and pl.cuda.device_count() == 2


@pytest.mark.parametrize("dtype", [pl.float32, pl.bfloat16, pl.int64])
def test_copies_from_pinned_memory_do_not_wait(fake_cuda, dtype):
    x = pl.arange(6).reshape(2, 3).to(dtype)
    held = x.pin_memory()
    assert held.is_pinned() and not x.is_pinned() and held.pin_memory() is held and held[1].is_pinned()
    copies = fake_cuda.machine.copies
    copies.clear()
    np.testing.assert_array_equal(held.to("cuda", non_blocking=True).cpu().numpy(), x.numpy())
    np.testing.assert_array_equal(held.to("cuda", dtype, True).cpu().numpy(), x.numpy())
    assert copies == ["H2D async", "D2H"] * 2
    x.to("cuda", non_blocking=True)
    held.to("cuda")
    assert copies[4:] == ["H2D", "H2D"]


def test_memory_that_is_copied_from_stays_until_the_copy_is_done(fake_cuda, monkeypatch):
    memory = pl.backends.cuda.backend().memory
    monkeypatch.setattr(fake_cuda.cuda.Event, "done", False)
    for _ in range(3):
        pl.ones(2).pin_memory().to("cuda", non_blocking=True)
    assert len(memory._in_flight) == 3
    monkeypatch.setattr(fake_cuda.cuda.Event, "done", True)
    pl.ones(2).pin_memory().to("cuda", non_blocking=True)
    assert len(memory._in_flight) == 1


def loader(**options):
    data = TensorDataset(np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10))
    return DataLoader(data, batch_size=4, **options)


def test_a_loader_hands_out_pinned_batches(fake_cuda):
    plain, held = list(loader()), list(loader(pin_memory=True))
    assert all(t.is_pinned() for batch in held for t in batch) and not plain[0][0].is_pinned()
    for one, other in zip(plain, held, strict=True):
        np.testing.assert_array_equal(one[0].numpy(), other[0].numpy())


def test_without_a_device_nothing_is_pinned():
    if pl.cuda.is_available():
        pytest.skip("there is a device")
    x = pl.ones(2)
    assert x.pin_memory() is x and not x.is_pinned() and not next(iter(loader(pin_memory=True)))[0].is_pinned()
    with pytest.raises(DeviceError):
        pl.cuda.Stream()


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_batches_are_on_the_device_before_they_are_asked_for(fake_cuda, depth):
    ahead = pl.cuda.Prefetch(loader(), depth=depth)
    copies = fake_cuda.machine.copies
    expected = [batch[1].tolist() for batch in loader()]
    copies.clear()
    seen, sent = [], []
    for x, y in ahead:
        assert x.device == y.device == pl.device("cuda:0")
        sent.append(sum(copy == "H2D async" for copy in copies))
        seen.append(y.tolist())
    assert seen == expected and len(ahead) == 3
    assert sent == [2 * min(k + 1 + depth, 3) for k in range(3)]


def test_prefetching_waits_on_streams_and_never_on_the_host(fake_cuda):
    before = fake_cuda.machine.synchronisations
    current = fake_cuda.cuda.get_current_stream()
    batches = list(pl.cuda.Prefetch([{"x": pl.ones(2), "name": "a"}, {"x": pl.ones(2, device="cuda"), "name": "b"}]))
    assert [b["name"] for b in batches] == ["a", "b"] and all(b["x"].device.type == "cuda" for b in batches)
    assert len(current.waits) == 2 and fake_cuda.machine.synchronisations == before
    with pytest.raises(ArgumentError, match="depth >= 1, came 0"):
        pl.cuda.Prefetch([], depth=0)
