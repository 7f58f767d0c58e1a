# SPDX-License-Identifier: Apache-2.0
"""The server's parts alone: where a model runs, the queue, the byte budget, the log's lines."""

import asyncio
import io
import logging
import threading

import numpy as np
import pytest

import penlight_serving
from penlight_serving.body import ByteBudget
from penlight_serving.log import LineFormatter
from penlight_serving.model import Pace
from penlight_serving.options import Options, available_cpus
from penlight_serving.pool import RunPool
from penlight_serving.tensors import DATATYPES
from penlight_serving.values import from_bytes, from_json, to_bytes, to_json


def test_a_quick_model_runs_on_the_event_loop_and_a_slow_one_does_not() -> None:
    quick, slow = Pace(300), Pace(300)
    assert not quick.is_inline(100)  # not measured yet
    for _ in range(40):
        quick.record(50_000, 100)
        slow.record(500_000, 100)
    assert quick.is_inline(100) and quick.is_inline(400)
    assert not quick.is_inline(401)  # much larger than anything measured
    assert not slow.is_inline(100)


def test_one_long_run_sends_a_quick_model_to_the_threads_for_a_while() -> None:
    pace = Pace(300)
    for _ in range(40):
        pace.record(50_000, 100)
    pace.record(20_000_000, 100)
    assert not pace.is_inline(100)
    for _ in range(200):
        pace.record(50_000, 100)
    assert pace.is_inline(100)


def test_inline_can_be_turned_off() -> None:
    pace = Pace(0)
    for _ in range(40):
        pace.record(1, 100)
    assert not pace.is_inline(100)


def test_the_pool_refuses_beyond_its_queue_and_hands_errors_over() -> None:
    async def scenario() -> None:
        pool, gate = RunPool(threads=1, queue_size=1), threading.Event()
        held = [asyncio.ensure_future(pool.run(gate.wait)) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert pool.waiting == 1
        with pytest.raises(penlight_serving.ServingError) as caught:
            await pool.run(gate.wait)
        assert (caught.value.code, caught.value.status) == ("PL-E4401", 503)
        held[1].cancel()  # gives up its place only when its thread is done with it
        gate.set()
        assert await held[0] is True
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 / 0)
        assert pool.close(timeout_seconds=5)

    asyncio.run(scenario())


def test_the_byte_budget() -> None:
    budget = ByteBudget(10)
    budget.take(10)
    with pytest.raises(penlight_serving.ServingError, match="10 bytes are in hand, the limit is 10"):
        budget.take(1)
    budget.give_back(4)
    budget.take(4)
    assert budget.taken == 10


def test_options_resolve_to_the_machine() -> None:
    assert 1 <= available_cpus() <= 4096
    assert Options().run_threads == available_cpus() and Options().run_concurrency == 2
    assert Options(threads=1, concurrency=5).run_concurrency == 5


def test_log_lines_cannot_be_forged() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    record = logging.LogRecord("penlight.serving", logging.WARNING, "", 0, "an event\nlevel=error event=forged", None, None)
    record.fields = {"name": "x\x1b[31m\r\n", "count": 3, "plain": "word", "list": ["a"]}
    handler.emit(record)
    line = stream.getvalue()
    assert line.count("\n") == 1 and "\x1b" not in line and "\r" not in line
    assert 'event="an event\\nlevel=error event=forged"' in line and "count=3 plain=word" in line


@pytest.mark.parametrize("name", sorted(set(DATATYPES) - {"BYTES"}))
@pytest.mark.parametrize("shape", [[], [0], [3], [2, 0], [2, 3], [1, 2, 3]])
def test_values_survive_json_and_bytes(name: str, shape: list[int]) -> None:
    datatype = DATATYPES[name]
    array = (np.arange(np.prod(shape, dtype=int)) % 2).astype(datatype.dtype).reshape(shape)
    nested = array.tolist()
    flat = array.reshape(-1).tolist()
    for back in (from_json("x", datatype, shape, nested), from_json("x", datatype, shape, flat)):
        assert back.dtype == datatype.dtype and back.shape == tuple(shape)
        np.testing.assert_array_equal(back, array)
    raw = to_bytes(array)
    for offset in range(3):  # the JSON before the bytes has any length
        view = memoryview(bytes(offset) + raw)[offset:]
        back = from_bytes("x", datatype, shape, view)
        assert back.flags.aligned and back.shape == tuple(shape)
        np.testing.assert_array_equal(back, array)


def test_outputs_that_are_not_contiguous_keep_their_order() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert list(to_json(array)[0]) == [0, 3, 1, 4, 2, 5]
    assert np.frombuffer(to_bytes(array), np.float32).tolist() == [0, 3, 1, 4, 2, 5]
    big_endian = np.array([1, 2], ">i4")
    assert to_bytes(big_endian) == b"\x01\0\0\0\x02\0\0\0"
