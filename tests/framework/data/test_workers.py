# SPDX-License-Identifier: Apache-2.0
"""Worker processes and threads: what they share, what they know, and how they end."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import data_sets
import numpy as np
import pytest
from data_sets import Augmented, Gated, Large, Split, Squares, Trouble, Whoami, fail_to_start, mark_data_set

from penlight.data import DataLoader, get_worker_info
from penlight.errors import CheckpointError, WorkerError

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

KINDS = {"process": {"multiprocessing_context": "fork"}, "thread": {"worker_kind": "thread"}}


@pytest.fixture(params=KINDS)
def kind(request) -> dict:
    return KINDS[request.param]


def labels(loader) -> list[list[int]]:
    return [batch[1].numpy().tolist() for batch in loader]


def test_any_number_of_workers_reads_the_same(kind):
    expected = [labels(DataLoader(Squares(23), 4, shuffle=True)), [b.numpy().tolist() for b in DataLoader(Augmented(), 5)]]
    for workers in (1, 4):
        assert labels(DataLoader(Squares(23), 4, shuffle=True, num_workers=workers, **kind)) == expected[0]
        assert [b.numpy().tolist() for b in DataLoader(Augmented(), 5, num_workers=workers, **kind)] == expected[1]


def test_large_arrays_come_back_whole(kind):
    found = list(DataLoader(Large(), batch_size=2, num_workers=2, **kind))
    for number, batch in enumerate(found):
        first = 2 * number
        assert batch["name"] == [f"item {first}", f"item {first + 1}"]
        assert batch["small"].numpy().tolist() == [[first, first + 1, first + 2], [first + 1, first + 2, first + 3]]
        expected = np.full((2, 100, 200), [[[first]], [[first + 1]]], np.float32)
        np.testing.assert_array_equal(batch["large"].numpy(), expected)
        np.testing.assert_array_equal(batch["turned"].numpy(), expected.swapaxes(1, 2))
        batch["large"] += 1  # the memory is the trainer's own
    assert found[1]["large"].numpy()[0, 0, 0] == 3


def test_workers_know_who_they_are(kind):
    batches = list(DataLoader(Whoami(6), batch_size=1, num_workers=2, **kind))
    assert [batch["id"].item() for batch in batches] == [0, 1, 0, 1, 0, 1]
    assert {batch["workers"].item() for batch in batches} == {2}
    assert get_worker_info() is None
    ids = {batch["pid"].item() for batch in batches}
    assert len(ids - {os.getpid()}) == (2 if "multiprocessing_context" in kind else 0)


def test_worker_init_runs_in_each_worker():
    loader = DataLoader(Whoami(4), num_workers=2, worker_init_fn=mark_data_set, multiprocessing_context="fork")
    assert [batch["mark"].item() for batch in loader] == [100, 101, 100, 101]
    assert Whoami.mark == 0


def test_a_failing_worker_init_is_told(kind):
    loader = DataLoader(Squares(4), num_workers=2, worker_init_fn=fail_to_start, **kind)
    with pytest.raises(WorkerError, match=r"data worker 0 failed before its first item: OSError: no such camera"):
        labels(loader)


def test_worker_processes_have_random_state_of_their_own():
    loader = DataLoader(Whoami(4), num_workers=2, multiprocessing_context="fork")
    first, second = ([batch["drawn"].item() for batch in loader] for _ in range(2))
    assert len(set(first + second)) == 8
    loader.set_epoch(0)
    assert [batch["drawn"].item() for batch in loader] == first


def test_persistent_workers_stay_for_the_next_pass():
    loader = DataLoader(Whoami(6), shuffle=True, num_workers=2, persistent_workers=True, multiprocessing_context="fork")
    passes = [{batch["pid"].item() for batch in loader} for _ in range(3)]
    assert passes[0] == passes[1] == passes[2]
    assert len(multiprocessing.active_children()) == 2
    loader.close()
    assert multiprocessing.active_children() == []


def test_persistent_workers_survive_a_pass_left_early(kind):
    options = {"batch_size": 2, "shuffle": True, "num_workers": 2, "persistent_workers": True, **kind}
    loader, plain = DataLoader(Squares(40), **options), DataLoader(Squares(40), 2, shuffle=True)
    for taken in (1, 3, 0):
        batches, expected = iter(loader), labels(plain)
        assert [next(batches)[1].numpy().tolist() for _ in range(taken)] == expected[:taken]
        batches.close()
    assert labels(loader) == labels(plain)
    loader.close()


def test_batches_may_come_as_they_are_ready(kind):
    data = Gated(8)
    loader = DataLoader(data, batch_size=2, num_workers=2, in_order=False, **kind)
    batches = iter(loader)
    assert next(batches)[1].numpy().tolist() == [2, 3]  # the worker of the first batch waits
    data.gate.set()
    assert sorted(labels(batches)) == [[0, 1], [4, 5], [6, 7]]
    batches = iter(loader)
    next(batches)
    with pytest.raises(CheckpointError, match="in_order=False"):
        loader.state_dict()
    batches.close()


def test_a_stream_split_by_worker(kind):
    loader = DataLoader(Split(11), batch_size=2, num_workers=3, **kind)
    found = [batch.numpy().tolist() for batch in loader]
    assert found == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8]]
    with pytest.raises(CheckpointError, match="splits by worker"):
        loader.load_state_dict(loader.state_dict() | {"position": 2})
    assert [batch.numpy().tolist() for batch in DataLoader(Split(3), 2)] == [[0, 1], [2]]


def test_a_death_is_told_although_it_is_another_workers_turn():
    data = Gated(64)  # worker 0 would take a minute
    loader = DataLoader(data, batch_size=32, num_workers=2, multiprocessing_context="fork")
    killer = threading.Timer(0.5, kill_the_last_worker)
    killer.start()
    with pytest.raises(WorkerError, match=r"data worker 1 \(process \d+\) was killed by SIGKILL (at|before) "):
        next(iter(loader))
    assert multiprocessing.active_children() == []


def kill_the_last_worker() -> None:
    while len(children := multiprocessing.active_children()) < 2:
        time.sleep(0.05)
    last = max(children, key=lambda child: int(child.name.rpartition("-")[2]))  # ForkProcess-N
    os.kill(last.pid, signal.SIGKILL)


def test_the_traceback_of_a_worker_arrives(kind):
    loader = DataLoader(Trouble(16, 5, "raise"), batch_size=2, num_workers=2, **kind)
    with pytest.raises(WorkerError, match=r"worker 0 failed at item 5: KeyError: 'no such sample'") as caught:
        labels(loader)
    cause = caught.value.__cause__
    if isinstance(cause, KeyError):  # a thread's exception is the cause itself
        names = []
        trace = cause.__traceback__
        while trace is not None:
            names.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        assert names[-1] == "act"
    else:
        assert "in act" in str(cause)
        assert "data_sets.py" in str(cause)


def test_a_thread_that_hangs_is_an_error():
    data = Gated(4)
    with pytest.raises(WorkerError, match=r"data worker 0 \(thread\) made no progress for 0.2 s at item 0"):
        labels(DataLoader(data, num_workers=1, timeout=0.2, worker_kind="thread"))
    data.gate.set()


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {folder!r})
from data_sets import Slow
from penlight.data import DataLoader

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that a shell runs in the background ignore Ctrl-C
    loader = DataLoader(Slow(1000), batch_size=1, num_workers=3, persistent_workers={persistent})
    for number, batch in enumerate(loader):
        if number == 3:
            print("reading", flush=True)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_end_of_the_script_leaves_nothing_behind(tmp_path, number, code):
    script = tmp_path / "loop.py"
    script.write_text(SCRIPT.format(folder=str(Path(data_sets.__file__).parent), persistent=number == signal.SIGINT))
    shared = Path("/dev/shm")
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdout.readline() == b"reading\n"
        assert len(members(process.pid)) >= 4  # the script, three workers, and the server that started them
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)  # Ctrl-C reaches the whole group
        assert process.wait(60) == code
    deadline = time.monotonic() + 60
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert members(process.pid) == []
    left = os.listdir(shared) if shared.exists() else []
    assert not [name for name in left if name.startswith((f"pym-{process.pid}-", "penlight"))]


def members(session: int) -> list[str]:
    """The processes of a session that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(stat.parent.name)
    return found
