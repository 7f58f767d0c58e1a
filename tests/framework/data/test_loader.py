# SPDX-License-Identifier: Apache-2.0
"""The loader: order, resume, workers, and what happens when a worker fails."""

import multiprocessing
import os
import signal
import subprocess
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
from data_sets import Augmented, Count, Slow, Squares, Trouble, Unpicklable

from penlight.data import DataLoader, Dataset, RandomSampler, TensorDataset, WeightedRandomSampler
from penlight.data.pool import SILENCE_SECONDS, START_SECONDS, Member
from penlight.data.worker import BEAT, ITEM, POLL_SECONDS
from penlight.errors import CheckpointError, DataError, WorkerError

# Fork is what users may choose; newer Pythons warn of it where a library has threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def labels(loader) -> list[list[int]]:
    return [batch[1].numpy().tolist() for batch in loader]


def test_batches_in_order():
    loader = DataLoader(Squares(5), batch_size=2)
    batches = list(loader)
    assert len(loader) == 3
    assert [b[1].numpy().tolist() for b in batches] == [[0, 1], [2, 3], [4]]
    assert batches[1][0].numpy().tolist() == [[4.0], [9.0]]
    assert batches[0][0].numpy().dtype == np.float32
    assert batches[0][1].numpy().dtype == np.int64


def test_drop_last():
    loader = DataLoader(Squares(5), batch_size=2, drop_last=True)
    assert len(loader) == 2
    assert labels(loader) == [[0, 1], [2, 3]]


def test_empty_data_set():
    assert list(DataLoader(Squares(0), batch_size=4, shuffle=True)) == []


def test_shuffle_depends_on_seed_and_epoch_alone():
    first, second = (DataLoader(Squares(50), batch_size=7, shuffle=True, seed=3) for _ in range(2))
    np.random.seed(0)  # global state must not matter
    epochs = [labels(first) for _ in range(3)]
    np.random.seed(1)
    assert [labels(second) for _ in range(3)] == epochs
    assert len({str(epoch) for epoch in epochs}) == 3
    assert all(sorted(chain(*epoch)) == list(range(50)) for epoch in epochs)
    assert labels(DataLoader(Squares(50), batch_size=7, shuffle=True, seed=4)) != epochs[0]


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].tolist()
    labels(DataLoader(Squares(50), batch_size=7, shuffle=True))
    assert np.random.get_state()[1].tolist() == before


def test_set_epoch():
    loader = DataLoader(Squares(20), batch_size=20, shuffle=True)
    epochs = [labels(loader) for _ in range(3)]
    loader.set_epoch(1)
    assert labels(loader) == epochs[1]
    assert labels(loader) == epochs[2]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [0, 1, 4, 8])
def test_resume_goes_on_with_the_next_batch(taken, workers):
    options = {"batch_size": 3, "shuffle": True, "seed": 5}
    whole = DataLoader(Squares(24), **options)
    expected = [labels(whole) for _ in range(2)]
    loader = DataLoader(Squares(24), num_workers=workers, multiprocessing_context="fork", **options)
    list(loader)  # epoch 0
    batches = iter(loader)
    for _ in range(taken):
        next(batches)
    state = loader.state_dict()
    batches.close()
    assert (state["epoch"], state["position"]) == (1, taken)
    resumed = DataLoader(Squares(24), num_workers=workers, multiprocessing_context="fork", **options)
    resumed.load_state_dict(state)
    assert labels(resumed) == expected[1][taken:]
    assert resumed.state_dict()["epoch"] == 2
    assert labels(resumed) == labels(whole)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"batch_size": 5}])
def test_resume_refuses_another_order(changed):
    state = DataLoader(Squares(9), **({"batch_size": 3, "seed": 0} | changed)).state_dict()
    with pytest.raises(CheckpointError, match=next(iter(changed))):
        DataLoader(Squares(9), batch_size=3).load_state_dict(state)


def test_a_pass_left_early_is_followed_by_the_next_epoch():
    loader = DataLoader(Squares(20), batch_size=5, shuffle=True)
    epochs = [labels(loader) for _ in range(2)]
    loader.set_epoch(0)
    next(iter(loader))
    assert labels(loader) == epochs[1]


@pytest.mark.parametrize(("workers", "context"), [(1, "fork"), (3, "fork"), (2, "forkserver"), (2, "spawn")])
def test_workers_give_the_same_batches(workers, context):
    loader = DataLoader(Squares(23), batch_size=4, shuffle=True, num_workers=workers, multiprocessing_context=context)
    assert labels(loader) == labels(DataLoader(Squares(23), batch_size=4, shuffle=True))
    assert multiprocessing.active_children() == []


def test_more_workers_than_batches():
    assert labels(DataLoader(Squares(3), batch_size=2, num_workers=4, multiprocessing_context="fork")) == [[0, 1], [2]]


def test_large_batches_through_workers():
    data = np.arange(400_000, dtype=np.float32).reshape(20, 20_000)
    loader = DataLoader(TensorDataset(data), batch_size=4, num_workers=2, multiprocessing_context="fork")
    np.testing.assert_array_equal(np.concatenate([batch.numpy() for (batch,) in loader]), data)


@pytest.mark.parametrize("workers", [1, 2])
def test_augmentation_does_not_depend_on_workers_or_resume(workers):
    expected = [batch.numpy() for batch in DataLoader(Augmented(), batch_size=3, seed=1)]
    loader = DataLoader(Augmented(), batch_size=3, seed=1, num_workers=workers, multiprocessing_context="fork")
    loader.load_state_dict(loader.state_dict() | {"position": 2})
    np.testing.assert_array_equal([batch.numpy() for batch in loader], expected[2:])
    assert not np.array_equal(expected[0], expected[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_iterable_data_set(workers):
    loader = DataLoader(Count(7), batch_size=3, num_workers=workers, multiprocessing_context="fork")
    assert [batch.numpy().tolist() for batch in loader] == [[0, 1, 2], [3, 4, 5], [6]]
    loader.load_state_dict(loader.state_dict() | {"position": 1})
    assert [batch.numpy().tolist() for batch in loader] == [[103, 104, 105], [106]]
    with pytest.raises(TypeError, match="no length"):
        len(loader)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("raise", r"worker 0 failed at item 5: KeyError: 'no such sample'"),
        ("exit", r"worker 0 \(process \d+\) died with exit code 7 at item 5"),
        ("kill", r"worker 0 \(process \d+\) was killed by SIGKILL at item 5"),
        ("segv", r"worker 0 \(process \d+\) was killed by SIGSEGV at item 5"),
        ("stop", r"worker 0 \(process \d+\) stopped answering at item 5"),
        ("hang", r"worker 0 \(process \d+\) made no progress for 2 s at item 5"),
    ],
)
def test_trouble_in_a_worker_is_an_error_that_names_it(kind, message):
    loader = DataLoader(
        Trouble(16, 5, kind), batch_size=2, num_workers=2, timeout=2 if kind == "hang" else 600, multiprocessing_context="fork"
    )
    # Batches 0 and 1 are whole; batch 2 holds items 4 and 5, and worker 0 reads it.
    with pytest.raises(WorkerError, match=message):
        labels(loader)
    assert multiprocessing.active_children() == []
    assert POLL_SECONDS + SILENCE_SECONDS < 5  # the promise of DataLoader


class Watched:
    """A worker process as the pool sees it, whose pulse the test writes."""

    def __init__(self, pid: int):
        self.pulse = [1, 0]
        self.member = Member(0, SimpleNamespace(pid=pid), None, self.pulse)
        self.member.start_watch()

    def polls(self, seconds: float, timeout: float = 0.0, *, beats: bool = True) -> None:
        for _ in range(round(seconds / POLL_SECONDS)):
            self.pulse[BEAT] += beats
            self.member.watch(timeout)


def test_a_slow_worker_is_no_error():
    """Each item may take as long as the timeout says, a batch longer."""
    worker = Watched(os.getpid())
    for item in range(4):
        worker.pulse[ITEM] = item
        worker.polls(0.5, timeout=0.75)
    with pytest.raises(WorkerError, match=r"made no progress for 0.75 s at item 3"):
        worker.polls(0.75, timeout=0.75)


def test_a_worker_that_is_still_importing_has_no_item_to_be_stuck_at():
    worker = Watched(os.getpid())
    worker.pulse[:] = 0, -1
    worker.polls(START_SECONDS - 1, timeout=1, beats=False)
    with pytest.raises(WorkerError, match="made no progress for 1 s before its first item"):
        worker.polls(2, timeout=1, beats=False)


def test_silence_alone_is_no_suspension():
    """Code that keeps the interpreter's lock stops the heartbeat, and a busy machine may."""
    Watched(os.getpid()).polls(60, beats=False)
    with subprocess.Popen(["sleep", "100"]) as process:
        worker = Watched(process.pid)
        worker.polls(10, beats=False)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        with pytest.raises(WorkerError, match=r"stopped answering at item 0; was it suspended\?"):
            worker.polls(0.25, beats=False)
        process.kill()


def test_leaving_early_ends_the_workers():
    batches = iter(DataLoader(Slow(100), batch_size=1, num_workers=2, multiprocessing_context="fork"))
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert multiprocessing.active_children() == []


def test_a_data_set_that_cannot_travel_is_explained():
    loader = DataLoader(Unpicklable(8), num_workers=2, multiprocessing_context="spawn")
    with pytest.raises(WorkerError, match=r"data worker 0: .*num_workers=0"):
        labels(loader)
    assert multiprocessing.active_children() == []


def test_an_exception_without_workers_passes_unchanged():
    with pytest.raises(KeyError, match="no such sample"):
        labels(DataLoader(Trouble(4, 2, "raise")))


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"num_workers": -1},
        {"shuffle": True, "sampler": [0]},
    ],
)
def test_bad_arguments(options):
    with pytest.raises(ValueError, match="DataLoader"):
        DataLoader(Squares(4), **options)


def test_samplers():
    assert sorted(RandomSampler(10).order(3)) == list(range(10))
    drawn = RandomSampler(1000, replacement=True).order(0)
    assert drawn.min() >= 0
    assert drawn.max() < 1000
    assert len(set(drawn.tolist())) < 1000
    weighted = WeightedRandomSampler([0, 1, 3], 4000)
    counts = np.bincount(weighted.order(0), minlength=3)
    assert counts[0] == 0
    assert 2.7 < counts[2] / counts[1] < 3.3
    assert labels(DataLoader(Squares(9), batch_size=2, sampler=[4, 1, 8])) == [[4, 1], [8]]


@pytest.mark.parametrize("weights", [[], [-1, 2], [0, 0], [np.nan, 1], [[1, 2]]])
def test_bad_weights(weights):
    with pytest.raises(ValueError, match="WeightedRandomSampler"):
        WeightedRandomSampler(weights, 3)


class Ragged(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> np.ndarray:
        return np.zeros(index + 1)


def test_ragged_items_are_explained():
    with pytest.raises(DataError, match=r"different shapes \[\(1,\), \(2,\)\].*collate_fn"):
        list(DataLoader(Ragged(), batch_size=2))
    batches = list(DataLoader(Ragged(), batch_size=2, collate_fn=lambda items: [len(item) for item in items]))
    assert batches == [[1, 2]]
