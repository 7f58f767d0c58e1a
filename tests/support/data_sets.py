# SPDX-License-Identifier: Apache-2.0
"""Data sets for the loader's tests; at the top level of a module, so that worker processes can import them."""

import faulthandler
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator

import numpy as np

from penlight.data import Dataset, IterableDataset, get_worker_info, item_generator


class Squares(Dataset):
    """Item i is (i * i, i)."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.array([index * index], np.float32), index


class Trouble(Squares):
    """Does something bad at one item."""

    def __init__(self, size: int, at: int, kind: str):
        super().__init__(size)
        self.at, self.kind = at, kind

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if index == self.at:
            self.act()
        return super().__getitem__(index)

    def act(self) -> None:
        if self.kind == "raise":
            raise KeyError("no such sample")
        if self.kind == "exit":
            os._exit(7)
        if self.kind == "hang":
            time.sleep(1000)
        faulthandler.disable()  # a crash on purpose needs no report
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "segv": signal.SIGSEGV, "stop": signal.SIGSTOP}[self.kind])


class Augmented(Dataset):
    """Items are random, from the generator that belongs to the item."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> np.ndarray:
        return item_generator().random(3)


class Count(IterableDataset):
    """0, 1, ..., size - 1, shifted by 100 in each epoch."""

    def __init__(self, size: int):
        self.size, self.epoch = size, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(range(100 * self.epoch, 100 * self.epoch + self.size))


class Slow(Squares):
    """Each item takes a while."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        time.sleep(0.2)
        return super().__getitem__(index)


class Unpicklable(Squares):
    """Holds something that no other process can have."""

    def __init__(self, size: int):
        super().__init__(size)
        self.function = lambda x: x


class Split(IterableDataset):
    """0, 1, ..., size - 1, divided among the workers."""

    splits_by_worker = True

    def __init__(self, size: int):
        self.size = size

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, self.size, step))


class Whoami(Squares):
    """Items tell which worker read them, in which process, and what its random state gives."""

    mark = 0

    def __getitem__(self, index: int) -> dict[str, int]:
        info = get_worker_info()
        drawn = int(np.random.randint(1 << 30))
        if info is None:
            return {"id": -1, "workers": 0, "pid": os.getpid(), "mark": self.mark, "drawn": drawn}
        same = info.dataset is self
        return {"id": info.id, "workers": info.num_workers * same, "pid": os.getpid(), "mark": self.mark, "drawn": drawn}


def mark_data_set(worker: int) -> None:
    """A worker_init_fn that changes the worker's copy of the data set."""
    info = get_worker_info()
    assert info is not None
    info.dataset.mark = 100 + worker


def fail_to_start(worker: int) -> None:
    """A worker_init_fn that fails."""
    raise OSError("no such camera")


class Gated(Squares):
    """The first item waits for an event; one of multiprocessing opens it for processes and threads alike."""

    def __init__(self, size: int):
        super().__init__(size)
        self.gate = multiprocessing.get_context("fork").Event()

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if index == 0:
            self.gate.wait(60)
        return super().__getitem__(index)


class Large(Dataset):
    """Items that travel in shared memory: text, a large array, one in Fortran's order, and a small one."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict:
        large = np.full((100, 200), index, np.float32)
        return {"name": f"item {index}", "large": large, "turned": large.T, "small": np.arange(3) + index}
